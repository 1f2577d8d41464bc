"""Tools as reference models see them: described in text, never to be called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_moa.messages.roles import appended, role_of
from langchain_moa.types import AnyDict

_INTRODUCTION: Final = (
    "Whoever writes the next message can call these tools. You cannot: if one is needed, say in "
    "words which one, with which arguments and why. Write in the language of the user's latest "
    "message, unless the user or the system message asks for another."
)
_LONGEST: Final = 200
"""Characters of a tool's description; agents' tools come with pages of them."""
_MOST: Final = 4000
"""Characters of all descriptions; of further tools only the names are given."""
_WOULD_CALL: Final = "[would call "


def tools_note(tools: object) -> str | None:
    """What to tell reference models of the tools that are bound to the aggregator.

    Args:
        tools: The aggregator's `tools` argument, in whatever form its provider wants them.

    Returns:
        A text for the system message, or `None` where there are no tools that can be read.
    """
    lines = [line for tool in _listed(tools) if (line := _line(tool))]
    lengths = accumulate(map(len, lines))
    shown = [
        line if length <= _MOST else line.partition("(")[0]
        for line, length in zip(lines, lengths, strict=True)
    ]
    return "\n".join([_INTRODUCTION, *shown]) if shown else None


def tool_names(tools: object) -> frozenset[str] | None:
    """The names that tools are called by.

    Args:
        tools: The aggregator's `tools` argument, in whatever form its provider wants them.

    Returns:
        The names, or `None` where none of the tools can be read.
    """
    return frozenset(name for tool in _listed(tools) if (name := _name(tool))) or None


def with_tools_note(messages: Sequence[BaseMessage], text: str | None) -> list[BaseMessage]:
    """The conversation with a text at the end of its system message."""
    if text is None:
        return list(messages)
    for place, message in enumerate(messages):
        if role_of(message) == "system":
            return [*messages[:place], appended(message, text), *messages[place + 1 :]]
    return [SystemMessage(text), *messages]


def first_name(tools: object) -> str | None:
    """The name of the first tool that can be read, `None` where there is none."""
    functions = filter(None, map(_function, _listed(tools)))
    return next((function["name"] for function in functions), None)


def calls_as_text(message: AIMessage) -> str:
    """The calls that a reference model would make, in words."""
    return "\n".join(
        f"{_WOULD_CALL}{call['name']} with {arguments_text(call['args'])}]"
        for call in message.tool_calls
    )


def describes_calls(text: str) -> bool:
    """Whether a proposal says which calls its author would make, which answers no user."""
    return any(line.startswith(_WOULD_CALL) for line in text.splitlines())


def arguments_text(arguments: object) -> str:
    """A call's arguments as JSON that a person can read."""
    return json.dumps(arguments, ensure_ascii=False, default=str)


def _listed(tools: object) -> Iterator[object]:
    for tool in tools if isinstance(tools, list | tuple) else ():
        declared = tool.get("function_declarations") if isinstance(tool, dict) else None
        if declared:  # Gemini keeps all functions in one tool
            named = ("name", "description", "parameters")
            yield from ({k: d[k] for k in named if k in d} for d in declared if isinstance(d, dict))
        else:
            yield tool


def _function(tool: Any) -> AnyDict | None:
    """A tool in OpenAI's words; `None` for a provider's own, such as a search."""
    try:
        function: AnyDict = convert_to_openai_tool(tool)["function"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return function


def _name(tool: object) -> str | None:
    function = _function(tool) or (tool if isinstance(tool, dict) else {})
    return function.get("name")


def _line(tool: object) -> str | None:
    function = _function(tool)
    if function is None:
        return None
    names = ", ".join((function.get("parameters") or {}).get("properties") or {})
    described = " ".join(str(function.get("description") or "").split())[:_LONGEST]
    return f"- {function['name']}({names}): {described}".rstrip(": ")
