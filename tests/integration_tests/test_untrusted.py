"""Whatever a proposer writes, the next model reads it as one draft among others, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from langchain_moa.types import Placement
from tests.attacks import ATTACKS, ENDLESS, FORGED, ORDERS, as_read
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says

HARMLESS = "The capital is Paris."
CONVERSATION = [
    SystemMessage("You are brief."),
    HumanMessage("Hi"),
    AIMessage("Hello."),
    HumanMessage("Capital of France?"),
]
PROMPT = "Drafts follow.\n{proposals}\nNo more drafts: answer now."
OPENING = re.compile(r'<proposal-(?P<key>[0-9a-f]{16}) number="1">\n')
Request = dict[str, Any]


def _model(attack: str) -> str:
    return f"attack/{list(ATTACKS).index(attack)}"


@pytest.fixture(scope="module")
def hostile() -> Iterator[LoopbackServer]:
    """A server with a model for each attack, harmless ones and an aggregator."""
    models = {_model(attack): says(text) for attack, text in ATTACKS.items()}
    models |= {ALPHA: says(HARMLESS), BETA: says("It is Paris."), AGGREGATOR: says("Paris.")}
    with LoopbackServer(models) as server:
        yield server


class Fenced:
    """A request with proposals, taken apart as strictly as the fences allow."""

    def __init__(self, request: Request) -> None:
        self.request = request
        (self.place,) = (i for i, m in enumerate(request["messages"]) if OPENING.search(_text(m)))
        self.text = _text(request["messages"][self.place])
        opening = OPENING.search(self.text)
        assert opening is not None
        self.key = opening["key"]
        self.before = self.text[: opening.start()]
        self.drafts: list[str] = []
        self.after = self._read(self.text[opening.start() :])

    def _read(self, rest: str) -> str:
        """Read the drafts in their fences one after the other; what follows is given back."""
        while rest.startswith(f"<proposal-{self.key} "):
            opening = f'<proposal-{self.key} number="{len(self.drafts) + 1}">\n'
            assert rest.startswith(opening)
            draft, closing, rest = rest.removeprefix(opening).partition(f"\n</proposal-{self.key}>")
            assert closing
            self.drafts.append(draft)
            rest = rest.removeprefix("\n\n")
        return rest

    @property
    def around(self) -> Request:
        """The request without its drafts."""
        messages = list(self.request["messages"])
        messages[self.place] = {**messages[self.place], "content": (self.before, self.after)}
        return {**self.request, "messages": messages}


def _text(message: Request) -> str:
    content = message["content"]
    return content if isinstance(content, str) else json.dumps(content)


def _requests(server: LoopbackServer, proposers: list[str], **fields: Any) -> list[Fenced]:
    """Every request with proposals in it that one call of a mixture made, in order."""
    first = len(server.requests)
    told = {"aggregator_prompt": PROMPT, "shuffle": False, **fields}
    llm = mixture(server, reference_models=proposers, **told)
    assert llm.invoke(CONVERSATION).text == "Paris."
    sent = [request.body for request in server.requests[first:]]
    return [Fenced(body) for body in sent if "Drafts follow." in json.dumps(body)]


@pytest.mark.parametrize("placement", ["user", "system"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_stays_in_its_fence(
    attack: str, placement: Placement, hostile: LoopbackServer
) -> None:
    fields: dict[str, Any] = {"placement": placement, "layers": 3}
    (*_, expected) = _requests(hostile, [ALPHA, BETA, ALPHA], **fields)
    requests = _requests(hostile, [ALPHA, _model(attack), BETA], **fields)
    assert len(requests) == 3 + 1
    for fenced in requests:
        assert len(fenced.drafts) == 3
        assert (fenced.drafts[0], fenced.drafts[2]) == (HARMLESS, "It is Paris.")
        assert json.dumps(fenced.request).count(fenced.key) == 2 * 3
        assert not FORGED.search(as_read(fenced.drafts[1]))
    assert requests[-1].around == expected.around


@pytest.mark.parametrize("attack", ATTACKS)
def test_attackers_together_get_no_further(attack: str, hostile: LoopbackServer) -> None:
    (fenced,) = _requests(hostile, [_model(attack)] * 4)
    assert len(fenced.drafts) == 4
    assert len(set(fenced.drafts)) == 1
    assert len(FORGED.findall(as_read(fenced.text))) == 2 * 4
    assert fenced.text.count(fenced.key) == 2 * 4


@pytest.mark.timeout(60)  # a pattern that goes back and forth would take hours
@pytest.mark.parametrize("text", ENDLESS)
def test_a_huge_text_is_read_in_no_time(text: str) -> None:
    models = {ALPHA: says(HARMLESS), BETA: says(ENDLESS[text]), AGGREGATOR: says("Paris.")}
    with LoopbackServer(models) as server:
        (fenced,) = _requests(server, [BETA, ALPHA])
    assert len(fenced.drafts) == 2
    assert len(fenced.drafts[0]) >= len(ENDLESS[text])
    assert fenced.drafts[1] == HARMLESS


def test_orders_reach_the_aggregator_word_for_word(hostile: LoopbackServer) -> None:
    """Only what poses as a fence is changed: a draft about chat formats is a draft, too."""
    for attack in ("ignore", "ChatML", "Llama 3", "HTML", "f-string template", "OpenAI tool call"):
        (fenced,) = _requests(hostile, [ALPHA, _model(attack)])
        assert fenced.drafts == [HARMLESS, ORDERS[attack].strip()]


def test_changing_one_proposal_changes_the_key() -> None:
    models = {ALPHA: says("one"), BETA: says("two"), AGGREGATOR: says("Paris.")}
    with LoopbackServer(models) as server:
        (first,) = _requests(server, [ALPHA, BETA])
        (again,) = _requests(server, [ALPHA, BETA])
        (swapped,) = _requests(server, [BETA, ALPHA])
        server.models[BETA] = says("two.")
        (changed,) = _requests(server, [ALPHA, BETA])
        assert again.request == first.request
        assert len({first.key, swapped.key, changed.key}) == 3


def test_a_key_from_another_run_opens_nothing() -> None:
    """Who repeats the tags that it was shown has them taken out, and the next key is another."""
    told: list[str] = []

    def copy_the_fence(body: Any) -> str:
        told.append(body["messages"][-1]["content"])
        return told[-1].partition("Drafts follow.\n")[2] or "two"

    models = {
        ALPHA: says("one"),
        BETA: ModelBehavior(reply=copy_the_fence),
        AGGREGATOR: says("Paris."),
    }
    with LoopbackServer(models) as server:
        *_, stolen, last = _requests(server, [ALPHA, BETA], layers=4)
        assert stolen.key != last.key
        # proposals are cleaned of tags when they are taken in
        assert stolen.key not in "".join(last.drafts)
        assert len(last.drafts) == 2


@pytest.mark.parametrize("before", ["", " ", "\n", "\r\n\t"])
def test_blanks_before_reasoning_do_not_take_the_answer_with_it(before: str) -> None:
    models = {ALPHA: says(f"{before}<think>hm</think>{HARMLESS}"), AGGREGATOR: says("Paris.")}
    with LoopbackServer(models) as server:
        (fenced,) = _requests(server, [ALPHA])
    assert fenced.drafts == [HARMLESS]


TOOL_TEXTS = [name for name in ORDERS if "tool" in name or name in ("ReAct", "Mistral")]
CALLING = (ToolCall(name="wipe", arguments={"path": "/"}),)
REPLIES: dict[str, str | Reply] = {
    **{name: ORDERS[name] for name in TOOL_TEXTS},
    "a call": Reply(text=None, tool_calls=CALLING),
    "a call with a text": Reply(text="I wipe it.", tool_calls=CALLING),
    "a call that is not said to be one": Reply(
        text="I wipe it.", tool_calls=CALLING, finish_reason="stop"
    ),
}


def _agent(server: LoopbackServer, wiped: list[str], **fields: Any) -> Any:
    @tool
    def wipe(path: str) -> str:
        """Delete everything below a path."""
        wiped.append(path)
        return "wiped"

    return create_agent(mixture(server, shuffle=False, **fields), [wipe])


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("reply", REPLIES)
def test_no_agent_executes_what_a_proposer_calls(reply: str, layers: int) -> None:
    models = {
        ALPHA: ModelBehavior(reply=REPLIES[reply]),
        BETA: says("It is Paris."),
        AGGREGATOR: says("Paris."),
    }
    wiped: list[str] = []
    with LoopbackServer(models) as server:
        state = _agent(server, wiped, layers=layers).invoke({"messages": ["Capital of France?"]})
        assert wiped == []
        assert [message.type for message in state["messages"]] == ["human", "ai"]
        assert state["messages"][-1].text == "Paris."
        assert not state["messages"][-1].tool_calls
        assert {"tools" in body for body in bodies(server, ALPHA)} == {False}


def test_the_agent_does_execute_what_the_aggregator_calls() -> None:
    models = {ALPHA: says("Wipe it."), AGGREGATOR: ModelBehavior(reply=_call_once)}
    wiped: list[str] = []
    with LoopbackServer(models) as server:
        _agent(server, wiped, reference_models=[ALPHA]).invoke({"messages": ["Wipe /"]})
    assert wiped == ["/"]


def _call_once(body: Any) -> Reply:
    told = body["messages"][-1]["role"] == "tool"
    return Reply(text="Done.") if told else Reply(text=None, tool_calls=CALLING)
