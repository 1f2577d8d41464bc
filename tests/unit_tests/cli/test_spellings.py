"""Options as the reference scripts spell them, seen at the server."""

from __future__ import annotations

import pytest

from langchain_moa.testing import LoopbackServer
from tests.commands import KEY, MODELS, asked, asked_models, user_turns
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA

pytestmark = pytest.mark.usefixtures("fresh")


def test_the_reference_demos_options(cli: Cli, server: LoopbackServer) -> None:
    words = ("--model", AGGREGATOR, "--reference_models", ALPHA, BETA, GAMMA, "--max_tokens", "64")
    more = ("--num_proc", "2", "--temperature", "0.5", "--rounds", "1", "--multi_turn", "False")
    ran = cli("chat", *words, *more, stdin="One?\nTwo?\n")
    assert (ran.code, ran.out) == (0, "The **answer**.\nThe **answer**.\n")
    assert sorted(asked_models(server)[:3]) == [ALPHA, BETA, GAMMA]
    assert asked(server, "max_tokens") == [64] * 8
    assert user_turns(server, GAMMA) == ["user: Two?"]


@pytest.mark.parametrize("value", ["True", "true", "1", "yes"])
def test_a_switch_may_be_said_to_be_on(value: str, cli: Cli, server: LoopbackServer) -> None:
    words = ("--reference-models", ALPHA, BETA, "-m", AGGREGATOR, "--multi_turn", value)
    assert cli("chat", *words, stdin="One?\nTwo?\n").code == 0
    assert "user: One?" in user_turns(server, ALPHA)


def test_a_question_is_no_model(cli: Cli, server: LoopbackServer) -> None:
    """Where a question is taken, a list is separated by commas; after `--` nothing is spelled."""
    words = ("--reference_models", f"{ALPHA},{BETA}", "--aggregator", AGGREGATOR)
    assert cli("ask", *words, "Why?").code == 0
    assert cli("ask", *words, "--", "--max_tokens").code == 0
    assert user_turns(server, ALPHA) == ["user: --max_tokens"]


def test_openais_variables_are_for_bare_ids_where_nothing_else_is_named(cli: Cli) -> None:
    words = ("ask", "Hi", "--reference-models", f"{ALPHA},{BETA}", "-m", AGGREGATOR)
    for name in ("TOGETHER_API_KEY", "TOGETHER_API_BASE"):
        cli.environment.delenv(name)
    with LoopbackServer(MODELS, api_key=KEY) as own, LoopbackServer(MODELS, api_key="k") as other:
        cli.environment.setenv("OPENAI_BASE_URL", own.base_url)
        assert cli(*words).code == 2  # there is no key
        cli.environment.setenv("OPENAI_API_KEY", KEY)
        assert cli(*words).code == 0
        assert len(own.requests) == 3
        assert cli(*words, "--base-url", other.base_url).code != 0  # it has another key
        assert len(own.requests) == 3
