"""An endpoint on 127.0.0.1 that lets everybody in, and keeps what came in beside the question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from langchain_moa.testing.serving import ServerThread


@dataclass(frozen=True)
class Asked:
    """One request: for which model, with which headers and query."""

    model: str
    headers: Mapping[str, str]
    query: Mapping[str, str]


class Gateway(ServerThread):
    """Answers every question with the same text.

    Args:
        text: The text.
        status: An error's status instead; its message quotes all that came in.
        headers: Headers of every response.
    """

    def __init__(
        self, text: str = "fine", *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.asked: list[Asked] = []
        self._text, self._status, self._headers = text, status, dict(headers or {})
        super().__init__(
            Starlette(
                routes=[
                    Route(f"{path}/chat/completions", self._answer, methods=["POST"])
                    for path in ("/v1", "/openai/v1", "/v1/openai/deployments/{name}")
                ]
            )
        )

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    async def _answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        asked = Asked(body["model"], dict(request.headers), dict(request.query_params))
        self.asked.append(asked)
        if self._status != 200:
            quoted = f"no entry with {dict(asked.headers)} at {request.url}"
            error = {"error": {"message": quoted, "code": "invalid_api_key"}}
            return JSONResponse(error, self._status, self._headers)
        if body.get("stream"):
            return StreamingResponse(self._events(body), 200, self._headers, "text/event-stream")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": self._text},
            "finish_reason": "stop",
        }
        return JSONResponse(self._part(body, [choice], usage=_USAGE), 200, self._headers)

    async def _events(self, body: Mapping[str, Any]) -> Any:
        said = {"role": "assistant", "content": self._text}
        delta = {"index": 0, "delta": said, "finish_reason": None}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        for choices, more in (([delta], {}), ([end], {}), ([], {"usage": _USAGE})):
            yield f"data: {json.dumps(self._part(body, choices, **more))}\n\n"
        yield "data: [DONE]\n\n"

    def _part(self, body: Mapping[str, Any], choices: list[Any], **more: Any) -> dict[str, Any]:
        kind = "chat.completion.chunk" if body.get("stream") else "chat.completion"
        about = {"id": "1", "object": kind, "created": 1, "model": body["model"]}
        about["system_fingerprint"] = "f"  # which OpenRouter's client demands
        return {**about, "choices": choices, **more}


_USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
