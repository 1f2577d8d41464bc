"""A chain's stream, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.runnables import AddableDict

from langchain_moa.members.pieces import Pieces
from tests.growth import LINEAR, growth


def test_an_answer_may_come_before_its_question() -> None:
    pieces = Pieces([], replaces=False)
    assert pieces.take(AddableDict(answer="In ")) is None
    assert pieces.take(AddableDict(answer="Ro")) is None
    told = pieces.take(AddableDict(question="Where?"))
    assert told is not None
    assert told.text == "In Ro"
    rest = pieces.take(AddableDict(answer="me."))
    assert rest is not None
    assert rest.text == "me."
    assert pieces.rest() is None


def test_many_pieces_without_a_text_cost_no_more_than_their_number() -> None:
    def work(size: int) -> Callable[[], object]:
        def reads() -> object:
            pieces = Pieces([], replaces=False)
            pieces.take(AddableDict(question="Where?"))
            for number in range(size):
                assert pieces.take(AddableDict(answer=[number])) is None
            return pieces.rest()

        return reads

    assert growth(work, 2000) < LINEAR
