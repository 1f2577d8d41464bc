"""The bytes of an answer: written once, compressed, dripping."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from langchain_moa.testing.dialects import Dialect, Turn, as_json

_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
_MARK: Final = "the repeated text stands here, and nobody else says so"


def document(dialect: Dialect, turn: Turn) -> Iterator[str]:
    """The whole answer as one JSON document, in pieces where its text is repeated."""
    if turn.behavior.repeat == 1 or turn.reply.text is None:
        yield as_json(dialect.answer(turn))
        return
    around = as_json(dialect.answer(turn.with_text(_MARK))).split(_MARK)
    for place, part in enumerate(around):
        if place:
            yield from _escaped(turn.pieces())
        yield part


def _escaped(pieces: Iterator[str]) -> Iterator[str]:
    """Pieces of a text as they stand within a JSON string; equal ones are one object."""
    known, escaped = "", ""
    for piece in pieces:
        if piece is not known:
            known, escaped = piece, as_json(piece)[1:-1]
        yield escaped


async def encoded(pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Pieces of text as bytes; equal ones are encoded once."""
    known, sent = "", b""
    async for piece in pieces:
        if piece is not known:
            known, sent = piece, piece.encode()
        yield sent


async def gzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Bytes as one gzip file; a piece that comes again is not compressed again.

    It may be sent again as it is because a full flush before and after it forgets all that came
    before (https://www.zlib.net/manual.html).
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    checksum = size = 0
    known, packed = b"", b""
    yield _GZIP_HEADER
    async for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
        size += len(piece)
        if piece != known:
            known, packed = piece, deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH)
        yield packed
    yield deflate.flush() + struct.pack("<LL", checksum, size & 0xFFFFFFFF)


async def dripping(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Bytes one by one, with so many seconds before each."""
    async for piece in pieces:
        for byte in piece:
            await asyncio.sleep(seconds)
            yield bytes([byte])
