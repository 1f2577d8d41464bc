"""Structured answers over real HTTP: who is bound to the schema, and who decides a field."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypedDict

from langchain_moa import AggregationError, MoAConfigurationError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.testing.replies import Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, PROPOSERS, bodies, mixture, says

QUESTION = "Is the review 'Lovely!' good? Answer as JSON with 'label', 'sure' and 'stars'."
Method = Literal["function_calling", "json_schema", "json_mode"]
METHODS: tuple[Method, ...] = ("function_calling", "json_schema", "json_mode")


class Verdict(BaseModel):
    """What a review says."""

    label: Literal["good", "bad"]
    sure: bool
    stars: int


class VerdictDict(TypedDict):
    """What a review says."""

    label: Literal["good", "bad"]
    sure: bool
    stars: int


VERDICT_JSON = {
    "title": "Verdict",
    "description": "What a review says.",
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["good", "bad"]},
        "sure": {"type": "boolean"},
        "stars": {"type": "integer"},
    },
    "required": ["label", "sure", "stars"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "pydantic": Verdict,
    "TypedDict": VerdictDict,
    "JSON schema": VERDICT_JSON,
}


def structured(values: Mapping[str, Any] | str) -> ModelBehavior:
    """A model that gives these values by whichever method it is asked."""

    def reply(body: Mapping[str, Any]) -> Reply:
        text = values if isinstance(values, str) else json.dumps(values)
        if not body.get("tools"):
            return Reply(text=text)
        name = body["tools"][0]["function"]["name"]
        return Reply(text=None, tool_calls=(ToolCall(name=name, arguments=text),))

    return ModelBehavior(reply=reply)


def verdict(label: str, stars: int, *, sure: bool = True) -> ModelBehavior:
    return structured({"label": label, "sure": sure, "stars": stars})


def is_bound(body: Mapping[str, Any]) -> bool:
    return "tools" in body or "response_format" in body


def plain(parsed: Any) -> dict[str, Any]:
    return dict(parsed)


VOTING = {
    ALPHA: verdict("good", 5),
    BETA: verdict("good", 4),
    GAMMA: verdict("bad", 4, sure=False),
    AGGREGATOR: verdict("bad", 1),
}
TAKEN: dict[str, Any] = {"label": "good", "sure": True, "stars": 4}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_majority_decides_each_field(schema: str, method: Method) -> None:
    with LoopbackServer(VOTING) as server:
        llm = mixture(server, reference_models=PROPOSERS)
        asked = llm.with_structured_output(
            SCHEMAS[schema], method=method, vote=True, include_raw=True
        )
        result: Any = asked.invoke(QUESTION)
        assert result["parsing_error"] is None
        assert plain(result["parsed"]) == TAKEN
        assert isinstance(result["parsed"], Verdict if schema == "pydantic" else dict)
        record = result["raw"].response_metadata["moa"]
        assert record["vote"] == {
            "ballots": 3,
            "refused": False,
            "fields": {
                "label": {"votes": 2, "tied": False},
                "sure": {"votes": 2, "tied": False},
                "stars": {"votes": 2, "tied": False},
            },
        }
        assert [len(bodies(server, name)) for name in (*PROPOSERS, AGGREGATOR)] == [1] * 4
        assert {is_bound(request.body) for request in server.requests} == {True}


@pytest.mark.parametrize("method", METHODS)
def test_without_raw_and_async(method: Method) -> None:
    with LoopbackServer(VOTING) as server:
        asked = mixture(server, reference_models=PROPOSERS).with_structured_output(
            Verdict, method=method, vote=True
        )
        assert asked.invoke(QUESTION) == Verdict(**TAKEN)
        assert asyncio.run(asked.ainvoke(QUESTION)) == Verdict(**TAKEN)


@pytest.mark.parametrize("method", METHODS)
def test_a_voted_stream_comes_in_one_piece(method: Method) -> None:
    with LoopbackServer(VOTING) as server:
        asked = mixture(server, reference_models=PROPOSERS).with_structured_output(
            Verdict, method=method, vote=True
        )

        async def collected() -> list[Any]:
            return [piece async for piece in asked.astream(QUESTION)]

        for pieces in (list(asked.stream(QUESTION)), asyncio.run(collected())):
            assert pieces == [Verdict(**TAKEN)]


@pytest.mark.parametrize("method", METHODS)
def test_a_tie_is_the_aggregators(method: Method) -> None:
    models = {
        ALPHA: verdict("good", 5),
        BETA: verdict("bad", 5, sure=False),
        AGGREGATOR: verdict("bad", 1),
    }
    with LoopbackServer(models) as server:
        result: Any = (
            mixture(server)
            .with_structured_output(Verdict, method=method, vote=True, include_raw=True)
            .invoke(QUESTION)
        )
        assert result["parsed"] == Verdict(label="bad", sure=True, stars=5)
        assert result["raw"].response_metadata["moa"]["vote"] == {
            "ballots": 2,
            "refused": False,
            "fields": {
                "label": {"votes": 1, "tied": True},
                "sure": {"votes": 1, "tied": True},
                "stars": {"votes": 2, "tied": False},
            },
        }


def test_the_last_layer_votes() -> None:
    """Members change their minds once they have read the others'."""

    def changes(body: Mapping[str, Any]) -> Reply:
        read = "drafts" in json.dumps(body["messages"])
        label = "bad" if read else "good"
        values = {"label": label, "sure": True, "stars": 3}
        name = body["tools"][0]["function"]["name"]
        return Reply(text=None, tool_calls=(ToolCall(name=name, arguments=values),))

    models = {
        ALPHA: ModelBehavior(reply=changes),
        BETA: ModelBehavior(reply=changes),
        AGGREGATOR: verdict("good", 3),
    }
    with LoopbackServer(models) as server:
        asked = mixture(server, layers=3).with_structured_output(
            Verdict, method="function_calling", vote=True
        )
        assert asked.invoke(QUESTION) == Verdict(label="bad", sure=True, stars=3)


def test_a_member_that_fails_has_no_vote() -> None:
    models = {**VOTING, GAMMA: ModelBehavior(status=400), BETA: says("I'd rather not.")}
    with LoopbackServer(models) as server:
        result: Any = (
            mixture(server, reference_models=PROPOSERS)
            .with_structured_output(Verdict, method="json_mode", vote=True, include_raw=True)
            .invoke(QUESTION)
        )
        assert result["parsed"] == Verdict(label="good", sure=True, stars=5)
        assert result["raw"].response_metadata["moa"]["vote"]["ballots"] == 1


@pytest.mark.parametrize(
    ("schema", "method"),
    [
        (Verdict, "function_calling"),
        (Verdict, "json_mode"),
        *((VERDICT_JSON, method) for method in METHODS),
    ],
)
def test_values_outside_the_schema_are_no_votes(schema: Any, method: Method) -> None:
    """Two models that invent the same label must not spoil a good answer."""
    models = {
        ALPHA: structured({"label": "great", "sure": True, "stars": 5}),
        BETA: structured({"label": "great", "sure": True, "stars": 5}),
        AGGREGATOR: verdict("good", 5),
    }
    with LoopbackServer(models) as server:
        asked = mixture(server).with_structured_output(schema, method=method, vote=True)
        assert plain(asked.invoke(QUESTION)) == {"label": "good", "sure": True, "stars": 5}


class Rated(BaseModel):
    """Has limits, and fields that belong together."""

    stars: int = Field(ge=1, le=5)
    kind: Literal["a", "b"]
    sub: Literal["a1", "b1"]

    @model_validator(mode="after")
    def _belong(self) -> Rated:
        if not self.sub.startswith(self.kind):
            msg = "sub is another kind's"
            raise ValueError(msg)
        return self


@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
def test_a_vote_gives_what_the_schema_permits(method: Method) -> None:
    models = {
        ALPHA: structured({"stars": 11, "kind": "a", "sub": "a1"}),
        BETA: structured({"stars": 11, "kind": "a", "sub": "b1"}),
        GAMMA: structured({"stars": 4, "kind": "b", "sub": "b1"}),
        AGGREGATOR: structured({"stars": 4, "kind": "b", "sub": "b1"}),
    }
    with LoopbackServer(models) as server:
        asked = mixture(server, reference_models=PROPOSERS).with_structured_output(
            Rated, method=method, vote=True, include_raw=True
        )
        result: Any = asked.invoke("Rate it, as JSON.")
        assert result["parsed"] == Rated(stars=4, kind="b", sub="b1")
        vote = result["raw"].response_metadata["moa"]["vote"]
        assert vote["refused"]
        assert {name: field["votes"] for name, field in vote["fields"].items()} == {
            "stars": 1,
            "kind": 1,
            "sub": 2,
        }


FAILED = {**VOTING, AGGREGATOR: ModelBehavior(status=400)}


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("vote", [False, True])
def test_a_best_proposal_in_the_schema_is_the_answer(method: Method, vote: bool, how: str) -> None:  # noqa: FBT001
    with LoopbackServer(FAILED) as server:
        llm = mixture(
            server,
            reference_models=PROPOSERS,
            on_aggregator_failure="best_proposal",
            structured_proposals=True,
        )
        asked = llm.with_structured_output(Verdict, method=method, vote=vote)

        async def collected() -> list[Any]:
            return [piece async for piece in asked.astream(QUESTION)]

        match how:
            case "invoke":
                result: Any = asked.invoke(QUESTION)
            case "ainvoke":
                result = asyncio.run(asked.ainvoke(QUESTION))
            case "stream":
                *_, result = asked.stream(QUESTION)
            case _:
                *_, result = asyncio.run(collected())
        assert result == Verdict(label="good", sure=True, stars=4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_of_the_proposals_only_those_in_the_schema_can_be_the_answer(
    schema: str, method: Method
) -> None:
    models = {**FAILED, ALPHA: says("I'd say good."), BETA: verdict("great", 4)}
    with LoopbackServer(models) as server:
        llm = mixture(
            server,
            reference_models=PROPOSERS,
            on_aggregator_failure="best_proposal",
            structured_proposals=True,
        )
        asked = llm.with_structured_output(SCHEMAS[schema], method=method, include_raw=True)
        result: Any = asked.invoke(QUESTION)
        assert plain(result["parsed"]) == {"label": "bad", "sure": False, "stars": 4}
        record = result["raw"].response_metadata["moa"]
        assert (record["best_proposal"], record["degraded"]) == ("1.2", True)


@pytest.mark.parametrize(
    ("method", "vote"),
    [
        *((method, False) for method in METHODS),
        ("function_calling", True),
        ("json_mode", True),  # with json_schema OpenAI's client raises by itself
    ],
)
def test_no_proposal_in_the_schema(method: Method, vote: bool) -> None:  # noqa: FBT001
    models = {ALPHA: says("Hello."), BETA: says("Good."), AGGREGATOR: ModelBehavior(status=400)}
    with LoopbackServer(models) as server:
        llm = mixture(server, on_aggregator_failure="best_proposal")
        asked = llm.with_structured_output(Verdict, method=method, vote=vote)
        with pytest.raises(AggregationError, match=r"400.*no proposal is in the form") as caught:
            asked.invoke(QUESTION)
        assert {p.text for p in caught.value.proposals} == {"Hello.", "Good."}
        with pytest.raises(AggregationError, match="structured_proposals=True"):
            list(asked.stream(QUESTION))


def test_fenced_json_is_a_vote() -> None:
    """LangChain's parser takes JSON in a Markdown fence, as models without a JSON mode write it."""
    fenced = '```json\n{"label": "bad", "sure": true, "stars": 1}\n```'
    models = {
        ALPHA: structured(fenced),
        BETA: structured(fenced),
        AGGREGATOR: structured('```json\n{"label": "good", "sure": true, "stars": 5}\n```'),
    }
    with LoopbackServer(models) as server:
        asked = mixture(server).with_structured_output(Verdict, method="json_mode", vote=True)
        assert asked.invoke(QUESTION) == Verdict(label="bad", sure=True, stars=1)


class Essay(BaseModel):
    """Has an open field."""

    good: bool
    text: str


class Listed(BaseModel):
    """Has a list."""

    labels: list[Literal["a", "b"]]


class Nothing(BaseModel):
    """Has no field."""


@pytest.mark.parametrize(
    ("schema", "named"), [(Essay, "'text'"), (Listed, "'labels'"), (Nothing, "no fields")]
)
def test_open_fields_are_refused(schema: type[BaseModel], named: str) -> None:
    with LoopbackServer(VOTING) as server:
        with pytest.raises(MoAConfigurationError, match=named) as caught:
            mixture(server).with_structured_output(schema, vote=True)
        assert "leave vote out" in str(caught.value)
        assert server.requests == []


class Aliased(BaseModel):
    """Has a name of its own on the wire."""

    label: Literal["good", "bad"] = Field(alias="Label")


@pytest.mark.parametrize("method", METHODS)
def test_aliases(method: Method) -> None:
    models = {
        ALPHA: structured({"Label": "good"}),
        BETA: structured({"Label": "good"}),
        AGGREGATOR: structured({"Label": "bad"}),
    }
    with LoopbackServer(models) as server:
        asked = mixture(server).with_structured_output(Aliased, method=method, vote=True)
        assert asked.invoke(QUESTION) == Aliased(Label="good")


FREE = {
    ALPHA: says("I think it is good."),
    BETA: says("Good."),
    AGGREGATOR: verdict("good", 5),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_proposals_stay_free_text(schema: str, method: Method) -> None:
    with LoopbackServer(FREE) as server:
        asked = mixture(server).with_structured_output(
            SCHEMAS[schema], method=method, include_raw=True
        )
        result: Any = asked.invoke(QUESTION)
        assert plain(result["parsed"]) == {"label": "good", "sure": True, "stars": 5}
        assert "vote" not in result["raw"].response_metadata["moa"]
        drafting = [*bodies(server, ALPHA), *bodies(server, BETA)]
        assert {is_bound(body) for body in drafting} == {False}
        (final,) = bodies(server, AGGREGATOR)
        assert is_bound(final)
        assert "I think it is good." in json.dumps(final["messages"])


@pytest.mark.parametrize("method", METHODS)
def test_structured_proposals(method: Method) -> None:
    models = {**VOTING, AGGREGATOR: verdict("bad", 1)}
    with LoopbackServer(models) as server:
        llm = mixture(server, structured_proposals=True, include_proposals=True)
        result: Any = llm.with_structured_output(Verdict, method=method, include_raw=True).invoke(
            QUESTION
        )
        assert result["parsed"] == Verdict(label="bad", sure=True, stars=1)  # nobody votes
        assert {is_bound(request.body) for request in server.requests} == {True}
        raw: AIMessage = result["raw"]
        texts = [p["text"] for p in raw.response_metadata["moa"]["proposals"]]
        assert [json.loads(text) for text in texts] == [
            {"label": "good", "sure": True, "stars": 5},
            {"label": "good", "sure": True, "stars": 4},
        ]
        server.requests.clear()
        llm.invoke(QUESTION)
        assert {is_bound(request.body) for request in server.requests} == {False}


@pytest.mark.parametrize("method", METHODS)
def test_streamed_without_votes(method: Method) -> None:
    with LoopbackServer(FREE) as server:
        asked = mixture(server).with_structured_output(VERDICT_JSON, method=method)
        assert list(asked.stream(QUESTION))[-1] == {"label": "good", "sure": True, "stars": 5}
        assert len(bodies(server, ALPHA)) == 1


def test_a_fallback_of_the_aggregator_votes_too() -> None:
    models = {**VOTING, AGGREGATOR: ModelBehavior(status=400), GAMMA: verdict("bad", 4)}
    with LoopbackServer(models) as server:
        llm = mixture(server, aggregator=[AGGREGATOR, GAMMA])
        asked = llm.with_structured_output(Verdict, method="function_calling", vote=True)
        assert asked.invoke(QUESTION) == Verdict(label="good", sure=True, stars=4)


def weather(city: str) -> str:
    """The weather in a city."""
    return city


@pytest.mark.parametrize("demand", [{"tool_choice": "any"}, {}])
def test_calls_in_words_are_no_answer(demand: dict[str, Any]) -> None:
    calls = Reply(text=None, tool_calls=(ToolCall(name="weather", arguments='{"city": "Rome"}'),))
    models = {**FAILED, ALPHA: says("It is sunny."), BETA: ModelBehavior(reply=calls)}
    with LoopbackServer(models) as server:
        llm = mixture(
            server,
            reference_models=PROPOSERS[:2],
            on_aggregator_failure="best_proposal",
            tools_for="all",
        )
        bound = llm.bind_tools([weather], **demand)
        if demand:
            with pytest.raises(AggregationError, match="no proposal is in the form"):
                bound.invoke(QUESTION)
        else:
            assert bound.invoke(QUESTION).text == "It is sunny."
