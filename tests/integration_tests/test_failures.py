"""What becomes of members that fail, over real HTTP."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any

import pytest
from langchain_core.exceptions import ModelError
from langchain_core.runnables import RunnableLambda

from langchain_moa import AggregationError, MoAChatModel, NotEnoughProposalsError
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says, together

FAULTS: dict[str, tuple[ModelBehavior, str, str]] = {
    "429": (ModelBehavior(status=429, retry_after=1), "failed", "RateLimitError"),
    "500": (ModelBehavior(status=500), "failed", "500"),
    "dropped connection": (ModelBehavior(drop=True), "failed", "Connection"),
    "malformed JSON": (ModelBehavior(malformed=True), "failed", "Error"),
    "null content": (ModelBehavior(reply=Reply(text=None)), "empty", "no text"),
    "white space": (says("  \n"), "empty", "no text"),
    "cut off at once": (
        ModelBehavior(reply=Reply(text="", finish_reason="length")),
        "empty",
        "length",
    ),
    "only reasoning": (says("<think>hm</think>"), "reasoning_only", "reasoning"),
    "unclosed reasoning": (says("<think>hm, and then"), "reasoning_only", "reasoning"),
    "content filter": (
        ModelBehavior(reply=Reply(text="I was about to", finish_reason="content_filter")),
        "filtered",
        "content_filter",
    ),
    "tool calls": (
        ModelBehavior(reply=Reply(text=None, tool_calls=(ToolCall(name="f", arguments={}),))),
        "empty",
        "tool calls",
    ),
}


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_failed_proposal_is_recorded_and_never_passed_on(
    fault: str, layers: int, caplog: pytest.LogCaptureFixture
) -> None:
    behavior, status, reason = FAULTS[fault]
    models = {ALPHA: behavior, BETA: says("Paris."), AGGREGATOR: says("It is Paris.")}
    with LoopbackServer(models) as server, caplog.at_level(logging.WARNING, "langchain_moa"):
        llm = mixture(server, layers=layers, include_proposals=True)
        answer = llm.invoke("Capital of France?")
        assert answer.content == "It is Paris."
        record = answer.response_metadata["moa"]
        assert record["degraded"] is True
        failed, usable = record["proposals"][:2]
        assert (failed["status"], failed["text"]) == (status, "")
        assert reason in failed["error"]
        assert (usable["status"], usable["error"]) == ("ok", None)
        sent = [*bodies(server, AGGREGATOR), *bodies(server, BETA)[1:]]
        assert len(sent) == layers - 1
        for body in sent:
            text = body["messages"][-1]["content"]
            assert text.count('number="') == 1
            assert "None" not in text
            assert failed["error"] not in text
        assert f"({ALPHA}) gave no usable proposal: {status}" in caplog.text


def test_reasoning_is_not_shown_to_the_next_layer() -> None:
    models = {
        ALPHA: says("<think>secret thoughts</think>Paris."),
        BETA: says("more secret thoughts</think>It is Paris."),
        AGGREGATOR: says("ok"),
    }
    with LoopbackServer(models) as server:
        assert not mixture(server).invoke("Go").response_metadata["moa"]["degraded"]
        (body,) = bodies(server, AGGREGATOR)
        assert "secret" not in body["messages"][-1]["content"]
        assert "It is Paris." in body["messages"][-1]["content"]


@pytest.mark.parametrize("layers", [2, 3])
async def test_too_few_proposals(layers: int) -> None:
    models = {
        ALPHA: ModelBehavior(status=429, error="slow down"),
        BETA: says(""),
        AGGREGATOR: says("ok"),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, layers=layers)
        with pytest.raises(NotEnoughProposalsError, match="0 usable of 2 proposals") as caught:
            llm.invoke("Go")
        error = caught.value
        assert isinstance(error, ModelError)
        # older clients don't say of their errors whether to retry
        assert error.is_retryable is getattr(error.causes["1.0"], "is_retryable", False)
        assert [p.status for p in error.proposals] == ["failed", "empty"]
        assert "slow down" in str(error)
        group = error.as_group()
        assert group.exceptions[0] is error.causes["1.0"]
        assert "empty" in str(group.exceptions[1])
        assert pickle.loads(pickle.dumps(error)).proposals == error.proposals  # noqa: S301
        for call in (llm.ainvoke("Go"), llm.graph.ainvoke({"messages": ["Go"]})):
            with pytest.raises(NotEnoughProposalsError):
                await call
        with pytest.raises(NotEnoughProposalsError):
            list(llm.stream("Go"))
        assert not server.requests_for(AGGREGATOR)


def test_min_proposals() -> None:
    models = {ALPHA: ModelBehavior(status=500), BETA: says("Paris."), AGGREGATOR: says("ok")}
    with LoopbackServer(models) as server:
        assert mixture(server, min_proposals=1).invoke("Go").content == "ok"
        with pytest.raises(NotEnoughProposalsError, match="min_proposals=2"):
            mixture(server, min_proposals=2).invoke("Go")


def test_failure_in_the_second_layer_keeps_the_first_layers_proposals() -> None:
    models = {
        ALPHA: ModelBehavior(reply=_first_layer_only),
        AGGREGATOR: says("ok"),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, reference_models=[ALPHA], layers=3)
        with pytest.raises(NotEnoughProposalsError, match="layer 2") as caught:
            llm.invoke("Go")
        assert [p.text for p in caught.value.proposals] == ["Paris.", ""]


def _first_layer_only(body: Any) -> str:
    return "" if "Paris" in body["messages"][-1]["content"] else "Paris."


@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream", "astream", "graph"])
async def test_failing_aggregator_keeps_the_proposals(path: str) -> None:
    models = {
        ALPHA: says("Paris."),
        BETA: says("It is Paris."),
        AGGREGATOR: ModelBehavior(status=400, error="bad request"),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server)
        with pytest.raises(AggregationError, match="bad request") as caught:
            await _call(llm, path)
        assert [p.text for p in caught.value.proposals] == ["Paris.", "It is Paris."]
        assert caught.value.__cause__ is caught.value.causes["aggregator"]
        assert not caught.value.is_retryable


async def _call(llm: Any, path: str) -> None:
    match path:
        case "invoke":
            llm.invoke("Go")
        case "ainvoke":
            await llm.ainvoke("Go")
        case "stream":
            list(llm.stream("Go"))
        case "astream":
            _ = [chunk async for chunk in llm.astream("Go")]
        case _:
            llm.graph.invoke({"messages": ["Go"]})


def test_stream_that_breaks_after_some_tokens() -> None:
    models = {
        ALPHA: says("Paris."),
        AGGREGATOR: says("The capital of France is Paris.", drop_after=3),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, reference_models=[ALPHA])
        got: list[str] = []
        with pytest.raises(AggregationError) as caught:
            got.extend(chunk.text for chunk in llm.stream("Go"))
        assert "".join(got) == "The capital of"
        assert [p.text for p in caught.value.proposals] == ["Paris."]


def test_retry_and_fallback_wrappers() -> None:
    models = {
        ALPHA: ModelBehavior(reply="Paris.", status=500, fail_first=1),
        BETA: ModelBehavior(status=500),
        AGGREGATOR: says("ok"),
    }
    with LoopbackServer(models) as server:
        retried = mixture(server, reference_models=[ALPHA]).with_retry(stop_after_attempt=2)
        assert retried.invoke("Go").text == "ok"
        broken = mixture(server, reference_models=[BETA])
        rescued = broken.with_fallbacks([together(server, AGGREGATOR)])
        assert rescued.invoke("Go").text == "ok"
        member = together(server, BETA).with_fallbacks([together(server, ALPHA)])
        record = mixture(server, reference_models=[member]).invoke("Go").response_metadata["moa"]
        assert record["proposals"][0]["model_name"] == ALPHA


@pytest.mark.parametrize("make", ["model", "graph"])
def test_whether_to_retry_is_known_on_every_path(make: str) -> None:
    models = {ALPHA: ModelBehavior(status=429), AGGREGATOR: says("ok")}
    with LoopbackServer(models) as server:
        llm = mixture(server, reference_models=[ALPHA])
        call: Any = llm.invoke if make == "model" else llm.graph.invoke
        with pytest.raises(NotEnoughProposalsError) as caught:
            call("Go" if make == "model" else {"messages": ["Go"]})
        (proposal,) = caught.value.proposals
        assert caught.value.is_retryable is proposal.is_retryable


@pytest.mark.parametrize("streaming", [False, True])
def test_a_member_that_streams_by_itself(*, streaming: bool) -> None:
    models = {ALPHA: says("Paris."), AGGREGATOR: says("ok")}
    with LoopbackServer(models) as server:
        member = together(server, ALPHA, streaming=streaming)
        for reference in (member, member.bind(seed=1), member.with_retry()):
            llm = mixture(server, reference_models=[reference])
            assert llm.invoke("Go").response_metadata["moa"]["degraded"] is False


def test_a_key_that_a_provider_quotes_is_in_no_traceback() -> None:
    key = "sk-very-secret-key"
    quoting = ModelBehavior(status=401, error=f"Incorrect API key provided: {key}")
    with LoopbackServer({ALPHA: says("x"), BETA: quoting}, api_key=key) as server:
        hidden: Any = RunnableLambda(lambda messages: together(server, BETA).invoke(messages))
        for members, aggregator in (([BETA], ALPHA), ([ALPHA], BETA), ([hidden], ALPHA)):
            llm = mixture(server, reference_models=members, aggregator=aggregator)
            with pytest.raises((NotEnoughProposalsError, AggregationError)) as caught:
                llm.invoke("Go")
            shown = "".join(traceback.format_exception(caught.value))
            if isinstance(caught.value, NotEnoughProposalsError):
                shown += "".join(traceback.format_exception(caught.value.as_group()))
            assert "***" in shown
            assert key not in shown


def test_no_key_in_errors_logs_or_records(caplog: pytest.LogCaptureFixture) -> None:
    """A provider may quote the key it was given in its error."""
    key = "sk-very-secret-key"
    models = {
        ALPHA: ModelBehavior(status=401, error=f"Incorrect API key provided: {key}"),
        BETA: says("Paris."),
        AGGREGATOR: says("ok"),
    }
    with LoopbackServer(models, api_key=key) as server:
        llm = mixture(server)
        answer = llm.invoke("Go")
        assert "key provided: ***" in answer.response_metadata["moa"]["proposals"][0]["error"]
        with pytest.raises(NotEnoughProposalsError) as caught:
            mixture(server, min_proposals=2).invoke("Go")
        shown = [caplog.text, answer.model_dump_json(), repr(llm), str(llm), str(caught.value)]
        assert not [text for text in shown if key in text]


def test_a_graph_pays_for_nothing_that_an_error_kept() -> None:
    """What failed in a call goes on as a graph: who has answered is not asked again."""
    models = {
        ALPHA: says("4"),
        BETA: ModelBehavior(status=400),
        AGGREGATOR: ModelBehavior(status=400),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, reference_models=[ALPHA, BETA])
        before = llm.graph
        with pytest.raises(AggregationError) as failed:
            llm.invoke("2+2?")
        server.models.update({BETA: says("5"), AGGREGATOR: says("4.")})
        asked = len(server.requests)
        again = llm.reusing(failed.value.proposals)
        state = again.graph.invoke({"messages": ["2+2?"]})
        assert [request.model for request in server.requests[asked:]] == [BETA, AGGREGATOR]
        record = state["messages"][-1].response_metadata["moa"]
        assert [one["status"] for one in record["proposals"]] == ["reused", "ok"]
        assert llm.graph is before is not again.graph


MEMBERS = {
    "openai:": "base_url",
    "anthropic:": "anthropic_url",
    "google_genai:": "gemini_url",
    "mistralai:": "mistral_url",
    "groq:": "url",
    "fireworks:": "url",
    "openrouter:": "base_url",
    "ollama:": "url",
}
"""Members of each provider, and what of the loopback server is their `base_url`."""


@pytest.mark.parametrize("provider", MEMBERS)
async def test_every_client_names_the_address_and_asks_once(provider: str) -> None:
    with LoopbackServer({ALPHA: says("Hi."), BETA: ModelBehavior(status=503)}) as server:
        address = getattr(server, MEMBERS[provider])
        key = {} if provider == "ollama:" else {"api_key": server.api_key}
        calls: list[tuple[MoAChatModel, str]] = []
        for name, at, wanted in (
            ("nobody", address, f"no model 'nobody' at {server.url}/"),
            (BETA, address, ""),
            ("nobody", "http://127.0.0.1:9", "cannot connect to http://127.0.0.1:9"),
        ):
            member = {"model": f"{provider}{name}", "base_url": at, **key}
            calls.append((mixture(server, reference_models=[member], max_retries=0), wanted))
        for llm, wanted in calls:
            with pytest.raises(NotEnoughProposalsError) as caught:
                llm.invoke("Hi")
            with pytest.raises(NotEnoughProposalsError) as again:
                await llm.ainvoke("Hi")
            assert wanted in str(caught.value)
            assert wanted in str(again.value)
            assert "timed_out" not in f"{caught.value}{again.value}"
        # of the first two mixtures, in both ways to call; the server has nothing of Ollama's API
        assert len(server.requests) == (0 if provider == "ollama:" else 4)
