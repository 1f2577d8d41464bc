"""Tools as reference models see them: told in text, never to be called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_moa.prompts import appended, role_of

_INTRODUCTION: Final = (
    "Whoever writes the next message can call these tools. You cannot: if one is needed, say in "
    "words which one, with which arguments and why."
)
_LONGEST: Final = 200
"""Characters of a tool's description; agents' tools come with pages of them."""


def advice(tools: object) -> str | None:
    """What to tell reference models of the tools that are bound to the aggregator.

    Args:
        tools: The aggregator's `tools` argument, in whatever form its provider wants them.

    Returns:
        A text for the system message, or `None` where there are no tools that can be read.
    """
    lines = [line for tool in _listed(tools) if (line := _line(tool))]
    return "\n".join([_INTRODUCTION, *lines]) if lines else None


def with_advice(messages: Sequence[BaseMessage], text: str | None) -> list[BaseMessage]:
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
        f"[would call {call['name']} with {arguments_text(call['args'])}]"
        for call in message.tool_calls
    )


def arguments_text(arguments: object) -> str:
    """A call's arguments as JSON that a person can read."""
    return json.dumps(arguments, ensure_ascii=False, default=str)


def tool_names(tools: object) -> Iterator[str]:
    """The names of tools as a model has them bound, as far as they can be read."""
    for tool in _listed(tools):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            yield name


def _listed(tools: object) -> Iterator[Any]:
    for tool in tools if isinstance(tools, list | tuple) else ():
        declared = tool.get("function_declarations") if isinstance(tool, dict) else None
        if declared:  # Gemini keeps all functions in one tool
            named = ("name", "description", "parameters")
            yield from ({k: d[k] for k in named if k in d} for d in declared if isinstance(d, dict))
        else:
            yield tool


def _function(tool: Any) -> dict[str, Any] | None:
    try:
        return convert_to_openai_tool(tool)["function"]  # type: ignore[no-any-return]
    except (ValueError, TypeError, KeyError, AttributeError):  # a provider's own, such as a search
        return None


def _line(tool: Any) -> str | None:
    function = _function(tool)
    if function is None:
        return None
    names = ", ".join((function.get("parameters") or {}).get("properties") or {})
    told = " ".join(str(function.get("description") or "").split())[:_LONGEST]
    return f"- {function['name']}({names}): {told}".rstrip(": ")
