"""What each dialect of the loopback server refuses, as its provider does, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.testing.dialects import Anthropic, Dialect, Gemini, Mistral, OpenAI

MODEL = "demo-model"
BASE64 = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {}}
Messages = list[dict[str, Any]]


def ask(server: LoopbackServer, dialect: str, body: Any) -> httpx.Response:
    """Send a body to a dialect as it is."""
    address, headers = {
        "openai": (f"{server.base_url}/chat/completions", {}),
        "anthropic": (f"{server.anthropic_url}/v1/messages", {"x-api-key": server.api_key}),
        "gemini": (
            f"{server.gemini_url}/v1beta/models/{MODEL}:generateContent",
            {"x-goog-api-key": server.api_key},
        ),
        "mistral": (f"{server.mistral_url}/chat/completions", {}),
    }[dialect]
    return httpx.post(
        address, json=body, headers=headers or {"Authorization": f"Bearer {server.api_key}"}
    )


# --- chat completions: OpenAI's, Together's and Mistral's


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": list(messages), **fields}


def call(call_id: Any = "abcdefgh1", name: str = "f", arguments: Any = "{}") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def says(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def result(call_id: str = "abcdefgh1", content: Any = "x", **fields: Any) -> dict[str, Any]:
    return says("tool", content, tool_call_id=call_id, **fields)


def picture(url: Any) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}}]


HI = says("user", "Hi")
CALLS = says("assistant", None, tool_calls=[call()])
TWO_CALLS = says("assistant", None, tool_calls=[call(), call("abcdefgh2", "g")])
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
FORCED = {"type": "function", "function": {"name": "g"}}

OPENAI_REFUSES: dict[str, tuple[Any, str]] = {
    "no object": ([], "model"),
    "no model": ({"messages": [HI]}, "model"),
    "no messages": (chat(), "at least one message"),
    "unknown role": (chat(says("human", "Hi")), "role must be"),
    "no content": (chat(says("user", None)), "content must be"),
    "empty content": (chat(says("user", [])), "content must be"),
    "assistant with nothing": (chat(HI, says("assistant", None), HI), "content must be"),
    "bare text in a list": (chat(says("user", ["Hi"])), "object with a type"),
    "text of no text": (chat(says("user", [{"type": "text"}])), "has a text"),
    "unknown part": (chat(says("user", [{"type": "thinking"}])), "no parts of type"),
    "picture of the assistant": (
        chat(HI, says("assistant", picture("https://a.b/c.png")), HI),
        "no parts of type",
    ),
    "picture without an address": (chat(says("user", picture(None))), "image_url"),
    "picture with no data": (chat(says("user", picture("data:image/png;base64,"))), "image_url"),
    "picture of no base64": (chat(says("user", picture("data:image/png;base64,%"))), "image_url"),
    "text as a picture": (chat(says("user", picture("data:text/plain;base64,AAAA"))), "image_url"),
    "bare address": (chat(says("user", [{"type": "image_url", "image_url": "x"}])), "image_url"),
    "result without a call": (chat(HI, result()), "no call waits"),
    "result of another call": (chat(HI, CALLS, result("abcdefgh9")), "no call waits"),
    "result twice": (chat(HI, CALLS, result(), result()), "no call waits"),
    "result later on": (chat(HI, CALLS, HI, result()), "need a result first"),
    "call without a result": (chat(HI, CALLS), "have no result"),
    "one of two results": (chat(HI, TWO_CALLS, result(), HI), "need a result first"),
    "calls with one id": (
        chat(HI, says("assistant", None, tool_calls=[call(), call()]), result()),
        "not unique",
    ),
    "empty calls": (chat(HI, says("assistant", "x", tool_calls=[]), HI), "at least one call"),
    "the user calls": (chat(says("user", "x", tool_calls=[call()])), "calls no tools"),
    "call without an id": (chat(HI, says("assistant", "", tool_calls=[call(None)])), "an id"),
    "illegal name": (
        chat(HI, says("assistant", "", tool_calls=[call(name="a b")]), result()),
        "at most 64",
    ),
    "arguments as an object": (
        chat(HI, says("assistant", "", tool_calls=[call(arguments={})]), result()),
        "must be a string",
    ),
    "tool of an illegal name": (
        chat(HI, tools=[{"type": "function", "function": {"name": "a.b"}}]),
        "at most 64",
    ),
    "no tools": (chat(HI, tools=[]), "at least one tool"),
    "choice without tools": (chat(HI, tool_choice="required"), "no tools"),
    "choice of an unknown tool": (chat(HI, tools=[TOOL], tool_choice=FORCED), "not among"),
}
MISTRAL_REFUSES: dict[str, tuple[Any, str]] = {
    "no messages": (chat(), "at least one message"),
    "unknown role": (chat(says("developer", "Hi")), "role must be"),
    "role of no kind": (chat({"role": [], "content": "Hi"}), "role must be"),
    "a name": (chat(says("user", "Hi", name="Ann")), "no fields ['name']"),
    "ends on the assistant": (chat(HI, says("assistant", "Hello")), "the last message"),
    "user after a tool": (chat(HI, CALLS, result(), HI), "cannot follow 'tool'"),
    "system after a tool": (
        chat(HI, CALLS, result(), says("system", "x"), HI),
        "cannot follow 'tool'",
    ),
    "system after the assistant": (
        chat(HI, says("assistant", "Hello"), says("system", "x"), HI),
        "cannot follow 'assistant'",
    ),
    "tool after the user": (chat(HI, result()), "cannot follow 'user'"),
    "tool first": (chat(result(), HI), "cannot follow 'nothing'"),
    "id of another provider": (
        chat(HI, says("assistant", "", tool_calls=[call("call_1")]), result("call_1")),
        "nine letters",
    ),
    "result of an illegal id": (chat(HI, CALLS, result("toolu_01")), "nine letters"),
    "result of another call": (chat(HI, CALLS, result("abcdefgh9")), "no call waits"),
    "one of two results": (chat(HI, TWO_CALLS, result()), "have no result"),
    "calls and goes on": (chat(HI, CALLS, says("assistant", "x"), HI), "need a result first"),
    "calls with one id": (
        chat(HI, says("assistant", "", tool_calls=[call(), call()]), result()),
        "not unique",
    ),
    "illegal name": (
        chat(HI, says("assistant", "", tool_calls=[call(name="a b")]), result()),
        "at most 64",
    ),
    "illegal name of a result": (chat(HI, CALLS, result(name="a b")), "at most 64"),
    "assistant with nothing": (chat(HI, says("assistant", ""), HI), "content or tool_calls"),
    "no content": (chat(says("user", None)), "has content"),
    "unknown part": (chat(says("user", [{"type": "tool_use"}])), "a part of content"),
    "thinking of Anthropic": (
        chat(HI, says("assistant", [{"type": "thinking", "thinking": "Hm."}]), HI),
        "a list of parts",
    ),
    "field of a text": (
        chat(says("user", [{"type": "text", "text": "x", "id": "lc_1"}])),
        "no fields ['id']",
    ),
    "prefix within": (
        chat(HI, says("assistant", "x", prefix=True), HI),
        "only the last message",
    ),
    "choice without tools": (chat(HI, tool_choice="any"), "no tools"),
}

# --- Anthropic


def claude(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 2000, "messages": list(messages), **fields}


def text(words: Any) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(call_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}, **fields}


def used(call_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "x", **fields}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
F = {"tools": [{"name": "f", "input_schema": SCHEMA}]}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
PNG = {"type": "base64", "media_type": "image/png", "data": BASE64}

ANTHROPIC_REFUSES: dict[str, tuple[Any, str]] = {
    "no object": ("Hi", "model"),
    "no max_tokens": ({"model": MODEL, "messages": [HI]}, "max_tokens: required"),
    "max_tokens of 0": (claude(HI, max_tokens=0), "max_tokens"),
    "no messages": (claude(), "at least one message"),
    "assistant first": (claude(says("assistant", "Hi"), HI), "first message"),
    "system among messages": (claude(says("system", "x"), HI), "system is a parameter"),
    "tool as a role": (claude(HI, result()), "role must be"),
    "empty system": (claude(HI, system=[text("")]), "must have text"),
    "empty text": (claude(says("user", "")), "must not be empty"),
    "blank text": (claude(says("user", " \n")), "must not be empty"),
    "no blocks": (claude(says("user", [])), "at least one"),
    "empty block": (claude(says("user", [text("Hi"), text("")])), "must have text"),
    "blank block": (claude(HI, says("assistant", [text(" ")]), HI), "must have text"),
    "bare text in a list": (claude(says("user", ["Hi"])), "a block of type"),
    "foreign block": (claude(says("user", picture("https://a.b/c.png"))), "a block of type"),
    "picture of the assistant": (claude(HI, says("assistant", [image(**PNG)]), HI), "a block of"),
    "picture of another kind": (
        claude(says("user", [image(**{**PNG, "media_type": "image/tiff"})])),
        "media_type",
    ),
    "picture of no base64": (claude(says("user", [image(**{**PNG, "data": "%"})])), "base64"),
    "picture of no source": (claude(says("user", [{"type": "image"}])), "source of an image"),
    "picture at no address": (claude(says("user", [image(type="url", url="x")])), "http"),
    "thinking without a signature": (
        claude(HI, says("assistant", [{**THOUGHT, "signature": ""}, text("x")]), HI),
        "its signature",
    ),
    "redacted thinking without data": (
        claude(HI, says("assistant", [{"type": "redacted_thinking"}, text("x")]), HI),
        "must have data",
    ),
    "thinking last": (claude(HI, says("assistant", [text("x"), THOUGHT]), HI), "the last block"),
    "budget beyond max_tokens": (claude(HI, **THINKS, max_tokens=1000), "budget_tokens"),
    "forced tool and thinking": (
        claude(HI, **F, **THINKS, tool_choice={"type": "any"}),
        "no tool can be forced",
    ),
    "no thinking before calls": (
        claude(HI, says("assistant", [use()]), says("user", [used()]), **F, **THINKS),
        "must start with thinking",
    ),
    "call without tools": (
        claude(HI, says("assistant", [use()]), says("user", [used()])),
        "must be given",
    ),
    "call without a result": (claude(HI, says("assistant", [use()]), HI, **F), "have results"),
    "one of two results": (
        claude(HI, says("assistant", [use(), use("toolu_2")]), says("user", [used()]), **F),
        "have results",
    ),
    "result twice": (
        claude(HI, says("assistant", [use()]), says("user", [used(), used()]), **F),
        "each once",
    ),
    "result after text": (
        claude(HI, says("assistant", [use()]), says("user", [text("So:"), used()]), **F),
        "must come first",
    ),
    "result without a call": (claude(says("user", [used()]), **F), "no tool_use"),
    "result one turn late": (
        claude(
            HI,
            says("assistant", [use()]),
            says("user", [used()]),
            says("assistant", "x"),
            says("user", [used()]),
            **F,
        ),
        "no tool_use",
    ),
    "ids not unique": (
        claude(
            HI,
            says("assistant", [use()]),
            says("user", [used()]),
            says("assistant", [use()]),
            says("user", [used()]),
            **F,
        ),
        "not unique in the conversation",
    ),
    "illegal id": (
        claude(HI, says("assistant", [use("a b")]), says("user", [used("a b")]), **F),
        "an id of letters",
    ),
    "arguments as a string": (
        claude(HI, says("assistant", [use(input="{}")]), says("user", [used()]), **F),
        "must be an object",
    ),
    "empty result block": (
        claude(HI, says("assistant", [use()]), says("user", [used(content=[text("")])]), **F),
        "must have text",
    ),
    "ends on a call": (claude(HI, says("assistant", [use()]), **F), "have no tool_result"),
    "prefill": (claude(HI, says("assistant", "Well")), "prefill is not supported"),
    "tool of an illegal name": (
        claude(HI, tools=[{"name": "a.b", "input_schema": SCHEMA}]),
        "a name has letters",
    ),
    "tool without a schema": (claude(HI, tools=[{"name": "f"}]), "input_schema"),
    "tools of one name": (claude(HI, tools=F["tools"] * 2), "not unique"),
    "choice without tools": (claude(HI, tool_choice={"type": "any"}), "there are no tools"),
    "choice of an unknown tool": (
        claude(HI, **F, tool_choice={"type": "tool", "name": "g"}),
        "not among the tools",
    ),
    "choice of no kind": (claude(HI, **F, tool_choice={"type": "required"}), "its type is"),
}

# --- Gemini


def gemini(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"contents": list(contents), **fields}


def turn(role: str, *parts: Any) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def calls(*names: str) -> dict[str, Any]:
    return turn("model", *({"functionCall": {"name": name, "args": {}}} for name in names))


def responds(*names: str) -> dict[str, Any]:
    given = ({"functionResponse": {"name": name, "response": {}}} for name in names)
    return turn("user", *given)


ASKS = turn("user", {"text": "Hi"})
TELLS = turn("model", {"text": "Hello"})
DECLARED = {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]}
ANY = {"functionCallingConfig": {"mode": "ANY"}}

GEMINI_REFUSES: dict[str, tuple[Any, str]] = {
    "no object": (3, "at least one content"),
    "no contents": (gemini(), "at least one content"),
    "no role": (gemini({"parts": [{"text": "Hi"}]}), "the role is None"),
    "role of the system": (gemini(turn("system", {"text": "x"}), ASKS), "the role is 'system'"),
    "role of a function": (
        gemini(ASKS, calls("f"), {**responds("f"), "role": "function"}, **DECLARED),
        "the role is 'function'",
    ),
    "no parts": (gemini(turn("user")), "at least one part"),
    "empty part": (gemini(turn("user", {})), "exactly one of"),
    "part of two": (
        gemini(turn("user", {"text": "x", "inlineData": {"mimeType": "image/png"}})),
        "exactly one of",
    ),
    "empty text": (gemini(turn("user", {"text": ""})), "text must not be empty"),
    "empty system": (gemini(ASKS, systemInstruction={"parts": []}), "systemInstruction: parts"),
    "empty text of the system": (
        gemini(ASKS, system_instruction={"parts": [{"text": ""}]}),
        "systemInstruction.parts[0]",
    ),
    "data of no kind": (gemini(turn("user", {"inlineData": {"data": BASE64}})), "a mimeType"),
    "data of no base64": (
        gemini(turn("user", {"inlineData": {"mimeType": "image/png", "data": "%"}})),
        "base64 data",
    ),
    "model first": (gemini(TELLS, ASKS), "the first turn"),
    "model last": (gemini(ASKS, TELLS), "the last turn"),
    "call first": (gemini(calls("f"), responds("f"), **DECLARED), "the first turn"),
    "call after the model": (
        gemini(ASKS, TELLS, calls("f"), responds("f"), **DECLARED),
        "calls must follow",
    ),
    "call of the user": (
        gemini({**calls("f"), "role": "user"}, responds("f"), **DECLARED),
        "calls must follow",
    ),
    "call without a response": (gemini(ASKS, calls("f"), ASKS, **DECLARED), "were called"),
    "ends on a call": (gemini(ASKS, calls("f"), **DECLARED), "have no response"),
    "response without a call": (gemini(ASKS, responds("f"), **DECLARED), "must follow the turn"),
    "one of two responses": (
        gemini(ASKS, calls("f", "g"), responds("f"), **DECLARED),
        "were called",
    ),
    "responses in two turns": (
        gemini(ASKS, calls("f", "g"), responds("f"), responds("g"), **DECLARED),
        "were called",
    ),
    "too many responses": (gemini(ASKS, calls("f"), responds("f", "f"), **DECLARED), "were called"),
    "response of another": (gemini(ASKS, calls("f"), responds("g"), **DECLARED), "were called"),
    "nothing declared": (gemini(ASKS, calls("f"), responds("f")), "not all declared"),
    "illegal name": (gemini(ASKS, tools=[{"functionDeclarations": [{"name": "1"}]}]), "starts"),
    "functions of one name": (
        gemini(ASKS, tools=[{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]),
        "not unique",
    ),
    "config without functions": (gemini(ASKS, toolConfig=ANY), "no functionDeclarations"),
    "function that is not declared": (
        gemini(
            ASKS,
            toolConfig={"functionCallingConfig": {"allowedFunctionNames": ["h"]}},
            **DECLARED,
        ),
        "not all declared",
    ),
    "response of no object": (
        gemini(
            ASKS,
            calls("f"),
            turn("user", {"functionResponse": {"name": "f", "response": "x"}}),
            **DECLARED,
        ),
        "must be an object",
    ),
}

REFUSED = {
    "openai": OPENAI_REFUSES,
    "mistral": MISTRAL_REFUSES,
    "anthropic": ANTHROPIC_REFUSES,
    "gemini": GEMINI_REFUSES,
}
ACCEPTED: dict[str, list[Any]] = {
    "openai": [
        chat(HI),
        chat(says("system", "x"), says("developer", "x"), HI, HI),
        chat(HI, says("assistant", "Well, ")),
        chat(HI, TWO_CALLS, result("abcdefgh2"), result(), says("user", "Go on."), tools=[TOOL]),
        chat(
            HI, says("assistant", "x", tool_calls=[call("call_1")]), result("call_1", [text("x")])
        ),
        chat(says("user", [text("What?"), *picture(f"data:image/png;base64,{BASE64}")])),
    ],
    "mistral": [
        chat(HI),
        chat(says("system", "x"), HI, says("system", "x"), HI),
        chat(HI, says("assistant", "Well, ", prefix=True)),
        chat(HI, TWO_CALLS, result("abcdefgh2"), result(name=None), tools=[TOOL]),
        chat(HI, CALLS, result(), says("assistant", "So."), HI, tools=[TOOL], tool_choice="any"),
        chat(says("user", [text("What?"), *picture(f"data:image/png;base64,{BASE64}")])),
        chat(says("user", [{"type": "image_url", "image_url": "https://a.b/c.png"}])),
        chat(HI, says("assistant", [{"type": "thinking", "thinking": [text("Hm.")]}]), HI),
    ],
    "anthropic": [
        claude(HI, system="Be brief."),
        claude(HI, HI, says("assistant", "a"), says("assistant", "b"), says("user", [text("x")])),
        claude(HI, says("assistant", [THOUGHT, text("x")]), HI),
        claude(
            says("user", [text("What?"), image(**PNG), image(type="url", url="https://a.b/c.png")])
        ),
        claude(
            HI,
            says("assistant", [THOUGHT, text("So:"), use(), use("toolu_2")]),
            says("user", [used("toolu_2", content=[image(**PNG)]), used(), text("Go on.")]),
            **F,
            **THINKS,
        ),
        # two messages of the user are one turn
        claude(
            HI,
            says("assistant", [use(), use("toolu_2")]),
            says("user", [used()]),
            says("user", [used("toolu_2")]),
            **F,
        ),
    ],
    "gemini": [
        gemini(ASKS, systemInstruction={"parts": [{"text": "Be brief."}]}),
        gemini(ASKS, ASKS, TELLS, TELLS, ASKS),
        gemini(turn("user", {"inline_data": {"mime_type": "image/png", "data": BASE64}})),
        gemini(ASKS, calls("f", "g"), responds("g", "f"), **DECLARED, toolConfig=ANY),
        gemini(ASKS, calls("f"), responds("f"), calls("g"), responds("g"), ASKS, **DECLARED),
        gemini(ASKS, turn("model", {"text": "", "thoughtSignature": "c2ln"}), ASKS),
    ],
}


def message_of(dialect: str, body: Mapping[str, Any]) -> str:
    """The message of an error's body, where each provider puts it."""
    if dialect == "mistral":
        assert body["object"] == "error"
        return str(body["message"])
    if dialect == "anthropic":
        assert body["type"] == "error"
        assert body["error"]["type"] == "invalid_request_error"
    if dialect == "gemini":
        assert (body["error"]["code"], body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    return str(body["error"]["message"])


@pytest.fixture(scope="module")
def server() -> Any:
    with LoopbackServer({MODEL: ModelBehavior(reply="ok")}) as running:
        yield running


@pytest.mark.parametrize(
    ("dialect", "rule"), [(dialect, rule) for dialect, rules in REFUSED.items() for rule in rules]
)
def test_requests_that_the_provider_refuses(
    server: LoopbackServer, dialect: str, rule: str
) -> None:
    body, complaint = REFUSED[dialect][rule]
    before = len(server.requests)
    answer = ask(server, dialect, body)
    assert answer.status_code == 400
    assert complaint in message_of(dialect, answer.json())
    assert len(server.requests) == before


@pytest.mark.parametrize("dialect", ACCEPTED)
def test_requests_that_the_provider_takes(server: LoopbackServer, dialect: str) -> None:
    for body in ACCEPTED[dialect]:
        answer = ask(server, dialect, body)
        assert answer.status_code == 200, answer.text
        assert server.requests[-1].body == body
        assert server.requests[-1].dialect == dialect


def test_prefill_where_the_model_takes_it() -> None:
    with LoopbackServer({MODEL: ModelBehavior(reply="ok")}, prefill=True) as server:
        assert ask(server, "anthropic", claude(HI, says("assistant", "Well"))).status_code == 200
        answer = ask(server, "anthropic", claude(HI, says("assistant", "Well ")))
        assert "whitespace" in message_of("anthropic", answer.json())


DIALECTS: list[Dialect] = [OpenAI(), Anthropic(), Gemini(), Mistral()]
_WORDS = st.sampled_from(
    [
        "args",
        "assistant",
        "content",
        "contents",
        "function",
        "functionCall",
        "functionDeclarations",
        "functionResponse",
        "id",
        "image",
        "image_url",
        "input",
        "messages",
        "model",
        "name",
        "parts",
        "response",
        "role",
        "source",
        "system",
        "text",
        "thinking",
        "tool",
        "tool_call_id",
        "tool_calls",
        "tool_choice",
        "tool_result",
        "tool_use",
        "tool_use_id",
        "tools",
        "type",
        "user",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(message=_JSON, tools=_JSON, choice=_JSON)
def test_no_json_is_too_odd_to_be_judged(message: Any, tools: Any, choice: Any) -> None:
    rest = {"model": MODEL, "max_tokens": 9, "tools": tools, "tool_choice": choice}
    for dialect in DIALECTS:
        for body in (
            message,
            {"messages": [message], "contents": [message], **rest},
            {"messages": [HI, message], "contents": [ASKS, message], "toolConfig": choice, **rest},
        ):
            complaint = dialect.complaint_about(body)
            if complaint is None:
                assert dialect.chat_body(body, f"{MODEL}:generateContent")["messages"]
