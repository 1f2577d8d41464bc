"""A member's stream, read piece by piece into the answer that `invoke` would have given."""

from __future__ import annotations

from typing import Any, Final

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import Generation
from langchain_core.runnables import AddableDict

from langchain_moa.members.adapters import ANSWER_KEYS, QUESTION_KEYS, as_chunk, as_message
from langchain_moa.types import AnyDict

_TEXTS: Final = (str, BaseMessage, Generation)
_STATE: Final = "messages"


class Pieces:
    """Reads the pieces of one stream.

    Texts and messages are pieces of the answer and come as they are. What chains yield beside them
    means something only as a whole, and so it is held back until the end: dicts and lists that
    LangChain adds up, values of a schema of which each is more complete than the one before. Of
    a chain that yields its question with the answer, such as one that retrieves, the answer comes
    as it is written.

    Args:
        given: What the member was asked with.
        replaces: Whether each piece stands for all before it, whatever it is.

    Example:
        >>> pieces = Pieces([], replaces=False)
        >>> pieces.take(AddableDict(question="Where?")), pieces.take(AddableDict(answer="In Ro"))
        (None, AIMessageChunk(content='In Ro', ...))
        >>> pieces.take(AddableDict(answer="me.")).text, pieces.rest()
        ('me.', None)
    """

    __slots__ = ("_answers_in", "_given", "_held", "_keys", "_replaces")

    def __init__(self, given: object, *, replaces: bool) -> None:
        self._given = given
        self._replaces = replaces
        self._held: list[object] = []
        self._keys = set[str]()
        self._answers_in: str | None = None

    def take(self, piece: object) -> AIMessageChunk | None:
        """What a piece adds to the answer now, if it adds anything.

        Raises:
            TypeError: It cannot be read.
        """
        if self._replaces:
            self._held = [piece]
        elif isinstance(piece, _TEXTS):
            return as_chunk(piece)
        elif isinstance(piece, AddableDict):
            return self._of_chain(piece)
        elif isinstance(piece, list) and self._held and isinstance(self._held[-1], list):
            self._held.append(piece)
        else:
            self._held = [piece]
        return None

    def rest(self) -> AIMessageChunk | None:
        """What was held back until the end, if anything was.

        Raises:
            TypeError: It cannot be read.
        """
        if not self._held or self._answers_in is not None:
            return None
        return as_chunk(as_message(self._whole(), self._given))

    def _of_chain(self, piece: AnyDict) -> AIMessageChunk | None:
        if self._answers_in is not None:
            said = piece.get(self._answers_in)
            return as_chunk(said) if isinstance(said, _TEXTS) else None
        self._held.append(piece)
        asked = bool(self._keys & QUESTION_KEYS)
        self._keys.update(piece)
        if _STATE in self._keys or not self._keys & QUESTION_KEYS:
            return None
        if asked and _said_in(piece) is None:  # else each piece would be added up with all before
            return None
        whole: AnyDict = self._whole()
        self._answers_in = _said_in(whole)
        return None if self._answers_in is None else as_chunk(whole[self._answers_in])

    def _whole(self) -> Any:
        """All that was held back, added up as LangChain does; what can't be added is replaced.

        In pairs, for each sum is a copy: one after the other they would be as long as the square.
        """
        left = self._held
        while len(left) > 1:
            pairs = zip(left[::2], left[1::2], strict=False)
            left = [*(_sum(*pair) for pair in pairs), *left[len(left) & ~1 :]]
        return left[0]


def _said_in(values: AnyDict) -> str | None:
    """Where a chain has its answer, if it is a text."""
    return next((name for name in ANSWER_KEYS if isinstance(values.get(name), _TEXTS)), None)


def _sum(first: Any, second: object) -> object:
    try:
        return first + second
    except TypeError:
        return second
