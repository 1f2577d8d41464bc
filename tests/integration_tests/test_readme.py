"""README and documents: their Python runs against a loopback server, addresses lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import langchain_moa
from langchain_moa import evals, local, testing
from langchain_moa.presets import preset_names
from tests import cli_help
from tests.documents import (
    ANSWER,
    OTHERS,
    READMES,
    ROOT,
    TOGETHERS,
    blocks,
    environment,
    printed,
    readme_outputs,
    servers,
    with_outputs,
)

README, TRANSLATION = READMES
TEXT = README.read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
_LINK = re.compile(r"\]\(([^)]+)\)")


def test_readme_is_short() -> None:
    assert len(TEXT.encode()) <= 8192


def test_python_runs_and_prints_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers() as (server, ollama):
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        outputs = readme_outputs(TEXT, ollama)
        asked = {request.model for request in server.requests}
    assert asked == {*OTHERS, *TOGETHERS[:2], TOGETHERS[3]}
    assert with_outputs(TEXT, outputs) == TEXT, "run `make readme`"
    assert TEXT.count("```text\n") == 4


def test_translation_has_the_same_code_pictures_and_links() -> None:
    translated = TRANSLATION.read_text(encoding="utf-8")
    code = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
    assert code.findall(translated) == code.findall(TEXT)
    swapped = {link.replace("README.md", "README.zh-CN.md") for link in _LINK.findall(translated)}
    assert swapped == set(_LINK.findall(TEXT))
    assert translated.count("\n#") == TEXT.count("\n#")


def test_addresses_are_the_projects_and_their_files_exist() -> None:
    home = PROJECT["urls"]["Repository"]
    raw = home.replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert all(url.startswith(home) for url in PROJECT["urls"].values())
    paths = [*READMES, *(ROOT / ".github").rglob("*.*"), ROOT / "CITATION.cff", ROOT / "mkdocs.yml"]
    pages = [path.read_text("utf-8") for path in paths]
    found = {url for page in pages for url in re.findall(r"https://[^\s)\"]+", page)}
    ours = {url for url in found if "/langchain-moa/" in url and "github" in url}
    assert len(ours) >= 10
    for url in ours - {home}:
        path = re.sub(rf"^(?:{home}/(?:blob|tree)/main/|{raw})", "", url).partition("#")[0]
        assert (ROOT / path).exists() or url.startswith((f"{home}/security", f"{home}/issues")), url


def test_citation_has_the_projects_version_and_address() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert citation["license"] == PROJECT["license"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


REFERENCES = ("api", "record", "errors")
RUN = {
    "agents": ["layers\nreused\n", "('openai/gpt-oss-20b', ['image'])", "'ballots': 2"],
    "chains": ["country=", "\ndeepseek-ai/DeepSeek-V4-Pro\n"],
    "configuration": ["'self-moa'", "'reference_models'"],
    "errors": [],
    "explain-and-cost": ["### Influence"],
    "getting-started": [ANSWER, "1 gpt-5-mini ok", "tokens, 0.000"],
    "index": [ANSWER],
    "integration": ["punchline=", "'get_weather'", "total_tokens"],
    "langgraph": ["2 ['gpt-oss-20b']", "('aggregator',)"],
    "migration": [ANSWER],
    "rag": ["Remagen"],
    "record": ['"status": "ok"', '"kind": "first"', "] False"],
    "streaming": ["member_finished", "call_started", "first_token"],
    "testing": ["'upstream_error'", "It is 4."],
}
"""Pages whose Python is run, with words that it prints."""
NOT_RUN = {
    "evaluation": "tests/integration_tests/evals run what it says",
    "local-models": "it needs models on this machine; tests/integration_tests/real have one",
    "privacy": "its addresses are not this machine's; test_keys.py has the same with others",
    "strategies": "its key is none; test_strategies.py has the same with one",
}


def test_python_of_each_page_is_run() -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md") if blocks(path.read_text("utf-8"))}
    assert pages == {*RUN, *NOT_RUN}


@pytest.mark.parametrize("page", RUN)
def test_python_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    with servers() as (server, _):
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        output = "".join(printed(text, page, {"__name__": "document"}))
        assert server.requests or page == "testing", "it has a server of its own"
    for words in RUN[page]:
        assert words in output, output


def test_reference_pages_have_each_public_name_and_preset() -> None:
    pages = "".join((ROOT / f"docs/{page}.md").read_text("utf-8") for page in REFERENCES)
    named = set(re.findall(r"::: langchain_moa[\w.]*\.(\w+)$", pages, re.MULTILINE))
    errors = {name for name in langchain_moa.__all__ if name.endswith("Error")}
    assert set(langchain_moa.__all__) - errors - {"ChatMoA"} <= named
    assert {*testing.__all__, *evals.__all__, *local.__all__} - named == {"BehaviorFunction"}
    presets = (ROOT / "docs/configuration.md").read_text("utf-8")
    assert [name for name in preset_names() if f"`{name}`" not in presets] == []


def test_help_is_what_the_command_line_says() -> None:
    page = cli_help.PAGE.read_text(encoding="utf-8")
    assert cli_help.with_help(page) == page, "run `make readme`"


@pytest.mark.parametrize(
    "page", [README, ROOT / "CONTRIBUTING.md"], ids=lambda page: Path(page).name
)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([a-z][\w-]*)", page.read_text("utf-8")))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
