"""A LangSmith ingest endpoint on 127.0.0.1, to which the real client posts its runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any

import zstandard
from langsmith import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from langchain_moa.testing.serving import ServerThread

INFO = {
    "version": "0.12.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    },
    "instance_flags": {"zstd_compression_enabled": True},
}

LANGSMITH_KEY = "ls-test-key"


@dataclass
class Run:
    """One run as the client posted it, with its children."""

    id: str
    parent_id: str | None
    trace_id: str
    name: str
    run_type: str
    fields: dict[str, Any] = field(default_factory=dict)
    children: list[Run] = field(default_factory=list)

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = (self.fields.get("extra") or {}).get("metadata") or {}
        return metadata

    @property
    def error(self) -> str | None:
        return self.fields.get("error")

    def walk(self) -> list[Run]:
        return [self, *(run for child in self.children for run in child.walk())]

    def outline(self) -> Any:
        """Names and types of the run and all below it, as nested lists.

        The members of a layer run at once and start in any order; here they stand by name.
        """
        label = f"{self.run_type} {self.name}"
        below = self.children
        if self.name.startswith("layer_"):
            below = sorted(below, key=lambda run: run.name)
        return [label, *(child.outline() for child in below)] if below else label


class IngestServer(ServerThread):
    """Collects what a LangSmith client posts."""

    def __init__(self) -> None:
        self.requests = 0
        self.raw: list[bytes] = []
        self.experiments: list[dict[str, Any]] = []
        self._parts: dict[str, dict[str, Any]] = {}
        app = Starlette(
            routes=[
                Route("/info", self._info),
                Route("/runs/multipart", self._multipart, methods=["POST"]),
                Route("/datasets/upload-experiment", self._experiment, methods=["POST"]),
            ]
        )
        super().__init__(app)

    def client(self) -> Client:
        return Client(api_url=self.url, api_key=LANGSMITH_KEY)

    def traces(self) -> list[Run]:
        """The trees of all runs so far, children in the order of their start."""
        runs = {
            run_id: Run(
                id=run_id,
                parent_id=fields.get("parent_run_id"),
                trace_id=fields["trace_id"],
                name=fields["name"],
                run_type=fields["run_type"],
                fields=fields,
            )
            for run_id, fields in self._parts.items()
        }
        roots = []
        for run in sorted(runs.values(), key=lambda r: r.fields["dotted_order"]):
            if run.parent_id is None:
                roots.append(run)
            else:
                runs[run.parent_id].children.append(run)
        return roots

    async def _info(self, _: Request) -> Response:
        self.requests += 1
        return JSONResponse(INFO)

    async def _multipart(self, request: Request) -> Response:
        self.requests += 1
        body = await request.body()
        if request.headers.get("content-encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        self.raw.append(body)
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        for part in BytesParser().parsebytes(head + body).get_payload():
            self._take(part)
        return JSONResponse({})

    async def _experiment(self, request: Request) -> Response:
        self.requests += 1
        if request.headers.get("x-api-key") != LANGSMITH_KEY:
            return JSONResponse({"detail": "Forbidden"}, status_code=403)
        self.experiments.append(await request.json())
        return JSONResponse({"experiment": {}, "dataset": {}}, status_code=201)

    def _take(self, part: Any) -> None:
        name = part.get_param("name", header="content-disposition")
        event, run_id, *which = str(name).split(".")
        if event not in ("post", "patch"):
            return
        value = json.loads(part.get_payload(decode=True))
        fields = self._parts.setdefault(run_id, {})
        if which:
            fields[which[0]] = value
        else:
            fields.update({k: v for k, v in value.items() if v is not None})
