"""Members' answers are read in every form that LangChain knows, or refused with the reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
    messages_to_dict,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompt_values import StringPromptValue
from langgraph.types import Command
from pydantic import BaseModel

from langchain_moa.members.adapters import as_chunk, as_message

CALL = ToolCall(name="f", args={"x": 1}, id="1", type="tool_call")
CHUNK = AIMessageChunk(content="a")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (AIMessage("a", id="7"), AIMessage("a", id="7")),
        (AIMessageChunk(content="a", id="7"), AIMessage("a", id="7")),
        (HumanMessage("a"), AIMessage("a")),
        (HumanMessage([{"type": "text", "text": "a"}]), AIMessage("a")),
        ("a", AIMessage("a")),
        ({"messages": [HumanMessage("q"), AIMessage("a")]}, AIMessage("a")),
    ],
)
def test_outputs_become_messages(output: Any, message: AIMessage) -> None:
    read = as_message(output)
    assert type(read) is AIMessage
    assert read == message


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (None, "message or a string, not NoneType"),
        (3, "message or a string, not int"),
        ({}, "not a dict with no keys"),
        ({"a": AIMessage("a"), "b": AIMessage("b")}, "not a dict with the keys 'a', 'b'"),
        ({"messages": []}, "gave no answer: the conversation that it returned is empty"),
        ({"messages": [HumanMessage("the question")]}, "ends on a message of type 'human'"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "LangChain cannot read: a dict"),
        ({"messages": [7]}, "LangChain cannot read: a int"),
        (StringPromptValue(text="q"), "ends on a message of type 'human'"),
        (AIMessage("a") + HumanMessage("b"), "not ChatPromptTemplate"),
        (Command(goto="b"), "not NoneType"),
        ([{"role": "assistant"}], "LangChain cannot read: a dict"),
    ],
)
def test_other_outputs_are_refused(output: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=kind):
        as_message(output)


TOOL = ToolMessage("sunny", tool_call_id="1")
CALLS = AIMessage("", tool_calls=[CALL])


class City(BaseModel):
    name: str


@dataclass
class Town:
    name: str


@pytest.mark.parametrize(
    ("output", "text"),
    [
        # messages as dicts, pairs, and as LangChain writes them
        ({"messages": [{"type": "ai", "content": "a", "id": "1"}]}, "a"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "a"),
        ({"messages": [("user", "q"), ("assistant", "a")]}, "a"),
        ({"messages": [["user", "q"], ["ai", "a"]]}, "a"),
        ({"messages": messages_to_dict([AIMessage("a")])}, "a"),
        ({"messages": [dumpd(AIMessage("a"))]}, "a"),
        ({"messages": AIMessage("a")}, "a"),
        ({"role": "assistant", "content": "a"}, "a"),
        ({"type": "ai", "content": [{"type": "text", "text": "a"}]}, "a"),
        (("ai", "a"), "a"),
        (ChatMessage(content="a", role="assistant"), "a"),
        ([HumanMessage("q"), AIMessage("a")], "a"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "a"),
        (ChatGeneration(message=AIMessage("a")), "a"),
        (Generation(text="a"), "a"),
        (ChatResult(generations=[ChatGeneration(message=AIMessage("a"))]), "a"),
        (LLMResult(generations=[[Generation(text="a")]]), "a"),
        # states that end on a tool's message, or hold a schema's values
        ({"messages": [CALLS, TOOL], "structured_response": City(name="a")}, '{"name":"a"}'),
        ({"messages": [CALLS], "structured_response": {"name": "ä"}}, '{"name":"ä"}'),
        ({"messages": [AIMessage("a")], "structured_response": City(name="b")}, "a"),
        ({"messages": [CALLS, TOOL], "structured_response": None}, "sunny"),
        ({"structured_response": Town("a")}, '{"name":"a"}'),
        (City(name="a"), '{"name":"a"}'),
        (Town("a"), '{"name":"a"}'),
        ({"name": "a", "population": 3}, '{"name":"a","population":3}'),
        # what chains and their executors give
        ({"input": "q", "output": "a"}, "a"),
        ({"input": "q", "context": [TOOL], "answer": "a"}, "a"),
        ({"output": AIMessage("a")}, "a"),
        # parts of a content
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "output_text", "text": "a", "annotations": []}], "a"),
        ([{"type": "output", "output": "a"}], "a"),
        ([{"text": "a"}, "b"], "ab"),
        ([{"type": "text", "text": {"value": "a"}}], "a"),
        ([{"type": "message", "content": [{"type": "output_text", "text": "a"}]}], "a"),
        (AIMessage([{"type": "output_text", "text": "a"}]), "a"),
        (AIMessage([{"text": "a"}]), "a"),
        (AIMessage(["a", "b"]), "ab"),
        ([], ""),
        # what parsers and retrievers give, and values that look like parts
        (["a", "b"], "a\nb"),
        ([Document(page_content="a"), Document(page_content="b")], "a\nb"),
        ([1, 2], "[1,2]"),
        ([{"name": "a"}, {"name": "b"}], '[{"name":"a"},{"name":"b"}]'),
        ({"type": "city", "name": "a"}, '{"type":"city","name":"a"}'),
        ([{"type": "city"}, {"type": "town"}], '[{"type":"city"},{"type":"town"}]'),
        ({"type": ["a"]}, '{"type":["a"]}'),
        ({"raw": CALLS, "parsed": City(name="a"), "parsing_error": None}, '{"name":"a"}'),
        ({"raw": AIMessage("a"), "parsed": None, "parsing_error": ValueError("b")}, "a"),
        # what LangChain and LangGraph put around answers
        ({"type": "AIMessageChunk", "content": "a"}, "a"),
        ({"messages": [{"type": "AIMessageChunk", "content": "a", "tool_calls": []}]}, "a"),
        (Command(update={"messages": [AIMessage("a")]}), "a"),
        (AIMessage("a") + AIMessage("b"), "ab"),
        ({"output": {"role": "assistant", "content": "a"}}, "a"),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]}, "a"),
        ({"messages": [TOOL], "structured_response": "a"}, "a"),
    ],
)
def test_answers_in_any_form(output: Any, text: str) -> None:
    assert as_message(output).text == text
    assert as_chunk(output).text == text


def test_what_a_message_says_of_itself_is_kept() -> None:
    usage = UsageMetadata(input_tokens=1, output_tokens=2, total_tokens=3)
    said = AIMessage(
        "a", response_metadata={"model_name": "m"}, usage_metadata=usage, tool_calls=[CALL]
    )
    read = as_message({"messages": [said.model_dump()]})
    assert (read.usage_metadata, read.response_metadata) == (usage, {"model_name": "m"})
    assert (read.tool_calls, read.additional_kwargs) == ([CALL], {})


def test_a_tools_message_that_was_there_before_is_no_answer() -> None:
    asked = {"messages": [HumanMessage("q"), CALLS, TOOL]}
    with pytest.raises(TypeError, match="ends on a message of type 'tool'"):
        as_message(asked, asked)
    with pytest.raises(TypeError, match="ends on a message of type 'tool'"):
        as_message(asked, asked["messages"])
    assert as_message(asked, {"messages": [HumanMessage("q")]}).text == "sunny"


@pytest.mark.parametrize("usage", [{"input_tokens": 1.5}, {"input_tokens": math.nan}, {}])
def test_usage_that_cannot_be_counted_is_unknown(usage: Any) -> None:
    told: Any = {"output_tokens": 1, "total_tokens": 1, **usage}
    odd = AIMessage("a")
    odd.usage_metadata = told
    chunk = AIMessageChunk(content="a")
    chunk.usage_metadata = odd.usage_metadata
    assert as_message(odd).usage_metadata is None
    assert as_chunk(odd).usage_metadata is None
    assert as_chunk(chunk).usage_metadata is None


def test_an_interrupted_graph_is_refused() -> None:
    with pytest.raises(TypeError, match="asked for a person's input"):
        as_message({"messages": [AIMessage("half")], "__interrupt__": ["?"]})


@pytest.mark.parametrize("output", ["a", AIMessage("a"), CHUNK, HumanMessage("a")])
def test_outputs_become_chunks(output: Any) -> None:
    assert as_chunk(output) == CHUNK
