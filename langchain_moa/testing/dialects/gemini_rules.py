"""What Google's Gemini API refuses of a request.

Sources: https://ai.google.dev/api/caching#Content (roles and parts),
https://ai.google.dev/gemini-api/docs/function-calling, and errors that users met, each named at
its rule.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from langchain_moa.testing.dialects.speech import is_base64, is_filled, is_object, is_text
from langchain_moa.types import AnyMapping

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_UNDERSCORE: Final = re.compile(r"(?<=[a-z])_([a-z])")
_USERS_OWN: Final = {
    "args",
    "parameters",
    "parametersJsonSchema",
    "response",
    "responseJsonSchema",
    "responseSchema",
}
_DATA: Final = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
)


def in_camel_case(value: object) -> Any:
    """A request with its fields named one way; the API takes `mime_type` for `mimeType`.

    Args:
        value: The body, or a part of it. What users name in it (arguments, schemas) stays.
    """
    if isinstance(value, list):
        return [in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {_UNDERSCORE.sub(lambda found: found[1].upper(), key): value[key] for key in value}
    return {key: each if key in _USERS_OWN else in_camel_case(each) for key, each in named.items()}


def complaints(body: Any) -> Iterator[str]:
    """All complaints about a request, of which each may rely on the absence of those before.

    Args:
        body: The request's body in camel case, whatever was sent.
    """
    # github.com/Calcium-Ion/new-api-horizon/issues/24
    if not is_object(body) or not is_filled(body.get("contents")):
        yield "contents: at least one content is needed."
    system = body.get("systemInstruction")
    if system is not None:
        yield from _about_content("systemInstruction", system)
    for place, content in enumerate(body["contents"]):
        role = content.get("role") if is_object(content) else None
        # github.com/BerriAI/litellm/pull/22046
        if role not in ("user", "model"):
            yield f"contents[{place}]: the role is {role!r}; it must be 'user' or 'model'."
        yield from _about_content(f"contents[{place}]", content)
    yield from _about_tools(body)
    yield from _about_order(body["contents"], {tool["name"] for tool in declarations(body)})


def declarations(body: AnyMapping) -> list[AnyMapping]:
    """The functions that a request declares.

    Args:
        body: The request's body.
    """
    return [
        declaration
        for tool in body.get("tools") or []
        for declaration in tool.get("functionDeclarations") or []
    ]


def _about_content(where: str, content: Any) -> Iterator[str]:
    if not is_object(content) or not is_filled(content.get("parts")):
        yield f"{where}: parts must be a list with at least one part."
    for place, part in enumerate(content["parts"]):
        for complaint in _about_part(part):
            yield f"{where}.parts[{place}]: {complaint}"


def _about_part(part: Any) -> Iterator[str]:
    given = [name for name in _DATA if name in part] if is_object(part) else []
    if len(given) != 1:
        yield f"must have exactly one of {', '.join(_DATA)}."
    value = part[given[0]]
    # github.com/router-for-me/CLIProxyAPI/issues/1292; a signature may come with an empty text
    if given == ["text"] and not is_text(value) and not part.get("thoughtSignature"):
        yield "the text must not be empty."
    if given == ["inlineData"] and not _is_data(value):
        yield "inlineData must have a mimeType and base64 data."
    if given == ["functionCall"] and not _is_named(value):
        yield "functionCall must have a function's name."
    if given == ["functionResponse"]:
        if not _is_named(value):
            yield "functionResponse must have a function's name."
        if not is_object(value.get("response")):
            yield "the response of a functionResponse must be an object."


def _is_data(value: Any) -> bool:
    return is_object(value) and is_text(value.get("mimeType")) and _is_bytes(value.get("data"))


def _is_bytes(value: object) -> bool:
    # Google's client writes base64 for addresses, which the API takes as well
    return isinstance(value, str) and is_base64(value.replace("-", "+").replace("_", "/"))


def _is_named(value: Any) -> bool:
    name = value.get("name") if is_object(value) else None
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _about_tools(body: AnyMapping) -> Iterator[str]:
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(is_object(tool) for tool in tools):
        yield "tools: must be a list of objects."
    for tool in tools:
        declared = tool.get("functionDeclarations", [])
        # github.com/kaitranntt/ccs/issues/25
        if not isinstance(declared, list) or not all(_is_named(each) for each in declared):
            yield "tools: a name starts with a letter or '_', and has at most 64 characters."
    names = [declaration["name"] for declaration in declarations(body)]
    if len(set(names)) < len(names):
        yield f"tools: the names {names} are not unique."
    config = body.get("toolConfig")
    config = config.get("functionCallingConfig") if isinstance(config, Mapping) else None
    # github.com/musistudio/claude-code-router/pull/1207
    if config and not names:
        yield "toolConfig: there are no functionDeclarations."
    allowed = config.get("allowedFunctionNames") if isinstance(config, Mapping) else None
    if isinstance(allowed, list) and any(name not in names for name in allowed):
        yield f"toolConfig: {allowed} are not all declared."


def _about_order(contents: list[AnyMapping], declared: set[str]) -> Iterator[str]:
    """Complaints about turns: calls follow the user or results, results follow calls."""
    waiting: Counter[str] = Counter()
    previous: AnyMapping | None = None
    if contents[0]["role"] != "user":
        yield "contents: the first turn must be the user's."
    for place, content in enumerate(contents):
        calls = Counter(call["name"] for call in _of(content, "functionCall"))
        results = Counter(result["name"] for result in _of(content, "functionResponse"))
        if results and not waiting:
            # github.com/langchain-ai/langchain/issues/27799
            yield f"contents[{place}]: function responses must follow the turn that called."
        # github.com/google-gemini/gemini-cli/issues/3814
        if results != waiting:
            yield f"contents[{place}]: {dict(waiting)} were called, {dict(results)} responded."
        # github.com/google-gemini/gemini-cli/issues/26486
        if calls and (content["role"] != "model" or previous is None or previous["role"] != "user"):
            yield f"contents[{place}]: calls must follow the user's turn or function responses."
        # no source says that undeclared calls are refused; they mislead the model, and so the
        # server is stricter here than the API may be
        if not declared.issuperset(calls):
            yield f"contents[{place}]: {sorted(calls)} are not all declared in tools."
        waiting, previous = calls, content
    if waiting:
        yield f"contents: {dict(waiting)} were called and have no response."
    # github.com/crewAIInc/crewAI/pull/6973
    if contents[-1]["role"] == "model":
        yield "contents: the last turn must be the user's."


def _of(content: AnyMapping, kind: str) -> list[AnyMapping]:
    return [part[kind] for part in content["parts"] if kind in part]
