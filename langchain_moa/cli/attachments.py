"""Files beside a question: pictures and PDFs, as the blocks that LangChain has for them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from langchain_core.messages import HumanMessage

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.types import AnyDict

_KINDS: Final = {
    b"\x89PNG": ("image", "image/png"),
    b"\xff\xd8\xff": ("image", "image/jpeg"),
    b"GIF8": ("image", "image/gif"),
    b"%PDF": ("file", "application/pdf"),
}
"""What a file begins with, and what it is: a name's suffix may be wrong."""


def with_files(question: str, files: Sequence[AnyDict]) -> HumanMessage:
    """A question with files beside it, as `file_block` gives them."""
    content: list[str | AnyDict] = [{"type": "text", "text": question}, *files]
    return HumanMessage(content if files else question)


def files_of(question: HumanMessage) -> list[AnyDict]:
    """The files beside a question."""
    blocks = question.content if isinstance(question.content, list) else []
    return [block for block in blocks if isinstance(block, dict) and block["type"] != "text"]


def file_block(path: Path) -> AnyDict:
    """A file as the block that goes beside a question.

    Raises:
        MoAConfigurationError: It can't be read, or is neither a picture nor a PDF.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be attached: {getattr(error, 'strerror', None) or error}."
        raise MoAConfigurationError(msg) from None
    kind, mime = _kind(data)
    if kind is None:
        msg = f"{path} cannot be attached: give a picture (PNG, JPEG, GIF, WebP) or a PDF."
        raise MoAConfigurationError(msg)
    block = {"type": kind, "base64": base64.b64encode(data).decode(), "mime_type": mime}
    return block | ({"filename": path.name} if kind == "file" else {})


def _kind(data: bytes) -> tuple[str | None, str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image", "image/webp"
    return next((told for begin, told in _KINDS.items() if data.startswith(begin)), (None, ""))
