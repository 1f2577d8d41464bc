"""What a provider's error is, wherever its client says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import openai
import pytest
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelInvalidRequestError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from langchain_moa.reliability.provider_errors import provider_error, retry_after

REQUEST = httpx.Request("POST", "http://localhost/v1/chat/completions")


def answered(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=REQUEST)


def status_error(status: int, **headers: str) -> Exception:
    return httpx.HTTPStatusError("no", request=REQUEST, response=answered(status, **headers))


def event_error(body: Any, message: str = "no") -> Exception:
    request: Any = REQUEST  # of the library that this version of the SDK happens to use
    return openai.APIError(message, request=request, body=body)


class AmazonError(Exception):
    def __init__(self, code: str, status: int | None = None) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class GoogleError(Exception):
    def __init__(self, details: Any, code: int | None = None) -> None:
        super().__init__("no")
        self.details = details
        self.code = code


class Unreadable(Exception):  # noqa: N818 - not about errors' names
    @property
    def response(self) -> Any:
        msg = "the body was not read"
        raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (status_error(429), ModelRateLimitError),
        (status_error(401), ModelAuthenticationError),
        (status_error(400), ModelInvalidRequestError),
        (status_error(418), ModelInvalidRequestError),
        (status_error(529), ModelAPIError),
        (ValueError({"code": 429, "message": "no"}), ModelRateLimitError),
        (ValueError({"code": "429"}), ModelRateLimitError),
        (ValueError({"code": 502.0}), ModelAPIError),
        (ValueError({"message": "no", "status": 503}), ModelAPIError),
        (ValueError({"error": {"type": "overloaded_error", "message": "no"}}), ModelAPIError),
        (ValueError({"message": "Rate limit exceeded"}), ModelRateLimitError),
        (ValueError({"message": "Loading model", "code": 1}), ModelAPIError),
        (event_error({"code": 502, "message": "lost"}), ModelAPIError),
        (event_error({"type": "rate_limit_error"}), ModelRateLimitError),
        (event_error(None), None),
        (event_error("no"), None),
        (GoogleError({"error": {"code": 429}}), ModelRateLimitError),
        (GoogleError({"error": {"status": "UNAVAILABLE"}}), ModelAPIError),
        (GoogleError(None, code=503), ModelAPIError),
        (AmazonError("ThrottlingException"), ModelRateLimitError),
        (AmazonError("ValidationException"), ModelInvalidRequestError),
        (httpx.ReadTimeout("no"), ModelTimeoutError),
        (httpx.ConnectError("no"), ModelConnectionError),
        (httpx.RemoteProtocolError("no"), ModelConnectionError),
        (ConnectionResetError("no"), ModelConnectionError),
        (ValueError("no"), None),
        (ValueError({"code": 7}), ModelAPIError),  # the provider had taken the request
        (ValueError({"code": True}), ModelAPIError),
        (ValueError({"code": 10**400}), ModelAPIError),
        (ValueError([{"code": [429]}]), None),
        (KeyError("choices"), None),
        (TimeoutError(), None),
        (Unreadable("no"), None),
    ],
)
def test_what_an_error_is(error: Exception, kind: type[Exception] | None) -> None:
    found = provider_error(error)
    if kind is None:
        assert found is error
        return
    assert type(found) is kind
    assert found.__cause__ is error
    assert str(found) == str(error)
    assert provider_error(found) is found


OVERFLOWS = {
    "llama.cpp": "request (9000 tokens) exceeds the available context size (4096 tokens), try "
    "increasing it",
    "llama.cpp before": "the request exceeds the available context size. try increasing the "
    "context size or enable context shift",
    "OpenAI": "This model's maximum context length is 8192 tokens. However, your messages resulted "
    "in 9000 tokens.",
    "OpenAI, Responses": "Your input exceeds the context window of this model.",
    "OpenAI, new": "Input tokens exceed the configured limit of 272000 tokens.",
    "Anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "Anthropic, with max_tokens": "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
    "Gemini": "The input token count (1200000) exceeds the maximum number of tokens allowed "
    "(1048576).",
    "Mistral": "Prompt contains 40000 tokens, too large for model with 32768 maximum context "
    "length",
    "Bedrock": "Input is too long for requested model.",
    "xAI": "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
    "Groq": "Please reduce the length of the messages or completion.",
    "text-generation-inference": "Input validation error: `inputs` tokens + `max_new_tokens` must "
    "be <= 4096. Given: 5000 `inputs` tokens and 512 `max_new_tokens`",
    "text-generation-inference, prompt": "Input validation error: `inputs` must have less than "
    "4095 tokens. Given: 5000",
    "Groq, too large": "Request too large for model `a`: Limit 6000, Requested 8000, please reduce "
    "your message size and try again.",
    "vLLM": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "SGLang": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "watsonx": "the number of input tokens 5000 cannot exceed the total tokens limit 4096",
    "NVIDIA": "Input length 5000 exceeds maximum allowed token size 4096",
    "Zhipu": "Prompt exceeds max length",
    "Alibaba": "InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
    "Baidu": "the length of messages is too long",
    "Moonshot": "Invalid request: Your request exceeded model token limit: 8192",
    "LM Studio, loading": "The number of tokens to keep from the initial prompt is greater than "
    "the context length.",
    "LM Studio, overflow": "The model is loaded with context length of only 4096 tokens, which is "
    "not enough.",
    "a code": "context_window_exceeded",
    "LiteLLM": "litellm.ContextWindowExceededError: no",
    "LM Studio": "The context length of 4096 tokens is exceeded",
    "Cohere": "too many tokens: size limit exceeded by 20 tokens",
}


@pytest.mark.parametrize("said", OVERFLOWS.values(), ids=OVERFLOWS)
@pytest.mark.parametrize("form", ["text", "object", "event", "status", "known"])
def test_words_for_a_prompt_that_does_not_fit(said: str, form: str) -> None:
    body = {"code": 400, "message": said, "type": "exceed_context_size_error"}
    error = {
        "text": ValueError(said),
        "object": ValueError(body),
        "event": event_error(body, said),
        "status": httpx.HTTPStatusError(said, request=REQUEST, response=answered(400)),
        "known": ModelInvalidRequestError(said),
    }[form]
    assert type(provider_error(error)) is ContextOverflowError


@pytest.mark.parametrize(
    "error",
    [
        # tokens per minute, and not those of the prompt
        httpx.HTTPStatusError("too many tokens", request=REQUEST, response=answered(429)),
        ValueError("the answer has no context"),
        ValueError("x" * 5000 + "maximum context length"),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert not isinstance(provider_error(error), ContextOverflowError)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (status_error(429, **{"retry-after": "3"}), 3.0),
        (status_error(429), None),
        (ValueError({"code": 429, "retry_after": 2.5}), 2.5),
        (ValueError({"code": 429, "metadata": {"headers": {"Retry-After": "4"}}}), 4.0),
        (GoogleError({"error": {"details": [{"@type": "x", "retryDelay": "34s"}]}}), 34.0),
        (ValueError({"retry_after": "soon"}), None),
        (ValueError({"retry_after": -1}), 0.0),
        (ValueError({"retry_after": 10**400}), None),
        (ValueError({"retry_after": [1]}), None),
        (AmazonError("ThrottlingException"), None),
        (None, None),
    ],
)
def test_when_to_ask_again(error: Exception | None, seconds: float | None) -> None:
    assert retry_after(error) == seconds
    if error is not None:
        assert retry_after(provider_error(error)) == seconds


def test_errors_in_a_circle_and_objects_without_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert provider_error(first) is first
    deep: Mapping[str, Any] = {"code": 429}
    for _ in range(1000):
        deep = {"error": deep}
    error = ValueError(deep)
    assert isinstance(provider_error(error), ModelAPIError)
