"""A conversation: what was said, what it cost, and how it is kept in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.messages.ai import UsageMetadata, add_usage

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.types import RECORD_KEY, MoARecord

_FORMAT: Final = "langchain-moa conversation 1"


class Conversation:
    """The turns of a chat that were answered; a question without an answer is not among them.

    Args:
        system: A system message before all turns.
        multi_turn: Whether the model is shown the turns before.
    """

    def __init__(self, system: str | None = None, *, multi_turn: bool = True) -> None:
        self._system = [SystemMessage(system)] if system else []
        self._multi_turn = multi_turn
        self._turns: list[tuple[HumanMessage, AIMessage]] = []
        self._unanswered: str | None = None

    def __len__(self) -> int:
        """How many questions were answered."""
        return len(self._turns)

    def with_question(self, question: str) -> list[BaseMessage]:
        """What the model is asked: the turns before, and the question."""
        self._unanswered = question
        before = self._turns if self._multi_turn else []
        turns = [message for turn in before for message in turn]
        return [*self._system, *turns, HumanMessage(question)]

    def answered(self, answer: AIMessage) -> None:
        """Keep the last question with its answer."""
        self._turns.append((HumanMessage(self._unanswered or ""), answer))
        self._unanswered = None

    def to_retry(self) -> str | None:
        """The question to ask again: the unanswered one, else the last one, whose answer goes."""
        if self._unanswered is None and self._turns:
            self._unanswered = self._turns.pop()[0].text
        return self._unanswered

    def reset(self) -> None:
        """Forget all turns."""
        self._turns, self._unanswered = [], None

    @property
    def last_record(self) -> MoARecord | None:
        """What happened in the call of the last answer."""
        return self._turns[-1][1].response_metadata.get(RECORD_KEY) if self._turns else None

    def usage(self) -> tuple[dict[str, UsageMetadata], list[str]]:
        """Tokens per model over all answers that are kept, and models that left some untold."""
        totals: dict[str, UsageMetadata] = {}
        unknown: set[str] = set()
        for _, answer in self._turns:
            report = answer.response_metadata[RECORD_KEY]["usage"]
            unknown |= set(report["unknown"])
            for model, usage in report["by_model"].items():
                totals[model] = add_usage(totals.get(model), usage)
        return totals, sorted(unknown)

    def save(self, path: Path) -> None:
        """Write the conversation to a JSON file; it holds no key.

        Raises:
            MoAConfigurationError: The file can't be written.
        """
        turns = [message for turn in self._turns for message in turn]
        kept = {"format": _FORMAT, "messages": messages_to_dict([*self._system, *turns])}
        try:
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False), "utf-8")
        except OSError as error:
            msg = f"{path}: {error.strerror}."
            raise MoAConfigurationError(msg) from None

    def load(self, path: Path) -> None:
        """Go on with a conversation that was saved, in place of this one.

        Raises:
            MoAConfigurationError: The file can't be read, or is no saved conversation.
        """
        try:
            system, turns = _parsed(json.loads(path.read_text("utf-8")))
        except OSError as error:
            msg = f"{path}: {error.strerror}."
            raise MoAConfigurationError(msg) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            msg = f"{path} is no conversation that /save wrote."
            raise MoAConfigurationError(msg) from None
        self._system, self._turns, self._unanswered = system, turns, None


def _parsed(kept: Any) -> tuple[list[SystemMessage], list[tuple[HumanMessage, AIMessage]]]:
    messages = messages_from_dict(kept["messages"])
    system = [message for message in messages if isinstance(message, SystemMessage)]
    said: Sequence[BaseMessage] = messages[len(system) :]
    turns: list[tuple[HumanMessage, AIMessage]] = []
    for question, answer in zip(said[::2], said[1::2], strict=True):
        if not isinstance(question, HumanMessage) or not isinstance(answer, AIMessage):
            raise TypeError
        turns.append((question, answer))
    if kept["format"] != _FORMAT:
        raise ValueError
    return system, turns
