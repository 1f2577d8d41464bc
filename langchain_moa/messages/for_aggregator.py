"""The conversation as the aggregator's provider takes it.

The aggregator acts, so it reads the conversation as it is: its own reasoning with the signature,
its own calls with their results. Some of it a provider refuses, though: what was said through
another one (with `aggregator=[first, second]` the next turn holds the other's words), calls of
tools that are not bound, or blank messages. That, and only that, is rewritten.

Who made a message is in its metadata; who reads it is known by the package of the model's class.
Where either is not known nothing is changed: the request is as it would be without a mixture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, NamedTuple

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ToolMessage,
    convert_to_openai_data_block,
    is_data_content_block,
)

from langchain_moa.messages.blocks import is_blank, is_reasoning, maker_of
from langchain_moa.messages.for_proposers import (
    calls_tools,
    in_own_words,
    systems_first,
    tool_turn_as_text,
    with_named_results,
)
from langchain_moa.messages.roles import role_of
from langchain_moa.messages.rules import Rules, package_of, rules_of
from langchain_moa.messages.tools import tool_names
from langchain_moa.types import AnyDict, AnyMapping

_BLANK: Final = "[empty message]"


def history_for_aggregator(
    messages: Sequence[BaseMessage], model: object, arguments: AnyMapping | None = None
) -> list[BaseMessage]:
    """The conversation as an aggregator reads it; the same messages wherever they are taken.

    Args:
        messages: The conversation. It is not changed.
        model: The model that reads it.
        arguments: Its call arguments, tools for one.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> question = HumanMessage("Why is the sky blue?")
        >>> history_for_aggregator([question], ScriptedChatModel.saying("Rayleigh."))[0] is question
        True
    """
    reader = _reader(model, arguments or {})
    if not reader.rules:
        return list(messages)
    spoken = [message for message in messages if not _says_nothing(message)]
    taken = [m if reader.made(m) else _in_words(m) for m in spoken]
    if reader.any("refuses_blanks"):
        taken = [filled for message in taken for filled in _filled(message)]
    if reader.any("system_first"):
        taken = systems_first(taken)
    refused = reader.refused(taken)
    named = with_named_results(taken)
    taken = [
        tool_turn_as_text(labelled) if place in refused else m
        for place, (m, labelled) in enumerate(zip(taken, named, strict=True))
    ]
    return [_with_addresses(m) for m in taken] if reader.any("wants_addresses") else taken


@dataclass(frozen=True)
class _Reader:
    """What is known of the model that is to read a conversation.

    Attributes:
        rules: The rules of its provider; none where that is not known.
        tools: Names of the tools that are bound.
        has_tools: Whether any are, be their names known or not.
        thinks: Whether it must find reasoning at the beginning of the turn that called tools.
    """

    rules: tuple[Rules, ...]
    tools: frozenset[str] = frozenset()
    has_tools: bool = False
    thinks: bool = False

    def made(self, message: BaseMessage) -> bool:
        """Whether a message was made by the reader's provider, as far as is known."""
        package = package_of(_maker(message)) if isinstance(message, AIMessage) else None
        return package is None or package in [rules.package for rules in self.rules]

    def any(self, rule: str) -> bool:
        """Whether its provider has a rule."""
        return any(getattr(rules, rule) for rules in self.rules)

    def refused(self, messages: Sequence[BaseMessage]) -> set[int]:
        """Places of the tool turns that the provider refuses as they are."""
        rounds = list(_rounds(messages))
        taken = {place for each in rounds if not self._refuses(each) for place in each.places}
        called = {each.places.start for each in rounds}
        results = {place for place, m in enumerate(messages) if isinstance(m, ToolMessage)}
        return (called | results) - taken

    def _refuses(self, turn: _Round) -> bool:
        return (
            # a call that could not be parsed has no result, nor one whose result was trimmed away
            not turn.is_complete
            or (self.any("needs_tools") and not self.has_tools)
            or (self.any("needs_each_tool") and not self._declares(turn.answer))
            or (self.any("answers_results") and turn.then not in (None, "assistant"))
            # it wants its reasoning back with the results, which another's calls came without
            or (self.thinks and turn.is_last and not _begins_with_signed(turn.answer))
        )

    def _declares(self, answer: AIMessage) -> bool:
        return all(call["name"] in self.tools for call in answer.tool_calls)


def _reader(model: object, arguments: AnyMapping) -> _Reader:
    rules = rules_of(model)
    thinking = arguments.get("thinking", getattr(model, "thinking", None))
    enabled = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
    tools = arguments.get("tools")
    return _Reader(
        rules=rules,
        tools=tool_names(tools) or frozenset(),
        has_tools=bool(tools),
        thinks=enabled and any(one.package == "langchain_anthropic" for one in rules),
    )


def _maker(message: AIMessage) -> str:
    """Who made a message: what its metadata say, else what its blocks look like."""
    said = message.response_metadata.get("model_provider")
    blocks = message.content if isinstance(message.content, list) else []
    found = (maker_of(block) for block in blocks if isinstance(block, dict))
    return str(said or next(filter(None, found), ""))


def _in_words(message: BaseMessage) -> BaseMessage:
    """What was said through another provider: the text and the calls, and nothing beside them."""
    if isinstance(message.content, str) and not message.additional_kwargs:
        return message
    plain: AnyDict = {"additional_kwargs": {}, "response_metadata": {}}
    return message.model_copy(update={"content": in_own_words(message).text, **plain})


class _Round(NamedTuple):
    """An answer that calls tools, and the results right after it.

    Attributes:
        answer: The answer.
        places: Places of all these messages.
        results: Ids of the calls that have a result.
        then: The role of what comes next, `None` at the conversation's end.
        is_last: Whether no answer comes after it.
    """

    answer: AIMessage
    places: range
    results: list[str]
    then: str | None
    is_last: bool

    @property
    def is_complete(self) -> bool:
        """Whether each call has one result, and each result a call."""
        calls = [*self.answer.tool_calls, *self.answer.invalid_tool_calls]
        return sorted(str(call["id"]) for call in calls) == sorted(self.results)


def _rounds(messages: Sequence[BaseMessage]) -> Iterator[_Round]:
    roles = [role_of(message) for message in messages]
    last = max((place for place, role in enumerate(roles) if role == "assistant"), default=-1)
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage) and calls_tools(message):
            after = takewhile(
                lambda m: isinstance(m, ToolMessage),
                (messages[later] for later in range(place + 1, len(messages))),
            )
            ids = [m.tool_call_id for m in after if isinstance(m, ToolMessage)]
            end = place + 1 + len(ids)
            yield _Round(
                answer=message,
                places=range(place, end),
                results=ids,
                then=roles[end] if end < len(roles) else None,
                is_last=last < end,
            )


def _begins_with_signed(answer: AIMessage) -> bool:
    first = answer.content[0] if answer.content else None
    return isinstance(first, dict) and is_reasoning(first) and maker_of(first) == "anthropic"


def _says_nothing(message: BaseMessage) -> bool:
    """Whether an answer holds nothing but reasoning, which providers want followed by words."""
    return (
        isinstance(message, AIMessage)
        and isinstance(message.content, list)
        and not calls_tools(message)
        and all(is_reasoning(block) for block in message.content)
    )


def _filled(message: BaseMessage) -> Iterator[BaseMessage]:
    """A message without blank text; none where nothing is left of it, unless it is the user's."""
    if isinstance(message, ToolMessage):
        yield message
        return
    content = message.content
    if isinstance(content, str):
        kept: str | list[str | AnyDict] = content if content.strip() else ""
    else:
        kept = [block for block in content if not _is_dropped(block)]
    if not all(map(is_reasoning, kept)) or calls_tools(message):
        yield message if kept == content else message.model_copy(update={"content": kept})
    elif role_of(message) == "user":
        yield message.model_copy(update={"content": _BLANK})


def _is_dropped(block: str | dict[object, object]) -> bool:
    """Whether a block is blank text; one with a signature beside it is none."""
    return is_blank(block) and not (isinstance(block, dict) and block.get("extras"))


def _with_addresses(message: BaseMessage) -> BaseMessage:
    """A result's pictures in the form that Mistral's client gives only to those of users."""
    if not isinstance(message, ToolMessage) or isinstance(message.content, str):
        return message
    content = [
        convert_to_openai_data_block(block, api="chat/completions")
        if isinstance(block, dict) and block.get("type") == "image" and is_data_content_block(block)
        else block
        for block in message.content
    ]
    return (
        message if content == message.content else message.model_copy(update={"content": content})
    )
