"""What a provider's error is, wherever its client or its answer says so.

An error may be an HTTP status, or an object in an answer with status 200, in an event of a stream
or in a text; clients raise it as their own class, as a bare `ValueError` of the object, or as one
of LangChain's. Here it becomes one of LangChain's: who asks again, circuit breakers and callers
look at that alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from langchain_moa.errors import AnswerTooLargeError, ModelRefusalError, RedirectedError

_CLASSES: Final[Mapping[int, type[ModelError]]] = {
    400: ModelInvalidRequestError,
    401: ModelAuthenticationError,
    402: ModelPermissionDeniedError,
    403: ModelPermissionDeniedError,
    404: ModelNotFoundError,
    405: ModelInvalidRequestError,
    408: ModelTimeoutError,
    409: ModelAPIError,
    413: ModelInvalidRequestError,
    415: ModelInvalidRequestError,
    422: ModelInvalidRequestError,
    425: ModelAPIError,
    429: ModelRateLimitError,
}
"""What a status of 4xx means; every one of 5xx is a `ModelAPIError`."""

_NAMES: Final[Mapping[str, int]] = {
    # OpenAI's codes and types (platform.openai.com/docs/guides/error-codes)
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "tokens": 429,
    "requests": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_error": 500,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "invalid_request_error": 400,
    # Anthropic's (platform.claude.com/docs/en/api/errors)
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # Google's (google.rpc.Code)
    "invalid_argument": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "aborted": 409,
    "resource_exhausted": 429,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
    # Amazon's (ThrottlingException and its like, in lower case and without the ending)
    "throttling": 429,
    "toomanyrequests": 429,
    "servicequotaexceeded": 429,
    "serviceunavailable": 503,
    "modelnotready": 503,
    "modeltimeout": 408,
    "internalserver": 500,
    "accessdenied": 403,
    "validation": 400,
    "resourcenotfound": 404,
    # llama.cpp's (tools/server, error_type) and vLLM's
    "unavailable_error": 503,
    "exceed_context_size_error": 400,
    "badrequesterror": 400,
    # Mistral's
    "internal_server_error": 500,
    "rate_limited": 429,
    "internalservererror": 500,
}
"""The status that an error's name stands for, in lower case."""

_SDKS_ERROR: Final = re.compile(r"Error code: \d+ - (?=\{)")
"""What stands before the whole error object in errors of OpenAI's and Anthropic's SDKs."""

_WORDS: Final = (
    (re.compile(r"rate.?limit|too many requests|throttl", re.IGNORECASE), 429),
    (re.compile(r"overloaded|temporarily unavailable|loading model", re.IGNORECASE), 503),
)
"""What an error object without any code may say instead."""

_CODES: Final = (
    *("status_code", "http_status", "http_code", "statusCode"),
    *("code", "status", "type", "Code"),
)
"""Where errors and error objects say which they are, the surest first."""

_PAUSES: Final = ("retry-after", "retry_after", "retryafter", "retry_after_seconds", "retrydelay")
"""Where headers and error objects say when to ask again, in lower case and in seconds."""

_OVERFLOW: Final = re.compile(
    r"""
    context_length_exceeded | exceed_context_size | context_?window_?exceeded    # names
    | maximum[ ]context[ ]length                                             # OpenAI, vLLM
    | maximum[ ]prompt[ ]length                                              # xAI
    | reduce[ ](?:the|your)[ ](?:length[ ]of[ ]the[ ]messages|prompt|message[ ]size)     # Groq
    | (?:longer|greater)[ ]than[ ]the[ ](?:(?:maximum[ ])?model|context)     # vLLM, SGLang
    | must[ ]have[ ]less[ ]than[ ]\d+[ ]tokens                               # Hugging Face
    | number[ ]of[ ]input[ ]tokens[^.]{0,40}exceed                           # watsonx
    | (?:prompt|input)(?:[ ]length)?(?:[ ]\d+)?[ ]exceeds[ ](?:the[ ])?(?:model|max)    # NVIDIA
    | range[ ]of[ ]input[ ]length[ ]should[ ]be                              # Alibaba
    | length[ ]of[ ]messages[ ]is[ ]too[ ]long                               # Baidu
    | exceeded[ ]model[ ]token[ ]limit                                       # Moonshot
    | context[ ]length[ ]of[ ]only                                           # LM Studio
    | \binputs?\b.?[ ]tokens[ ]\+[ ].?max_(?:new_)?tokens                    # Hugging Face
    | exceed[^.]{0,60}\bcontext[ ](?:window|size|length)                     # llama.cpp, OpenAI
    | \bcontext[ ](?:window|size|length)\b[^.]{0,60}(?:exceed|full|too[ ]small)   # LM Studio
    | (?:prompt|input|request|conversation)[ ]is[ ]too[ ]long                # Anthropic, Bedrock
    | input[ ]length[ ]and[ ].?max_tokens.?[ ]exceed                         # Anthropic
    | exceeds[ ]the[ ]maximum[ ]number[ ]of[ ](?:input[ ])?tokens            # Gemini
    | input[ ]tokens[ ]exceed | (?:input|prompt)[ ]token[ ]count[^.]{0,60}exceed
    | too[ ]many[ ](?:input[ ]|total[ ]|prompt[ ])?tokens                    # Cohere, Bedrock
    | (?:prompt|input)\b[^.]{0,60}(?:too[ ](?:long|large)[ ]for|exceeds[ ]the[ ]model)   # Mistral
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""The words in which providers say that a prompt does not fit."""

_REFUSED: Final = re.compile(
    r"""
    \bcontent_filter\b | ResponsibleAIPolicyViolation    # Azure OpenAI
    | \bcontent_policy_violation\b                       # OpenAI
    | \bdata_inspection_failed\b                         # Alibaba Cloud
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""The codes by which providers say that their filter refused the question."""
_REFUSAL_CODES: Final = (None, 400, 403)
"""The statuses that come with them."""

_NO_CHUNKS: Final = "No generation chunks were returned"
"""What LangChain says of a stream in which there was not even an end."""
_OVERFLOW_CODES: Final = (None, 400, 413, 422, 500)
"""The statuses that come with them; with 429 tokens per minute are meant."""
_READ: Final = 4096
"""Characters of an error that are looked through; some servers quote the whole prompt."""
_OBJECTS: Final = 64
"""Objects of an error that are looked through."""
_LONGEST_PAUSE: Final = 64
"""Characters of a text that says when to ask again."""
_MOST: Final = 10**9
_UNREADABLE: Final = frozenset(
    {
        *("JSONDecodeError", "UnicodeDecodeError"),
        "DecodingError",  # of httpx: broken compression
        "UnknownApiResponseError",  # of Google's SDK
    }
)
"""What clients raise for an answer that is none, as where a proxy cut it or wrote into it."""
_READ_INTO: Final = ("GenerateContentResponse", "AIMessage", "AIMessageChunk", "ChatMessage")
"""What Google's SDK and LangChain make of answers, and check the types of."""
_STATUSES: Final = range(400, 600)
_SERVER: Final = 500
_OK: Final = 200


def provider_error(error: Exception) -> Exception:
    """The error as LangChain's class for it; itself where it is one, or nothing is known of it.

    Args:
        error: What a member's client raised.

    Returns:
        A `langchain_core.exceptions.ModelError` with the error's text, and the error itself as its
        cause; or the error.

    Example:
        >>> provider_error(ValueError({"code": 429, "message": "slow down"}))
        ModelRateLimitError("{'code': 429, 'message': 'slow down'}")
    """
    if isinstance(error, ContextOverflowError | ModelRefusalError):
        return error
    for one in _with_causes(error):
        if isinstance(one, AnswerTooLargeError | RedirectedError):  # clients say: a lost connection
            return one
    code = status_of(error)
    if code in _REFUSAL_CODES and _refuses(error):
        return _as(ModelRefusalError, error)
    if code in _OVERFLOW_CODES and _OVERFLOW.search(text_of(error)[:_READ]):
        return _as(ContextOverflowError, error)
    return error if isinstance(error, ModelError | TimeoutError) else _of_kind(error, code)


def _of_kind(error: Exception, code: int | None) -> Exception:
    """The error as LangChain's class for its status, or for what its client calls it."""
    kind = _class_of_code(code) if code is not None else _class_of_name(error)
    if kind is None and (_names(error) & _UNREADABLE or _is_of_odd_answer(error)):
        return _unreadable(error)
    if kind is None and _stood_in_an_answer(error):
        kind = ModelAPIError  # the provider had taken the request
    return error if kind is None else _as(kind, error)


def _stood_in_an_answer(error: Exception) -> bool:
    """Whether it is what a provider says with status 200, or what LangChain makes of that."""
    status = _attribute(_attribute(error, "response"), "status_code")
    of_object = isinstance(error, ValueError) and any(isinstance(a, Mapping) for a in error.args)
    return of_object or status == _OK


def _is_of_odd_answer(error: Exception) -> bool:
    """Whether a client could not make its object of what a provider sent."""
    title = getattr(error, "title", None)
    return isinstance(error, ValueError) and isinstance(title, str) and title in _READ_INTO


def _unreadable(error: Exception) -> ModelAPIError:
    said = f"the answer cannot be read: {type(error).__name__}: {text_of(error)}"
    made = ModelAPIError(said)
    made.__cause__ = error
    return made


def _refuses(error: Exception) -> bool:
    """Whether it says, in its text or as its code, that a filter refused the question."""
    codes = [one.get(name) for one in _error_objects(error) for name in ("code", "type")]
    said = [text_of(error)[:_READ], *(code for code in codes if isinstance(code, str))]
    return any(_REFUSED.search(text) for text in said)


def text_of(error: BaseException) -> str:
    """What an error says; a foreign one may hold what cannot be written."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001 - it must not end a call
        return f"its text cannot be read ({type(failure).__name__})"


def words_of(error: BaseException) -> str:
    """What an error says; where its SDK quotes a whole error object, the message in that.

    Example:
        >>> error = ValueError({"message": "no such model", "code": 404})
        >>> words_of(error)
        "{'message': 'no such model', 'code': 404}"
    """
    text = text_of(error)
    found = _SDKS_ERROR.match(text)
    if found is None:
        return text
    objects = (each for one in _with_causes(error) for each in _error_objects(one))
    messages = (each.get("message") for each in objects)
    told = next((each for each in messages if isinstance(each, str) and each), None)
    return f"{found[0]}{told}" if told else text


def _class_of_code(code: int) -> type[ModelError]:
    return _CLASSES.get(code, ModelAPIError if code >= _SERVER else ModelInvalidRequestError)


def _class_of_name(error: Exception) -> type[ModelError] | None:
    """What a transport's error is; whose library it is from is not known."""
    if text_of(error) == _NO_CHUNKS:
        return ModelConnectionError
    names = _names(error)
    if names & {"TimeoutException", "APITimeoutError"}:
        return ModelTimeoutError
    if names & {"TransportError", "APIConnectionError", "ConnectionError", "ClientConnectionError"}:
        return ModelConnectionError
    return None


def _names(error: Exception) -> set[str]:
    return {base.__name__ for base in type(error).__mro__}


def retry_after(error: BaseException | None) -> float | None:
    """Seconds that the provider asks to wait, in the response's headers or in its error object."""
    for one in _with_causes(error):
        headers = getattr(_attribute(one, "response"), "headers", None)
        for source in (*_objects([headers]), *_error_objects(one)):
            for name, value in source.items():
                seconds = _seconds(value) if str(name).lower() in _PAUSES else None
                if seconds is not None:
                    return seconds
    return None


def _as(kind: type[ModelError], error: Exception) -> ModelError:
    made = kind(text_of(error) or type(error).__name__)
    made.__cause__ = error
    return made


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from; a circle of causes ends."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error, or what its error object has in its place."""
    for one in _with_causes(error):
        told = {name: _attribute(one, name) for name in _CODES}
        answered = {"status_code": _attribute(_attribute(one, "response"), "status_code")}
        objects = _error_objects(one)
        for source in (told, answered, *objects):
            for name in _CODES:
                if (code := _status(source.get(name))) is not None:
                    return code
        if objects:
            said = text_of(one)[:_READ]
            return next((code for words, code in _WORDS if words.search(said)), None)
    return None


def _status(value: object) -> int | None:
    """The status that a code is, or is the name of."""
    if isinstance(value, str):
        if not value.isdecimal():
            name = value.lower()
            return _NAMES.get(name) or _NAMES.get(name.removesuffix("exception"))
        value = int(value) if len(value) == len("429") else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value in _STATUSES:
        return int(value)
    return None


def _error_objects(error: BaseException) -> list[Mapping[Any, object]]:
    """The objects that an error has with it, whichever client made it."""
    kept = [_attribute(error, name) for name in ("body", "details", "response")]
    return _objects([*kept, *error.args])


def _objects(values: Iterable[object]) -> list[Mapping[object, object]]:
    """Mappings, and those inside of them, the outer ones first."""
    found: list[Mapping[object, object]] = []
    left = list(values)
    while left and len(found) < _OBJECTS:
        value = left.pop(0)
        if isinstance(value, Mapping):
            found.append(value)
            left += list(value.values())[:_OBJECTS]
        elif isinstance(value, list | tuple):
            left += value[:_OBJECTS]
    return found


def _attribute(value: object, name: str) -> object:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a foreign property, which may need a body that was not read
        return None


def _seconds(value: object) -> float | None:
    """Seconds from now, of a number, a text such as `"34s"`, or an HTTP date."""
    if isinstance(value, str) and len(value) <= _LONGEST_PAUSE:
        text = value.strip().removesuffix("s")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = repr(value) if -_MOST < value < _MOST else ""
    else:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str) -> float:
    """Seconds until an HTTP date; not a number where it is none."""
    try:
        return float(parsedate_to_datetime(date).timestamp()) - time()
    except (ValueError, TypeError, OverflowError):
        return math.nan
