"""Runs the Python of a document, and writes what it prints into the README and its translation."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.testing.replies import Reply, assistant_reply
from langchain_moa.types import AnyMapping

ROOT = Path(__file__).parent.parent
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
TOGETHERS = (
    "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V4-Flash-0731",
    "deepseek-ai/DeepSeek-V4-Pro",
)
OTHERS = ("gpt-5-mini", "claude-sonnet-4-6")
OLLAMAS = {"qwen3:8b": 5_225_388_164, "llama3.2:1b": 1_321_098_329}
_QUESTION = "What are 3 fun things to do in SF?"
ANSWER = "Cycle over the Golden Gate Bridge, visit Alcatraz, and eat a burrito in the Mission."


def _reply(body: AnyMapping) -> str | Reply:
    whole = assistant_reply(body)
    simple = not body.get("tools") and not body.get("response_format")
    return ANSWER if simple and _QUESTION in str(body["messages"]) else whole


def models() -> dict[str, ModelBehavior]:
    """All models that documents name, which know the answer to one question."""
    return {name: ModelBehavior(reply=_reply) for name in (*TOGETHERS, *OTHERS)}


def environment(server: LoopbackServer) -> dict[str, str]:
    """The variables with which all providers are the server."""
    return {
        "TOGETHER_API_KEY": server.api_key,
        "TOGETHER_API_BASE": server.base_url,
        "OPENAI_API_KEY": server.api_key,
        "OPENAI_BASE_URL": server.base_url,
        "ANTHROPIC_API_KEY": server.api_key,
        "ANTHROPIC_BASE_URL": server.anthropic_url,
    }


def blocks(page: str) -> list[tuple[str, str | None]]:
    """The Python of a page, block by block, each with the output that stands below it."""
    return [(code, shown or None) for code, shown in BLOCK.findall(page)]


def printed(page: str, name: str, namespace: dict[str, Any]) -> list[str]:
    """Run a page's Python, one block after the other in one namespace, as a reader types it."""
    outputs = []
    for number, (code, _) in enumerate(blocks(page), start=1):
        out = io.StringIO()
        made = compile(code, f"{name}, Python block {number}", "exec", dont_inherit=True)
        with contextlib.redirect_stdout(out):
            exec(made, namespace)  # noqa: S102 - this is the point
        outputs.append(out.getvalue().rstrip() + "\n")
    return outputs


@contextlib.contextmanager
def servers() -> Iterator[tuple[LoopbackServer, LoopbackServer]]:
    """Every provider in one server, and Ollama in another one, which lets everybody in."""
    local = {name: ModelBehavior(reply=_reply) for name in OLLAMAS}
    with (
        LoopbackServer(models()) as server,
        LoopbackServer(local, api_key="no-key", sizes=OLLAMAS) as ollama,
    ):
        yield server, ollama


def readme_outputs(page: str, ollama: LoopbackServer) -> list[str]:
    """What the README's Python prints, with Ollama on another port than its own."""
    at = f'settings_of("ollama", base_url="{ollama.base_url}")'
    return printed(page.replace('settings_of("ollama")', at), "README", {"__name__": "readme"})


def with_outputs(page: str, outputs: list[str]) -> str:
    """The page with what its Python prints now, where an output is shown."""
    left = iter(outputs)

    def put(found: re.Match[str]) -> str:
        output = next(left)
        code = f"```python\n{found[1]}```\n"
        return code if found[2] is None else f"{code}\n```text\n{output}```\n"

    return BLOCK.sub(put, page)


if __name__ == "__main__":
    with servers() as (server, ollama):
        os.environ |= environment(server)
        for readme in READMES:
            text = readme.read_text("utf-8")
            readme.write_text(with_outputs(text, readme_outputs(text, ollama)), "utf-8")
