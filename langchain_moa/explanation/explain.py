"""`explain(answer)`: one object that shows what happened in a call."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from langchain_core.messages import AIMessage, BaseMessage

from langchain_moa.errors import MoAConfigurationError, without_variables
from langchain_moa.explanation.html import html, page
from langchain_moa.explanation.influence import Influence
from langchain_moa.explanation.markdown import markdown
from langchain_moa.explanation.rows import MemberRow, Span, Totals
from langchain_moa.explanation.view import View, view_of
from langchain_moa.explanation.words import totals_line
from langchain_moa.types import RECORD_KEY, AnyDict, AnyMapping

if TYPE_CHECKING:
    from rich.console import RenderResult

_WANTED: Final = (
    "give an answer of a mixture, the state that llm.graph returned, or a record: "
    'answer.response_metadata["moa"], or what `langchain-moa ask --json` printed.'
)
_SUFFIXES: Final = (".html", ".md", ".json")


class Explanation:
    """What happened in one call, as data and as pictures; `explain` makes it.

    In a notebook it shows itself as tables and bars (plain HTML and SVG, no script); rich prints
    it; `str()` is Markdown. Every text of a model is escaped.

    Args:
        record: The record of the call.
        answer: The text of its answer.

    Example:
        >>> from langchain_moa import MoAChatModel, explain
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> llm = MoAChatModel.self_moa(ScriptedChatModel.saying("4"), samples=2)
        >>> explanation = explain(llm.invoke("2 + 2?"))
        >>> len(explanation.members), list(explanation.reasons)
        (3, [])
        >>> explanation.to_markdown().splitlines()[0]
        '## How this answer came about'
    """

    def __init__(self, record: AnyMapping, answer: str) -> None:
        self.record = dict(record)
        self.answer = answer

    @cached_property
    def _view(self) -> View:
        return view_of(self.record, self.answer)

    @property
    def members(self) -> Sequence[MemberRow]:
        """Who was to be asked, in the order of the call."""
        return self._view.members

    @property
    def timeline(self) -> Sequence[Span]:
        """The requests on the clock of the call: retries, hedges and fallbacks, too."""
        return self._view.timeline

    @property
    def influence(self) -> Influence | None:
        """Where the answer's wording stands; `None` where no proposal's text is recorded."""
        return self._view.influence

    @property
    def totals(self) -> Totals:
        """All calls together."""
        return self._view.totals

    @property
    def reasons(self) -> Sequence[str]:
        """What was degraded and why, one line each; empty where nothing was."""
        return self._view.reasons

    def to_markdown(self) -> str:
        """The explanation as Markdown, with tables as GitHub has them."""
        return markdown(self._view)

    def to_html(self) -> str:
        """The explanation as a piece of HTML, without script and without anything remote."""
        return html(self._view)

    def to_json(self) -> str:
        """The answer and its record as JSON, which `explain(json.loads(...))` reads."""
        kept: AnyDict = {"answer": self.answer, "record": self.record}
        return json.dumps(kept, indent=2) + "\n"  # in ASCII, so that it commands no terminal

    def save(self, path: str | Path) -> Path:
        """Write it to a file: a page of its own (`.html`), Markdown (`.md`), or JSON (`.json`).

        Only the owner may read a new file (mode 0600), for it holds the proposals and the answer.

        Args:
            path: The file; its suffix says the form. One that is there is replaced.

        Returns:
            The path of the file.

        Raises:
            MoAConfigurationError: The suffix is another one, or the file can't be written.
        """
        target = Path(path).expanduser()
        forms = {".html": lambda: page(self._view), ".md": self.to_markdown, ".json": self.to_json}
        form = forms.get(target.suffix.lower())
        if form is None:
            msg = f"path={str(path)!r}: give a file that ends with {' or '.join(_SUFFIXES)}."
            raise MoAConfigurationError(msg)
        try:
            data = form().encode(errors="backslashreplace")  # halves of characters in a record
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        except (OSError, ValueError) as error:
            msg = f"path={str(path)!r}: {getattr(error, 'strerror', None) or error}."
            raise MoAConfigurationError(msg) from None
        return target

    def __repr__(self) -> str:
        """One line."""
        return f"<Explanation: {totals_line(self.totals, self._view.end)}>"

    def __str__(self) -> str:
        """Markdown."""
        return self.to_markdown()

    def _repr_html_(self) -> str:
        return self.to_html()

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {
            "text/plain": repr(self),
            "text/markdown": self.to_markdown(),
            "text/html": self.to_html(),
        }

    def __rich_console__(self, *_: object) -> RenderResult:
        """What rich prints."""
        from langchain_moa.explanation.terminal import InTerminal  # noqa: PLC0415 - needs rich

        yield InTerminal(self._view)


@without_variables
def explain(answer: BaseMessage | AnyMapping) -> Explanation:
    """Show what happened in a call: who said what, when, at what cost, and whom the answer follows.

    Args:
        answer: An answer of `MoAChatModel`, the state that `llm.graph` returned, a record
            (`answer.response_metadata["moa"]`), or what `langchain-moa ask --json` printed.

    Returns:
        An object that shows itself in notebooks and by rich, and saves itself to a file. How much
        of the answer stands in which proposal is known only with `include_proposals=True`.

    Raises:
        MoAConfigurationError: It is none of these.

    Example:
        >>> from langchain_moa import MoAChatModel, explain
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> paris, four = ScriptedChatModel.saying("Paris."), ScriptedChatModel.saying("4")
        >>> llm = MoAChatModel(
        ...     reference_models=[paris, four],
        ...     aggregator=paris,
        ...     include_proposals=True,
        ... )
        >>> explanation = explain(llm.invoke("Capital of France?"))
        >>> [(row.role, row.status) for row in explanation.members]
        [('proposer', 'ok'), ('proposer', 'ok'), ('aggregator', 'ok')]
        >>> [member.share for member in explanation.influence.members]
        [1.0, 0.0]
    """
    if isinstance(answer, BaseMessage):
        record = answer.response_metadata.get(RECORD_KEY)
        return Explanation(_checked(record, answer), answer.text)
    given: object = answer  # callers without a type checker give other things
    if not isinstance(given, Mapping):
        msg = f"answer=<{type(answer).__name__}> has no record of a mixture; {_WANTED}"
        raise MoAConfigurationError(msg)
    if isinstance(messages := answer.get("messages"), list | tuple) and messages:
        return explain(_last_answer(messages))
    if isinstance(answer.get("record"), Mapping):  # as `ask --json` and `.save` write it
        text = answer.get("answer")
        return Explanation(answer["record"], text if isinstance(text, str) else "")
    return Explanation(_checked(answer, answer), "")


def _last_answer(messages: Sequence[object]) -> BaseMessage:
    found = [m for m in messages if isinstance(m, AIMessage) and RECORD_KEY in m.response_metadata]
    if not found:
        msg = f"none of the {len(messages)} messages has the record of a mixture; {_WANTED}"
        raise MoAConfigurationError(msg)
    return found[-1]


def _checked(record: object, given: object) -> AnyMapping:
    if isinstance(record, Mapping) and isinstance(record.get("proposals"), list):
        return record
    msg = f"answer=<{type(given).__name__}> has no record of a mixture; {_WANTED}"
    raise MoAConfigurationError(msg)
