"""Where files are: a folder of the user's, the cache, or a server, and what is said if nowhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langchain_moa.evals.data import (
    DATA_VARIABLE,
    SourceFile,
    cache_folder,
    data_folder,
    located,
    verify,
)
from langchain_moa.evals.reading import DataFileError

CONTENT = b"the whole file\n"


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/missing" else 200)
        length = len(CONTENT) + (10 if self.path == "/half" else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def source(address: str, path: str = "whole", digest: str = "") -> SourceFile:
    return SourceFile("suite/rows.json", f"{address}/{path}", digest or sha256(CONTENT).hexdigest())


def test_a_file_is_fetched_once_and_kept(address: str, own_cache: Path) -> None:
    told: list[str] = []
    path = located(source(address), tell=told.append)
    assert path == own_cache / "suite/rows.json"
    assert path.read_bytes() == CONTENT
    assert located(source("http://127.0.0.1:9"), tell=told.append) == path
    assert told == ["Fetching suite/rows.json …"]


@pytest.mark.parametrize(
    ("path", "digest", "problem"),
    [
        ("whole", "0" * 64, "gave another file than the pinned one"),
        ("half", "", "cannot be fetched"),
        ("missing", "", "cannot be fetched"),
    ],
)
def test_what_is_not_whole_is_not_kept(
    address: str, own_cache: Path, path: str, digest: str, problem: str
) -> None:
    with pytest.raises(DataFileError, match=problem) as error:
        located(source(address, path, digest))
    text = str(error.value)
    assert text.startswith(str(own_cache / "suite/rows.json"))
    assert f"fetch {address}/{path} elsewhere" in text
    assert "--data or LANGCHAIN_MOA_DATA" in text
    assert [each for each in own_cache.rglob("*") if each.is_file()] == []


def test_without_a_network(own_cache: Path) -> None:
    with pytest.raises(DataFileError, match="cannot be fetched") as error:
        located(source("http://127.0.0.1:9"))
    assert str(own_cache) in str(error.value)


def test_with_a_folder_nothing_is_fetched(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    (folder / "suite").mkdir(parents=True)
    with pytest.raises(DataFileError, match="is missing"):
        located(source(address), folder)
    (folder / "suite/rows.json").write_bytes(b"a part")
    assert located(source(address), folder).read_bytes() == b"a part"
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    assert located(source(address)) == folder / "suite/rows.json"
    with pytest.raises(DataFileError, match="is another file than the pinned one"):
        verify(source(address), folder / "suite/rows.json")


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert data_folder() is None
    assert data_folder(tmp_path) == tmp_path
    with pytest.raises(DataFileError, match="is no folder"):
        data_folder(tmp_path / "none")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path
    assert cache_folder() == own_cache
    monkeypatch.delenv("LANGCHAIN_MOA_CACHE")
    assert cache_folder().name == "langchain-moa"
