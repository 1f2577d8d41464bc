"""The process that llama.cpp's server runs in; it never outlives the one that started it.

It is run as a file and imports nothing of the package. It reads its settings from stdin, as JSON on
one line, answers with a line on stdout once the model is loaded, and ends when stdin does: the
system closes the pipe of a process that ends, however that may be.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from typing import IO, Any

_LOOK_SECONDS = 0.5
"""Between two looks at the parent; a copy of the pipe may be in a process that it forked."""
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def main() -> None:
    """Serve until stdin ends, or the parent does."""
    parent = os.getppid()
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the library prints is no answer of ours
    given = sys.stdin.buffer.readline()
    if not given:
        return
    settings = json.loads(given)
    _dies_with_parent(yes=True)
    if os.getppid() != parent:
        return
    server = _server(settings)
    _dies_with_parent(yes=False)
    told.write(json.dumps({"url": server.listening_address}) + "\n")
    told.flush()
    _be_quiet(told)
    threading.Thread(target=_until_stdin_ends, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(0)  # with no wait for answers that are being written


def _server(settings: dict[str, Any]) -> Any:
    """The server, its model loaded."""
    import xllamacpp  # noqa: PLC0415 - it takes a while, and may be missing

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.port = settings["port"]
    params.api_keys = [settings["api_key"]]
    params.cors_origins = ""  # else a page in the user's browser could ask
    params.ui = False
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]  # which is divided by slots
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.n_threads_http = 2 * settings["slots"] + 4  # a connection that is kept open holds one
    params.cache_ram_mib = 0  # kept prompts of other slots; it may grow to 8 GB
    params.endpoint_metrics = True
    params.verbosity = 1
    if all("CPU" in str(device.get("type")) for device in xllamacpp.get_device_info()):
        params.fit_params = False  # there is nothing to divide, and it loads the file twice
    return xllamacpp.Server(params)


def _dies_with_parent(*, yes: bool) -> None:
    """Let the system end this process with its parent while the model loads.

    Loading holds Python's lock, so no thread of ours can look. Later it is threads that look: the
    system would end this process with the parent's thread that started it, too.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL if yes else 0)


def _be_quiet(told: IO[str]) -> None:
    """Write nothing more: prompts stay out of logs, and no pipe fills up."""
    told.close()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _until_stdin_ends() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
