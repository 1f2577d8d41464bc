"""`langchain-moa ask`: one answer on stdout, all else on stderr."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import KEY, MIXTURE, MODELS, asked_models, user_turns
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, says

pytestmark = pytest.mark.usefixtures("fresh")

QUESTION = "Why is the sky blue?"


def failing(**behavior: Any) -> ModelBehavior:
    return ModelBehavior(status=400, error="no such luck", **behavior)


def test_the_answer_is_all_there_is(cli: Cli) -> None:
    ran = cli("ask", QUESTION, *MIXTURE)
    assert (ran.code, ran.out, ran.err) == (0, "The **answer**.\n", "")


@pytest.mark.parametrize("words", [(), ("-",)])
def test_the_question_may_come_on_stdin(
    words: tuple[str, ...], cli: Cli, server: LoopbackServer
) -> None:
    ran = cli("ask", *words, *MIXTURE, stdin=f"{QUESTION}\nAnd the sea?\n")
    assert ran.out == "The **answer**.\n"
    assert user_turns(server, ALPHA) == [f"user: {QUESTION}\nAnd the sea?"]


@pytest.mark.parametrize(
    ("words", "stdin"), [((), ""), (("-",), " \n"), (("",), "not read"), (("  ",), "")]
)
def test_an_empty_question_is_refused(
    words: tuple[str, ...], stdin: str, cli: Cli, server: LoopbackServer
) -> None:
    ran = cli("ask", *words, *MIXTURE, stdin=stdin)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: the question is empty. (See langchain-moa ask --help.)\n"
    assert not server.requests


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_how_it_came_about_is_told_beside_the_answer(words: tuple[str, ...], cli: Cli) -> None:
    ran = cli("ask", QUESTION, *MIXTURE, "--explain", *words)
    assert ran.code == 0
    assert (ran.out == "The **answer**.\n") is not bool(words)
    assert f"| layer 1 | {ALPHA} |  | ok | " in ran.err
    assert "### Influence" in ran.err
    assert "Draft of alpha." in ran.err


def test_a_question_may_look_like_an_option(cli: Cli, server: LoopbackServer) -> None:
    assert cli("ask", *MIXTURE, "--", "--debug").code == 0
    assert user_turns(server, ALPHA) == ["user: --debug"]


def test_a_system_message_comes_first(cli: Cli, server: LoopbackServer) -> None:
    cli("ask", QUESTION, "--system", "Be brief.", *MIXTURE)
    assert user_turns(server, ALPHA) == ["system: Be brief.", f"user: {QUESTION}"]
    assert user_turns(server, AGGREGATOR)[0] == "system: Be brief."


def test_json_holds_the_whole_record(cli: Cli, server: LoopbackServer) -> None:
    ran = cli("ask", QUESTION, "--json", *MIXTURE, "--layers", "3")
    told = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert (told["question"], told["answer"]) == (QUESTION, "The **answer**.")
    assert [(p["layer"], p["model"], p["text"]) for p in told["record"]["proposals"]] == [
        (layer, model, f"Draft of {model.removeprefix('acme/')}.")
        for layer in (1, 2)
        for model in (ALPHA, BETA)
    ]
    assert told["seconds"] > 0
    usages = [request.usage or {} for request in server.requests]
    assert told["record"]["usage"]["total_tokens"] == sum(u["total_tokens"] for u in usages)
    assert told["usage"]["total_tokens"] == usages[-1]["total_tokens"]


def test_a_member_that_fails_is_in_the_record_and_on_stderr(
    cli: Cli, server: LoopbackServer
) -> None:
    server.models[BETA] = failing()
    ran = cli("ask", QUESTION, "--json", *MIXTURE)
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["record"]["degraded"]
    assert [p["status"] for p in told["record"]["proposals"]] == ["ok", "failed"]
    (line,) = ran.err.splitlines()
    assert line.startswith(f"layer 1, {BETA}: failed: ")
    assert "no such luck" in line


def test_show_proposals_prints_them_on_stderr(cli: Cli) -> None:
    ran = cli("ask", QUESTION, "--show-proposals", *MIXTURE)
    assert ran.out == "The **answer**.\n"
    assert ran.err.split("\n\n")[:2] == [
        f"layer 1 · {ALPHA}\nDraft of alpha.",
        f"layer 1 · {BETA}\nDraft of beta.",
    ]


def test_verbose_tells_of_members_and_totals_on_stderr(cli: Cli, server: LoopbackServer) -> None:
    ran = cli("ask", QUESTION, "--verbose", *MIXTURE)
    assert ran.out == "The **answer**.\n"
    *members, totals = ran.err.splitlines()
    assert totals.startswith("2 of 2 proposals · ")
    assert [line.split("  ")[:3] for line in members] == [
        ["layer 1", ALPHA, "done"],
        ["layer 1", BETA, "done"],
        ["aggregator", AGGREGATOR, "done"],
    ]
    server.models[BETA] = failing()
    told = cli("ask", QUESTION, "--verbose", *MIXTURE).err
    assert told.count("no such luck") == 1  # in the member's line; the log is not captured here
    assert f"layer 1  {BETA}  failed" in told


def test_no_answer_is_exit_code_3(cli: Cli, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = failing()
    ran = cli("ask", QUESTION, *MIXTURE)
    assert (ran.code, ran.out) == (3, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("no such luck)")  # and nothing of the error's attributes


def test_json_without_an_answer_keeps_what_was_paid_for(cli: Cli, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = failing()
    ran = cli("ask", QUESTION, *MIXTURE, "--json")
    assert ran.code == 3
    assert ran.err.startswith("error: ")
    told = json.loads(ran.out)
    assert told["answer"] is None
    assert told["error"]["type"] == "AggregationError"
    assert [p["text"] for p in told["proposals"]] == ["Draft of alpha.", "Draft of beta."]


def test_a_part_of_an_answer_is_none(cli: Cli, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = says("one two three four", truncate_after=2)
    ran = cli("ask", QUESTION, *MIXTURE)
    assert (ran.code, ran.out) == (3, "")


def test_too_few_proposals_are_exit_code_3_and_each_has_its_reason(
    cli: Cli, server: LoopbackServer
) -> None:
    server.models[ALPHA] = server.models[BETA] = failing()
    ran = cli("ask", QUESTION, *MIXTURE)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.count("\n") == 1
    assert ran.err.count("no such luck (all 2 members)") == 1
    assert AGGREGATOR not in asked_models(server)
    server.models[ALPHA] = ModelBehavior(status=400, error="much too long")
    ran = cli("ask", QUESTION, *MIXTURE)
    for name, reason in ((ALPHA, "much too long"), (BETA, "no such luck")):
        said = rf"{name}: failed: \w+InvalidRequestError: Error code: 400 - {reason}"
        assert re.search(said, ran.err)  # older clients have no class of their own for it


@pytest.mark.parametrize("fault", [{}, {"status": 500}])
def test_no_key_is_told(fault: dict[str, Any], cli: Cli, server: LoopbackServer) -> None:
    """Neither in the answer's record, nor in an error."""
    server.models[BETA] = ModelBehavior(error=f"the key {KEY} is wrong", **fault)
    for words in (["--json"], ["--verbose", "--show-proposals"]):
        ran = cli("ask", QUESTION, *MIXTURE, *words)
        assert KEY not in ran.out + ran.err
    assert server.requests


def test_an_endpoint_of_ones_own_needs_no_key(cli: Cli) -> None:
    cli.environment.delenv("TOGETHER_API_KEY")
    cli.environment.delenv("TOGETHER_API_BASE")
    with LoopbackServer(MODELS, api_key="no-key") as own:
        assert cli("ask", QUESTION, *MIXTURE, "--base-url", own.base_url).code == 0
        assert len(own.requests) == 3


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_half_of_a_character_costs_no_answer(
    words: tuple[str, ...], cli: Cli, server: LoopbackServer
) -> None:
    server.models[AGGREGATOR] = says("It is \ud800 blue.")
    ran = cli("ask", QUESTION, *MIXTURE, *words)
    assert ran.code == 0
    answer = json.loads(ran.out)["answer"] if words else ran.out.strip()
    assert answer == "It is \ufffd blue."


def test_bytes_that_are_no_text_are_no_question(cli: Cli, server: LoopbackServer) -> None:
    ran = cli("ask", "-", *MIXTURE, stdin=b"\xff")
    assert (ran.code, ran.out) == (2, "")
    assert "the question is not text in UTF-8" in ran.err
    assert not server.requests


def test_endpoints_cannot_command_the_terminal_by_their_errors(
    cli: Cli, server: LoopbackServer
) -> None:
    server.models[AGGREGATOR] = ModelBehavior(status=400, error="no\x07such\x9bluck")
    ran = cli("ask", QUESTION, *MIXTURE)
    assert ran.code == 3
    assert "luck" in ran.err
    assert not {"\x07", "\x9b"} & set(ran.err)
