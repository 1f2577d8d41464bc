"""What members are given, how their answers are read, and how arguments reach their models."""

from __future__ import annotations

from typing import Any, cast

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel, FakeListLLM
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotChatMessagePromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_together import ChatTogether
from langgraph.graph import MessagesState, StateGraph
from pydantic import SecretStr

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.config.build import build_mixture
from langchain_moa.config.settings import MixtureSettings
from langchain_moa.members.adapters import as_chunk, as_message
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import language_models, model_of, with_arguments
from langchain_moa.testing import ScriptedChatModel

Step = Runnable[Any, Any]


def echo(messages: list[BaseMessage]) -> str:
    return "|".join(f"{message.type}:{message.text}" for message in messages)


ECHO: Step = RunnableLambda(echo)


def model(**fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel(script=echo, **fields)


def agent() -> Step:
    """A graph over messages that answers like the scripted model."""
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [AIMessage(echo(state["messages"]))]})
    graph.set_entry_point("model")
    return graph.compile(name="helper")


def refuse(_: Any) -> str:
    raise NotImplementedError


def falling(first: Any, *others: Any) -> Step:
    return cast("Step", first.with_fallbacks(list(others)))


def wrapped(inner: ScriptedChatModel, wrap: str) -> Step:
    compositions: dict[str, Step] = {
        "plain": inner,
        "bound": inner.bind(stop=["x"]),
        "retry": inner.with_retry(),
        "chain": OPTIONAL | inner | StrOutputParser(),
        "nested": (OPTIONAL | inner.bind(stop=["x"]).with_retry()).with_config(tags=["t"]),
        "fallback": falling(model(), inner),
    }
    return compositions[wrap]


def ask(runnable: Step, messages: list[BaseMessage]) -> str:
    member = Member(runnable)
    return as_message(member.runnable.invoke(member.adapt(messages))).text


ONE: list[BaseMessage] = [HumanMessage("hi")]
TURNS: list[BaseMessage] = [SystemMessage("s"), HumanMessage("hi")]
FULL = "system:s|human:hi"
AS_TEXT = "Human: hi\nAI: a"

PLACEHOLDER = ChatPromptTemplate([SystemMessage("p"), MessagesPlaceholder("history")])
OPTIONAL = ChatPromptTemplate([("system", "p"), ("placeholder", "{messages}")])
QUESTION = ChatPromptTemplate([("system", "p"), ("human", "{question}")])
TEXT_PROMPT = PromptTemplate.from_template("Q: {question}")
TWO = ChatPromptTemplate([("system", "{role}"), ("human", "{question}")])
SHOTS = FewShotChatMessagePromptTemplate(
    examples=[{"a": "1"}],
    example_prompt=ChatPromptTemplate([("human", "{a}")]),
    input_variables=["question"],
)


@pytest.mark.parametrize(
    ("runnable", "messages", "read"),
    [
        (model(), TURNS, FULL),
        (model().bind(stop=["x"]), TURNS, FULL),
        (model().with_retry(), TURNS, FULL),
        (falling(RunnableLambda(refuse), model()), TURNS, FULL),
        (ECHO, TURNS, FULL),
        (agent(), TURNS, FULL),
        (falling(agent(), model()), TURNS, FULL),
        (agent() | RunnableLambda(lambda state: state["messages"][0].text), TURNS, "s"),
        (model() | StrOutputParser(), TURNS, FULL),
        (PLACEHOLDER | model(), TURNS, f"system:p|{FULL}"),
        (OPTIONAL | model(), TURNS, f"system:p|{FULL}"),
        ((PLACEHOLDER | model()).with_retry(), TURNS, f"system:p|{FULL}"),
        (QUESTION | model(), ONE, "system:p|human:hi"),
        (QUESTION | model(), [*ONE, AIMessage("a")], f"system:p|human:{AS_TEXT}"),
        (QUESTION | model(), [AIMessage("a")], "system:p|human:AI: a"),
        (TEXT_PROMPT | model(), ONE, "human:Q: hi"),
        (TEXT_PROMPT | FakeListLLM(responses=["from a text model"]), ONE, "from a text model"),
        (TWO.partial(role="judge") | model(), ONE, "system:judge|human:hi"),
        (SHOTS | model(), ONE, "human:1"),
    ],
)
def test_members_of_every_kind_read_the_conversation(
    runnable: Step, messages: list[BaseMessage], read: str
) -> None:
    assert ask(runnable, messages) == read


@pytest.mark.parametrize(
    ("prompt", "variables"),
    [
        (TWO, ["question", "role"]),
        (PLACEHOLDER + ChatPromptTemplate([("system", "{role}")]), ["history", "role"]),
        (ChatPromptTemplate([("human", "always this")]), []),
        (PromptTemplate.from_template("{a} {b} {c}"), ["a", "b", "c"]),
    ],
)
def test_a_prompt_that_cannot_be_filled_is_an_error_at_once(
    prompt: Step, variables: list[str]
) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        Member(prompt | model(), field="aggregator")
    assert str(caught.value).startswith("aggregator: ")
    assert str(variables) in str(caught.value)
    assert "prompt.partial(...)" in str(caught.value)


CALL = ToolCall(name="f", args={"x": 1}, id="1", type="tool_call")


def test_a_chunk_keeps_tool_calls_and_usage() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    chunk = as_chunk(AIMessage("a", tool_calls=[CALL], usage_metadata=usage))
    assert (chunk.tool_calls, chunk.usage_metadata) == ([CALL], usage)


@pytest.mark.parametrize(
    ("runnable", "name"),
    [
        (model(model="acme/a"), "acme/a"),
        (model(model="acme/a").bind(model="acme/b"), "acme/b"),
        (TEXT_PROMPT | model(model="acme/a") | StrOutputParser(), "acme/a"),
        (model(model="draft") | StrOutputParser() | model(model="polish"), "polish"),
        (falling(model(model="acme/a"), model(model="acme/b")), "acme/a"),
        (TEXT_PROMPT | model(model="acme/a").bind(model="acme/b"), "acme/b"),
        (FakeListChatModel(responses=["a"], name="stub"), "stub"),
        (ECHO, "echo"),
        (agent(), "helper"),
    ],
)
def test_names_of_members(runnable: Step, name: str) -> None:
    assert Member(runnable).model == name == model_of(runnable)


@pytest.mark.parametrize("wrap", ["plain", "bound", "retry", "chain", "nested"])
def test_arguments_reach_the_model(wrap: str) -> None:
    inner = model()
    member = Member(wrapped(inner, wrap))
    with_arguments(member.runnable, {"temperature": 0.5}).invoke(member.adapt(ONE))
    member.runnable.invoke(member.adapt(ONE))  # the original is left alone
    (_, first), (_, second) = inner.calls
    assert first == {**second, "temperature": 0.5}


def test_arguments_reach_every_fallback() -> None:
    first, second = ScriptedChatModel(script=refuse), model()
    runnable = falling(first, second)
    assert with_arguments(runnable, {"top_k": 3}).invoke("hi").text == "human:hi"
    assert [given for _, given in (*first.calls, *second.calls)] == [{"top_k": 3}] * 2


def test_arguments_reach_the_last_model_of_a_chain() -> None:
    draft, polish = model(), model()
    chain: Step = RunnableSequence(draft, StrOutputParser(), polish, name="twice")
    bound = with_arguments(chain, {"top_k": 3})
    bound.invoke("hi")
    assert bound.get_name() == "twice"
    assert (draft.calls[0][1], polish.calls[0][1]) == ({}, {"top_k": 3})


@pytest.mark.parametrize(
    "runnable",
    [
        ECHO,
        ECHO.with_retry(),
        OPTIONAL | ECHO,
        falling(model(), ECHO),
        agent(),
    ],
)
def test_arguments_need_a_model(runnable: Step) -> None:
    with pytest.raises(MoAConfigurationError, match=r"^max_tokens, temperature: .* without a chat"):
        with_arguments(runnable, {"temperature": 0, "max_tokens": 5})


def test_what_needs_no_change_is_left_alone() -> None:
    assert with_arguments(ECHO, {}) is ECHO
    assert Member(ECHO).quiet is ECHO


class Keyed(ScriptedChatModel):
    api_key: SecretStr = SecretStr("sk-one-two-three")
    short: SecretStr = SecretStr("abc")


@pytest.mark.parametrize("wrap", ["plain", "bound", "retry", "chain", "nested", "fallback"])
def test_secrets_are_found(wrap: str) -> None:
    assert Member(wrapped(Keyed(script=echo), wrap)).secrets == {"sk-one-two-three"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda keyed: RunnableParallel(x=keyed) | (lambda found: found["x"]),
        lambda keyed: RunnableBranch((lambda _: True, keyed), ECHO),
        lambda keyed: RunnableLambda(lambda messages: keyed.invoke(messages[-1:])),
        lambda keyed: RunnablePassthrough.assign(x=keyed),
        lambda keyed: MoAChatModel(reference_models=[[ECHO], [keyed]], aggregator=ECHO),
    ],
)
def test_secrets_are_found_in_any_composition(wrap: Any) -> None:
    assert Member(wrap(Keyed(script=echo))).secrets == {"sk-one-two-three"}


async def streamed(runnable: Step) -> int:
    events = runnable.astream_events("a b c", version="v2")
    return len([event async for event in events if event["event"] == "on_chat_model_stream"])


@pytest.mark.parametrize("wrap", ["plain", "bound", "retry"])
async def test_quiet_members_do_not_stream(wrap: str) -> None:
    loud = wrapped(ScriptedChatModel.saying("one two three"), wrap)
    quiet = Member(loud).quiet
    assert await streamed(quiet) < 3 <= await streamed(loud)


@pytest.mark.parametrize(
    ("runnable", "streams"),
    [
        (model(), True),
        (agent(), False),
        (agent() | ECHO, False),
    ],
)
def test_graphs_do_not_stream_their_answer(runnable: Step, *, streams: bool) -> None:
    assert Member(runnable).streams is streams


MIXTURE = MoAChatModel(reference_models=[model()], aggregator=model())


@pytest.mark.parametrize(
    ("runnable", "is_model", "reports"),
    [
        (model(), True, True),
        (model().bind(stop=["x"]).with_retry(), True, True),
        (MIXTURE, True, False),
        (OPTIONAL | model(), False, False),
        (agent(), False, False),
    ],
)
def test_whose_usage_is_that_of_one_call(runnable: Step, *, is_model: bool, reports: bool) -> None:
    member = Member(runnable)
    assert (member.chat_model is not None, member.reports_own_usage) == (is_model, reports)


HISTORY_AND_TURN = ChatPromptTemplate([("placeholder", "{history}"), ("human", "Q: {question}")])
EXAMPLES_AND_TURN = ChatPromptTemplate(
    [MessagesPlaceholder("examples"), ("human", "Q: {question}")]
).partial(examples=[HumanMessage("example")])
NESTED = ChatPromptTemplate([ChatPromptTemplate([MessagesPlaceholder("messages")])])


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        (HISTORY_AND_TURN, ["Hi", "Hello", "Q: Well?"]),
        (NESTED, ["Hi", "Hello", "Well?"]),
        (EXAMPLES_AND_TURN, ["example", "Q: Human: Hi\nAI: Hello\nHuman: Well?"]),
    ],
)
def test_prompts_with_history(prompt: ChatPromptTemplate, read: list[str]) -> None:
    member = Member(prompt | RunnableLambda(lambda value: value.to_string()))
    turns = [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Well?")]
    messages = prompt.invoke(member.adapt(turns)).to_messages()
    assert [message.text for message in messages] == read


def test_quiet_reaches_every_model_of_a_composition() -> None:
    composed: Any = (TEXT_PROMPT | model()).with_fallbacks([TEXT_PROMPT | model().bind(stop=["x"])])
    quiet = Member(composed).quiet
    found = list(language_models(quiet))
    assert [one.disable_streaming for one in found if isinstance(one, BaseChatModel)] == [True] * 2
    assert not any(getattr(one, "disable_streaming", None) for one in language_models(composed))


def test_the_longest_secret_is_redacted_first() -> None:
    class TwoKeys(ScriptedChatModel):
        short: SecretStr = SecretStr("sk-abc")
        long: SecretStr = SecretStr("sk-abc-def")

    mixture = build_mixture(
        MixtureSettings(reference_models=[TwoKeys(script=echo)], aggregator=model())
    )
    assert mixture.redacted("key sk-abc-def") == "key ***"


@pytest.mark.parametrize("streaming", [None, True])
def test_together_counts_in_streams_unless_told_not_to(*, streaming: bool | None) -> None:
    def together(usage: bool | None) -> Any:  # noqa: FBT001
        fields: dict[str, Any] = {} if streaming is None else {"streaming": streaming}
        return ChatTogether(model="a", api_key=SecretStr("k"), stream_usage=usage, **fields)

    for given, used in ((None, True), (False, False), (True, True)):
        for member in (Member(together(given)), Member(together(given).bind(stop=["x"]))):
            assert next(language_models(member.counting)).stream_usage is used  # type: ignore[attr-defined]
            quiet: Any = next(language_models(member.quiet))
            assert (quiet.disable_streaming, quiet.streaming) == (True, False)


@pytest.mark.parametrize("tools", [3, [3], "tool", [None], [{"x": 1}]])
def test_tools_in_a_form_that_the_aggregator_refuses(tools: Any) -> None:
    llm = MoAChatModel(reference_models=["a/b"], aggregator="c/d", api_key="key")
    with pytest.raises(MoAConfigurationError, match=r"bind_tools: aggregator='c/d' does not take"):
        llm.bind_tools(tools)


@pytest.mark.parametrize(
    ("schema", "options"), [(3, {}), ({"a": 1}, {}), (int, {}), ({"title": "T"}, {"method": "x"})]
)
def test_schemas_that_the_aggregator_refuses(schema: Any, options: dict[str, Any]) -> None:
    llm = MoAChatModel(reference_models=["a/b"], aggregator="c/d", api_key="key")
    with pytest.raises(MoAConfigurationError, match="with_structured_output: aggregator='c/d'"):
        llm.with_structured_output(schema, **options)
