"""Comparing and selecting over real HTTP: what is asked, what comes of it, what is recorded."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import Any, Final, cast

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks

from langchain_moa import Analysis, MoAChatModel, create_moa_graph
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.dialects import CLIENTS
from tests.strategies import (
    ANALYST,
    BLIND_SPOT,
    CONSENSUS,
    JUDGE,
    TOPIC,
    analyst,
    judge_of,
    shown_to,
)
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, LIMITS, PROPOSERS, Stage, says, together

DELTA: Final = "acme/delta"
QUESTION: Final = "What is the capital, and where does it lie?"
ANSWER: Final = "It is Paris, on the Seine."
WAYS: Final = ("invoke", "ainvoke", "stream", "astream")
FACTS: Final = (
    "It is Paris, on the Seine.",
    "It is Paris, on the Seine. It has many bridges.",
    "It is Lyon, on the Saône.",
    "It is Paris, on the Seine. It floods in winter. It has many bridges.",
)
"""One contradicts the others, one alone tells of floods, two tell of bridges, all of a river."""


CUT: Final = '{"consensus": [], "contradictions": [{"topic": "t", "stances": [{"model": 1'
"""Half an analysis, as where its tokens are limited."""
LOOP: Final = asyncio.Runner()
"""One for all tests: the members' clients keep connections, which belong to a loop."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LOOP, LoopbackServer({}) as server:
        yield Stage(server, (*PROPOSERS, DELTA, AGGREGATOR, ANALYST, JUDGE))


def drafts(**others: ModelBehavior) -> dict[str, Any]:
    """Alpha, beta, gamma and delta with a fact each, and an honest analyst."""
    told = dict(zip((*PROPOSERS, DELTA), map(says, FACTS), strict=True))
    honest = {ANALYST: ModelBehavior(reply=analyst), AGGREGATOR: says(ANSWER)}
    return {**told, **honest, **others}


def comparing(stage: Stage, **fields: Any) -> MoAChatModel:
    proposers = fields.pop("proposers", (*PROPOSERS, DELTA))
    settings = {"strategy": "compare", "analyst": stage.members[ANALYST], **fields}
    return stage.mixture(proposers, include_proposals=True, **settings)


def selecting(stage: Stage, **fields: Any) -> MoAChatModel:
    proposers = fields.pop("proposers", (*PROPOSERS, DELTA))
    settings = {"strategy": "select", "judge": stage.members[JUDGE], **fields}
    return stage.mixture(proposers, include_proposals=True, **settings)


def answered(llm: Any, way: str, question: Any = QUESTION) -> AIMessage:
    """The whole answer, whichever way it is asked for."""

    async def streamed() -> list[AIMessageChunk]:
        return [chunk async for chunk in llm.astream(question)]

    chunks: list[Any]
    match way:
        case "invoke":
            chunks = [llm.invoke(question)]
        case "ainvoke":
            chunks = [LOOP.run(llm.ainvoke(question))]
        case "stream":
            chunks = list(llm.stream(question))
        case _:
            chunks = LOOP.run(streamed())
    first, *others = chunks
    return add_ai_message_chunks(first, *others) if others else cast("AIMessage", first)


def one_after_the_other(*replies: Callable[[Mapping[str, Any]], str]) -> ModelBehavior:
    """A model that answers each request by the next of these."""
    left = iter(replies)

    def reply(body: Mapping[str, Any]) -> str:
        return next(left)(body)

    return ModelBehavior(reply=reply)


def record_of(answer: AIMessage) -> Any:
    return answer.response_metadata["moa"]


# --- compare ---


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_planted_facts_have_their_authors_in_every_order(
    stage: Stage, order: tuple[int, ...]
) -> None:
    """Two members are of one model, and one member has failed."""

    def told(body: Mapping[str, Any], _: int) -> ModelBehavior:
        return says(FACTS[order[round(body["temperature"])]])

    server = stage.plays({**drafts(), ALPHA: told, BETA: told, GAMMA: told})
    server.models[DELTA] = ModelBehavior(status=400)
    alphas = [together(server, ALPHA, temperature=place) for place in (0, 1)]
    others = [together(server, BETA, temperature=2), together(server, GAMMA, temperature=3)]
    members = [alphas[0], stage.members[DELTA], alphas[1], *others]
    llm = comparing(stage).replace(reference_models=members)
    record = record_of(llm.invoke(QUESTION))
    names = [ALPHA, f"{ALPHA}#2", BETA, GAMMA]
    author = {fact: names[order.index(fact)] for fact in range(4)}
    analysis = record["analysis"]
    assert analysis["consensus"] == [CONSENSUS]
    assert analysis["blind_spots"] == [BLIND_SPOT]
    (contradiction,) = analysis["contradictions"]
    assert contradiction["topic"] == TOPIC
    held = {one["model"]: one["stance"] for one in contradiction["stances"]}
    assert held == {author[fact]: "Lyon" if fact == 2 else "Paris" for fact in range(4)}
    assert analysis["unique_insights"] == [{"model": author[3], "insight": "It floods."}]
    (covered,) = analysis["partial_coverage"]
    assert {*covered["models"]} == {author[1], author[3]}
    assert record["consulted"]["dropped"] == 0
    assert record["degraded_reasons"] == [{"stage": "proposer", "reason": "upstream_error"}]


def test_the_aggregator_reads_the_analysis_by_numbers_and_nobody_reads_names(stage: Stage) -> None:
    server = stage.plays(drafts())
    comparing(stage).invoke(QUESTION)
    ((asked,), (written,)) = (server.requests_for(ANALYST), server.requests_for(AGGREGATOR))
    assert shown_to(asked.body) == shown_to(written.body)
    assert sorted(shown_to(asked.body).values()) == sorted(FACTS)
    text = str(written.body["messages"])
    assert all(f"## {field}" in text for field in Analysis.model_fields)
    (lone,) = [number for number, fact in shown_to(asked.body).items() if fact == FACTS[3]]
    assert f"draft {lone}: It floods." in text
    for body in (asked.body, written.body):
        assert "alpha" not in str(body["messages"])


def test_numbers_of_no_proposal_are_dropped_and_counted(stage: Stage) -> None:
    found = {
        "consensus": [],
        "contradictions": [
            {"topic": "a", "stances": [{"model": 7, "stance": "x"}, {"model": "2", "stance": "y"}]},
            {"topic": "b", "stances": [{"model": "gpt-9", "stance": "x"}]},
            {"topic": "c", "stances": [{"model": "9" * 5000, "stance": "x"}]},
        ],
        "partial_coverage": [{"models": [0, 1, True], "point": "p"}],
        "unique_insights": [{"model": None, "insight": "i"}],
    }
    stage.plays(drafts(**{ANALYST: says(json.dumps(found))}))
    record = record_of(comparing(stage, shuffle=False).invoke(QUESTION))
    assert record["analysis"] == {
        "consensus": [],
        "contradictions": [{"topic": "a", "stances": [{"model": BETA, "stance": "y"}]}],
        "partial_coverage": [{"models": [ALPHA], "point": "p"}],
        "unique_insights": [],
        "blind_spots": [],
    }
    assert record["consulted"]["dropped"] == 6
    assert not record["degraded"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("behavior", "reason", "requests"),
    [
        pytest.param(says("一致しています。"), "invalid_json", 2, id="no JSON"),
        pytest.param(says('{"verdict": "fine"}'), "schema_mismatch", 2, id="other JSON"),
        pytest.param(says('{"consensus": "all"}'), "schema_mismatch", 2, id="other type"),
        pytest.param(says(f"[{CUT}"), "invalid_json", 2, id="cut off"),
        pytest.param(says(" "), "empty", 1, id="blanks"),
        pytest.param(says("<think>Hm.</think>"), "empty", 1, id="reasoning"),
        pytest.param(ModelBehavior(status=429), "rate_limited", 1, id="429"),
        pytest.param(ModelBehavior(status=500), "upstream_error", 1, id="500"),
        pytest.param(ModelBehavior(drop=True), "upstream_error", 1, id="dropped"),
        pytest.param(ModelBehavior(malformed=True), "upstream_error", 1, id="malformed"),
    ],
)
def test_without_an_analysis_the_answer_is_synthesized(
    stage: Stage, way: str, behavior: ModelBehavior, reason: str, requests: int
) -> None:
    server = stage.plays(drafts(**{ANALYST: behavior}))
    answer = answered(comparing(stage, proposers=(ALPHA, BETA)), way)
    record = record_of(answer)
    assert answer.text == ANSWER
    assert record["degraded_reasons"] == [{"stage": "analyst", "reason": reason}]
    assert record["degraded"]
    assert record["analysis"] is None
    assert record["consulted"]["status"] == "failed"
    assert record["consulted"]["error"]
    assert len(server.requests_for(ANALYST)) == requests == record["consulted"]["attempts"]


@pytest.mark.parametrize("way", WAYS)
def test_an_analyst_that_hangs_costs_its_own_time_only(stage: Stage, way: str) -> None:
    for limit in LIMITS:
        server = stage.plays(drafts(**{ANALYST: ModelBehavior(hang=True)}))
        answer = answered(comparing(stage, analyst_timeout=limit), way)
        if server.requests_for(ANALYST):
            break
    assert answer.text == ANSWER
    assert record_of(answer)["degraded_reasons"] == [{"stage": "analyst", "reason": "timed_out"}]
    assert "analyst_timeout" in record_of(answer)["consulted"]["error"]


@pytest.mark.parametrize("way", ["invoke", "astream"])
def test_an_analyst_without_a_limit_leaves_the_aggregator_its_time(stage: Stage, way: str) -> None:
    for limit in LIMITS:
        server = stage.plays(drafts(**{ANALYST: ModelBehavior(hang=True)}))
        llm = comparing(stage, timeout=4 * limit, analyst_timeout=None)
        answer = answered(llm.replace(on_no_proposals="aggregate_alone"), way)
        if server.requests_for(ANALYST):
            break
    assert answer.text == ANSWER
    assert record_of(answer)["degraded_reasons"] == [{"stage": "analyst", "reason": "timed_out"}]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["analyst", "judge"])
def test_what_the_budget_does_not_admit_is_left_out_first(
    stage: Stage, way: str, role: str
) -> None:
    server = stage.plays(drafts(**{JUDGE: judge_of(bool)}))
    make = comparing if role == "analyst" else selecting
    answer = answered(make(stage, max_calls=5), way)
    record = record_of(answer)
    assert answer.text == ANSWER
    assert record["degraded_reasons"] == [{"stage": role, "reason": "over_budget"}]
    assert record["consulted"] is None
    assert len(server.requests) == 5


def test_an_analyst_writes_markdown_around_its_json_and_is_heard(stage: Stage) -> None:
    def chatty(body: Mapping[str, Any]) -> str:
        return f"Let me {{compare}}:\n\n```json\n{analyst(body)}\n```\n\nDone {{}}."

    stage.plays(drafts(**{ANALYST: ModelBehavior(reply=chatty)}))
    record = record_of(comparing(stage).invoke(QUESTION))
    assert record["analysis"]["consensus"] == [CONSENSUS]
    assert not record["degraded"]


def test_a_second_answer_counts_and_the_request_tells_what_was_wrong(stage: Stage) -> None:
    server = stage.plays(
        {**drafts(), ANALYST: one_after_the_other(lambda _: "All agree.", analyst)}
    )
    record = record_of(comparing(stage).invoke(QUESTION))
    assert record["analysis"]["consensus"] == [CONSENSUS]
    assert "no JSON object" in str(server.requests_for(ANALYST)[1].body["messages"])


def test_the_default_analyst_is_the_aggregator_at_temperature_0(stage: Stage) -> None:
    server = stage.plays({**drafts(), AGGREGATOR: one_after_the_other(analyst, lambda _: ANSWER)})
    llm = comparing(stage, analyst=None, temperature=0.9)
    record = record_of(llm.invoke(QUESTION))
    asked, written = server.requests_for(AGGREGATOR)
    assert (asked.body["temperature"], written.body["temperature"]) == (0, 0.9)
    assert record["analysis"]["consensus"] == [CONSENSUS]


def test_a_fallback_of_the_analyst_is_asked_and_all_usage_is_counted_once(stage: Stage) -> None:
    stage.plays(drafts(**{ANALYST: ModelBehavior(status=500), JUDGE: ModelBehavior(reply=analyst)}))
    both = [stage.members[ANALYST], stage.members[JUDGE]]
    prices = dict.fromkeys((*PROPOSERS, DELTA, AGGREGATOR, ANALYST, JUDGE), (1.0, 2.0))
    record = record_of(comparing(stage, analyst=both, prices=prices).invoke(QUESTION))
    consulted = record["consulted"]
    assert (consulted["model"], consulted["attempts"], consulted["status"]) == (JUDGE, 2, "ok")
    members = [*record["proposals"], consulted, record["aggregator"]]
    total = sum(member["usage"]["total_tokens"] for member in members)
    assert record["usage"]["total_tokens"] == total
    assert record["cost"]["usd"] == pytest.approx(sum(member["cost"] for member in members))


@pytest.mark.parametrize("provider", CLIENTS)
@pytest.mark.parametrize("strategy", ["compare", "select"])
def test_each_provider_is_asked_by_its_own_best_method(
    stage: Stage, strategy: str, provider: str
) -> None:
    """An obedient assistant answers in whatever it is asked for: a call, or JSON in a schema."""
    server = stage.plays({**drafts(), provider: ModelBehavior()})
    llm = comparing(stage, analyst=None, aggregator=[CLIENTS[provider](server, provider)])
    record = record_of(llm.replace(strategy=strategy).invoke("What is the capital? Choose 1."))
    assert record["degraded_reasons"] == []
    assert (record["analysis"] or record["selection"]) is not None
    asked = server.requests_for(provider)[0].body
    form = asked.get("response_format") or asked.get("tools") or asked["generationConfig"]
    assert ("Analysis" if strategy == "compare" else "Choice") in str(form) or provider == "gemini"
    assert asked.get("temperature", asked.get("generationConfig", {}).get("temperature")) == 0


# --- select ---


@pytest.mark.parametrize("way", WAYS)
def test_the_selected_proposal_is_the_answer_byte_for_byte(stage: Stage, way: str) -> None:
    text = " \n  It floods.  \n\n```py\nx = 1\n```\n<proposal-1>\n\n"
    server = stage.plays(drafts(**{DELTA: says(text), JUDGE: judge_of(lambda t: "floods" in t)}))
    answer = answered(selecting(stage), way)
    record = record_of(answer)
    assert answer.content == text == record["proposals"][3]["text"]
    assert answer.usage_metadata == record["proposals"][3]["usage"]
    assert record["aggregator"] is None
    assert record["selection"] == {
        "layer": 1,
        "index": 3,
        "model": DELTA,
        "by": "judge",
        "reason": "It is right.",
    }
    assert not record["degraded"]
    assert server.requests_for(AGGREGATOR) == []


QUOTED: Final = "Draft 1 says {{'number': 3}}, or {}. So I take another:\n```json\n{}\n```"


@pytest.mark.parametrize(
    "said",
    [
        QUOTED.format('{"number": 1, "reason": "A draft says so."}', '{"number": 2, "reason": ""}'),
        r"By \frac{1}{2}" * 20 + ': {"number": "2"}',
        '[{"number": 2, "reason": "It is\nright."}]',
        '{"number": 2, "reason": "It is right."} {"reason": "As I said."}',
    ],
    ids=["a draft is quoted", "formulas", "a list, and a line break", "something follows"],
)
def test_a_choice_is_found_in_what_is_said_around_it(stage: Stage, said: str) -> None:
    stage.plays(drafts(**{JUDGE: says(said)}))
    record = record_of(selecting(stage, shuffle=False).invoke(QUESTION))
    assert record["selection"]["index"] == 1
    assert record["consulted"]["attempts"] == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('{"number": 0, "reason": "All alike."}', "tie"),
        ('{"number": [1, 2], "reason": "Both."}', "tie"),
        ('{"number": 5, "reason": "?"}', "invalid_number"),
        (f'{{"number": 1{"0" * 5000}, "reason": "?"}}', "invalid_number"),
        ('{"number": "the first", "reason": "?"}', "invalid_number"),
        ('{"choice": 1}', "schema_mismatch"),
        ("The second.", "invalid_json"),
    ],
)
def test_without_a_choice_the_answer_is_synthesized(
    stage: Stage, way: str, said: str, reason: str
) -> None:
    stage.plays(drafts(**{JUDGE: says(said)}))
    answer = answered(selecting(stage), way)
    record = record_of(answer)
    assert answer.text == ANSWER
    assert record["degraded_reasons"] == [{"stage": "judge", "reason": reason}]
    assert record["selection"] is None
    assert record["aggregator"]["status"] == "ok"


async def passes_later(text: str) -> bool:
    await asyncio.sleep(0)
    return "bridges" in text


def raises(text: str) -> bool:
    raise RuntimeError(text)


def exits(_: str) -> bool:
    sys.exit("as code that is run may do")


async def exits_later(text: str) -> bool:
    return exits(text)


async def is_cancelled(_: str) -> bool:
    raise asyncio.CancelledError


def hangs(_: str) -> bool:
    asyncio.run(asyncio.sleep(3600))
    return True


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("check", "judged", "reason"),
    [
        pytest.param(lambda text: "Lyon" in text, [], None, id="one passes"),
        pytest.param(lambda text: "bridges" in text, [1, 3], None, id="two pass"),
        pytest.param(passes_later, [1, 3], None, id="async"),
        pytest.param(lambda _: False, [], "none_passed", id="none passes"),
        pytest.param(raises, [], "check_failed", id="raises"),
        pytest.param(exits, [], "check_failed", id="exits"),
        pytest.param(exits_later, [], "check_failed", id="exits in the event loop"),
        pytest.param(is_cancelled, [], "check_failed", id="is cancelled"),
        pytest.param(hangs, [], "timed_out", id="hangs"),
    ],
)
def test_only_what_passes_the_check_is_judged(
    stage: Stage, way: str, check: Callable[[str], Any], judged: list[int], reason: str | None
) -> None:
    server = stage.plays(drafts(**{JUDGE: judge_of(bool)}))
    answer = answered(selecting(stage, check=check, analyst_timeout=0.3 if reason else 60), way)
    record = record_of(answer)
    assert [sorted(shown_to(r.body).values()) for r in server.requests_for(JUDGE)] == (
        [sorted(FACTS[place] for place in judged)] if judged else []
    )
    if reason is not None:
        assert answer.text == ANSWER
        assert record["degraded_reasons"] == [{"stage": "check", "reason": reason}]
        return
    assert record["selection"]["by"] == ("judge" if judged else "check")
    assert answer.text in FACTS
    assert not record["degraded"]


def test_with_tools_it_synthesizes(stage: Stage) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    server = stage.plays(drafts(**{JUDGE: judge_of(bool)}))
    record = record_of(selecting(stage).bind_tools([add]).invoke(QUESTION))
    assert record["degraded_reasons"] == [{"stage": "judge", "reason": "tools_bound"}]
    assert server.requests_for(JUDGE) == []


# --- both ---


@pytest.mark.parametrize("strategy", ["compare", "select"])
def test_the_graph_asks_the_same_and_shows_who_is_consulted(stage: Stage, strategy: str) -> None:
    server = stage.plays(drafts(**{JUDGE: judge_of(lambda text: "Lyon" in text)}))
    llm = comparing(stage) if strategy == "compare" else selecting(stage)
    role = "analyst" if strategy == "compare" else "judge"
    assert role in llm.graph.get_graph().nodes
    called = llm.invoke(QUESTION)
    sent = sorted(json.dumps(request.body) for request in server.requests)
    server.requests.clear()
    in_graph = llm.graph.invoke({"messages": [QUESTION]})["messages"][-1]
    assert sorted(json.dumps(request.body) for request in server.requests) == sent
    assert in_graph.content == called.content
    for key in ("analysis", "selection", "degraded_reasons"):
        assert record_of(in_graph)[key] == record_of(called)[key]


def test_settings_of_files_and_graphs(stage: Stage) -> None:
    stage.plays(drafts(**{JUDGE: judge_of(lambda text: "Lyon" in text)}))
    llm = selecting(stage, shuffle=False, analyst_timeout=7.0)
    config = llm.to_config()
    assert config["strategy"] == "select"
    assert config["judge"] == JUDGE
    again = MoAChatModel.from_config(config, api_key=stage.server.api_key)
    assert again.invoke(QUESTION).text == FACTS[2]
    members = [stage.members[name] for name in PROPOSERS]
    graph = create_moa_graph(
        members, stage.members[AGGREGATOR], strategy="select", judge=stage.members[JUDGE]
    )
    assert graph.invoke({"messages": [QUESTION]})["messages"][-1].text == FACTS[2]
