"""`make demo`, on the loopback server and with a key."""

from __future__ import annotations

import sys

import pytest

from langchain_moa import demo
from langchain_moa.testing import LoopbackServer, ModelBehavior


def test_scripted_models_say_that_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main([]) == 0
    shown = capsys.readouterr().out
    assert "scripted models on a loopback server answer, not real ones" in shown.splitlines()[0]
    assert "Question: What are 3 fun things to do in SF?" in shown
    assert shown.count("layer 1") == shown.count("layer 2") == 4
    assert "**Alcatraz.**" in shown
    assert "8 of 8 proposals used" in shown
    assert "demo/aggregator-405b" in shown


def test_a_question_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["What", "is", "new?"]) == 0
    assert "the question was: What is new?" in capsys.readouterr().out


def test_with_a_key_it_asks_together(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    *proposers, last = demo.TOGETHER_PROPOSERS
    models = {
        **{name: ModelBehavior(reply=f"{name} says " + "word " * 40) for name in proposers},
        last: ModelBehavior(status=500),
    }
    models[demo.TOGETHER_AGGREGATOR] = ModelBehavior(reply="Together's answer.")
    with LoopbackServer(models) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", server.api_key)
        monkeypatch.setenv("TOGETHER_API_BASE", server.base_url)
        assert demo.main(["Go"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Real models on Together")
    assert "Together's answer." in shown


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("server", "serving", "demo_models"):
        monkeypatch.delitem(sys.modules, f"langchain_moa.testing.{name}", raising=False)
    monkeypatch.delattr("langchain_moa.testing.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert demo.main(["Go"]) == 1
    assert "pip install 'langchain-moa[testing]'" in capsys.readouterr().out


def test_no_answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackServer({}) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", server.api_key)
        monkeypatch.setenv("TOGETHER_API_BASE", server.base_url)
        assert demo.main(["Go"]) == 1
    assert "No answer: layer 1 gave 0 usable of 4 proposals" in capsys.readouterr().out
