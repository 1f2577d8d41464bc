"""Pictures of mixtures have letters, or say what they lack; notebooks get text."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from langchain_moa import MoAChatModel, MoAConfigurationError, create_moa_graph
from langchain_moa.cli.picture import draw_png
from langchain_moa.testing import ScriptedChatModel

MATPLOTLIB = str(getattr(find_spec("matplotlib"), "origin", ""))  # to import it warns
DEJAVU = Path(MATPLOTLIB).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
"""A font with Arabic letters, which the one that Pillow brings has not."""
NOBODYS = "\U0010fffd"
"""A character for private use."""


@pytest.fixture
def fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which fonts of the user are looked for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "fonts").mkdir()
    shutil.copy(DEJAVU, tmp_path / "fonts")
    return tmp_path / "fonts"


def drawn(name: str, folder: Path) -> bytes:
    path = folder.parent / "drawn.png"
    draw_png([[name], ["a"]], path)
    with Image.open(path) as picture:
        return picture.tobytes()


LATIN = [("alpha", "gamma"), ("αβγ", "αβδ"), ("модель", "модули")]
ARABIC = [("نموذج", "نموذح"), ("מודל", "מודם")]


@pytest.mark.parametrize(("one", "other"), LATIN)
def test_other_names_are_other_pictures(one: str, other: str, fonts: Path) -> None:
    (fonts / DEJAVU.name).unlink()
    assert drawn(one, fonts) != drawn(other, fonts)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="fonts of the user are elsewhere")
@pytest.mark.parametrize(("one", "other"), ARABIC)
def test_a_font_of_the_system_is_found(one: str, other: str, fonts: Path) -> None:
    assert drawn(one, fonts) != drawn(other, fonts)
    assert drawn(f"{one}-7b", fonts) != drawn(one, fonts)


def test_what_no_font_has_is_named(fonts: Path) -> None:
    path = fonts.parent / "x.png"
    with pytest.raises(MoAConfigurationError, match="no font here has") as caught:
        draw_png([[f"acme/a{NOBODYS}b"], ["c"]], path)
    assert repr(NOBODYS) in str(caught.value)
    assert not path.exists()


def test_files_that_are_no_fonts_are_passed_by(fonts: Path) -> None:
    (fonts / "a.ttf").write_text("no font")
    (fonts / "b.otf").mkdir()
    with pytest.raises(MoAConfigurationError, match="no font here has"):
        drawn(f"x{NOBODYS}", fonts)


def test_a_notebook_shows_text_and_asks_no_web_service() -> None:
    names = ("acme/alpha", "acme/be\x1b[2Jta")
    members = [ScriptedChatModel.saying("x", model=name) for name in names]
    llm = MoAChatModel(reference_models=members, aggregator=members[0], layers=3)
    graph = create_moa_graph(members, members[0])
    formatter: Any = DisplayFormatter()
    for shown in (
        llm.graph,
        graph,
        graph.with_config({"tags": ["x"]}),
        llm.graph.builder.compile(checkpointer=InMemorySaver()),
    ):
        data, _ = formatter.format(shown)
        assert [*data] == ["text/plain"]
        lines = [line.strip(" |+-") for line in data["text/plain"].splitlines()]
        assert lines[0] == "question"
        assert "alpha" in lines
        assert lines[-1] == "answer"
        assert "\x1b" not in data["text/plain"]
    message = {"messages": [("user", "Hi")]}
    assert llm.graph.invoke(message)["messages"][-1].text == "x"
