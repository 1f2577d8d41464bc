"""What an answer is worth: the one judgement for proposers and aggregators, whole or streamed."""

from __future__ import annotations

from typing import Final, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa.accounting.usage import is_cached
from langchain_moa.errors import ModelRefusalError, shown
from langchain_moa.messages.blocks import REASONING_KEY, REASONING_TYPES, kind_of
from langchain_moa.messages.characters import from_first_seen
from langchain_moa.messages.finish_reasons import ending_of
from langchain_moa.messages.reasoning import ReasoningAhead, strip_reasoning
from langchain_moa.types import AnyDict, AnyMapping, ProposalStatus

_FINISH_KEYS: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason")
"""Where OpenAI and Gemini, Anthropic, Bedrock and Ollama say why a model stopped."""
_NO_ANSWER: Final = ("text", "refusal", "reasoning")
"""Kinds of content blocks that are no answer without text."""
_ANSWERS: Final = ("function_call", "audio")
"""What OpenAI's older calls and its speaking models put beside the content, as their answer."""


class Verdict(NamedTuple):
    """What an answer is worth.

    Attributes:
        status: `"ok"` and `"cached"` are answers; `"failed"` is one that its provider could not
            finish, and that may be asked for again.
        reason: Why it is none.
    """

    status: ProposalStatus
    reason: str | None = None

    @property
    def usable(self) -> bool:
        """Whether it is an answer."""
        return self.reason is None


def judge(message: AIMessage, text: str | None = None, *, for_caller: bool = False) -> Verdict:
    """What an answer is worth.

    Args:
        message: The answer.
        text: Its text without reasoning; by default as the message has it.
        for_caller: Whether it goes to the caller and not to the next layer. Then tool calls and
            pictures are an answer, too, and one of which a filter left some text is given as it is,
            with its finish reason, for the caller to judge.
    """
    text = strip_reasoning(message.text) if text is None else text
    shown = bool(text) or (for_caller and _holds_more(message))
    return _judged(message, shown=shown, for_caller=for_caller)


def _judged(message: AIMessage, *, shown: bool, for_caller: bool) -> Verdict:
    """The verdict on an answer, given whether there is anything in it for its reader."""
    finish_reason = finish_reason_of(message)
    ending = ending_of(finish_reason)
    if ending == "failed":
        return Verdict("failed", f"the provider could not finish: finish_reason is {finish_reason}")
    if ending == "filtered" and not (shown and for_caller):
        return Verdict("filtered", f"finish_reason is {finish_reason}")
    if shown:
        return Verdict("cached" if is_cached(message) else "ok")
    return _nothing(message, finish_reason)


def _nothing(message: AIMessage, finish_reason: object) -> Verdict:
    """What an answer is instead that has nothing in it for its reader."""
    refusal = message.additional_kwargs.get("refusal") or _block(message, "refusal")
    if refusal:
        return Verdict("filtered", f"refused: {refusal}")
    if _has_reasoning(message):
        return Verdict("reasoning_only", "the answer holds only reasoning")
    if message.tool_calls or message.invalid_tool_calls:
        return Verdict("empty", "the answer holds only tool calls")
    kinds = {kind_of(block) or shown(block.get("type")) for block in _blocks(message)}
    if others := sorted(kinds - {"text"}):
        return Verdict("empty", f"the answer holds no text, only {' and '.join(others)}")
    return Verdict("empty", f"no text; finish_reason is {finish_reason}")


def _holds_more(message: AIMessage) -> bool:
    """Whether there is an answer to a caller beside the text."""
    called = message.tool_calls or message.invalid_tool_calls
    return bool(called) or _brings(message)


def _brings(message: AIMessage) -> bool:
    """Whether there is something that is neither text nor reasoning."""
    return any(kind_of(block) not in _NO_ANSWER for block in _blocks(message)) or any(
        message.additional_kwargs.get(name) for name in _ANSWERS
    )


def _has_reasoning(message: AIMessage) -> bool:
    if from_first_seen(message.text) or message.additional_kwargs.get(REASONING_KEY):
        return True
    return any(_block(message, kind) for kind in REASONING_TYPES)


def _block(message: AIMessage, kind: str) -> object:
    """The first content block of a kind, as the provider gave it, or `None`."""
    for block in _blocks(message):
        if block.get("type") == kind:
            return block.get(kind) or block
    return None


def _blocks(message: AIMessage) -> list[AnyDict]:
    content = message.content if isinstance(message.content, list) else []
    return [block for block in content if isinstance(block, dict)]


def finish_reason_of(message: AIMessage) -> object:
    """Why the model stopped, as its provider says it, or `None`."""
    metadata = message.response_metadata
    said = next((metadata[key] for key in _FINISH_KEYS if metadata.get(key)), None)
    return said or _status_of(metadata)


def _status_of(metadata: AnyMapping) -> object:
    """How an answer of OpenAI's Responses API ended, or that Gemini refused the question."""
    details = metadata.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return reason or metadata.get("status") or _blocked(metadata.get("prompt_feedback"))


def _blocked(feedback: object) -> object:
    """Why Gemini refused the question itself, of which there is no answer."""
    reason = feedback.get("block_reason") if isinstance(feedback, dict) else None
    return "prohibited_content" if reason and "UNSPECIFIED" not in str(reason) else None


def refusal_of(verdict: Verdict, message: AIMessage) -> ModelRefusalError | None:
    """The error that a refusal is, for those who look at errors alone; `None` for other answers."""
    if verdict.status != "filtered":
        return None
    return ModelRefusalError(str(verdict.reason), raw_message=message)


class AnswerSoFar:
    """What has come of a streamed answer.

    Nothing that is already known is looked at again, so that its cost grows with the stream.
    """

    __slots__ = ("_ahead", "_counted", "_holds_more", "_texts")

    def __init__(self) -> None:
        self._counted = False
        self._ahead = ReasoningAhead()
        self._texts: list[str] = []
        self._holds_more = False

    def take(self, chunk: AIMessageChunk) -> bool:
        """Whether there is, with this piece, something that can be an answer.

        Reasoning and blanks are none; what begins with an opening tag of reasoning is not known to
        be one before the closing tag has come.
        """
        text = chunk.text
        if text:
            self._texts.append(text)
        self._counted = not text and (self._counted or chunk.usage_metadata is not None)
        if not self._holds_more:
            self._holds_more = bool(chunk.tool_call_chunks) or _holds_more(chunk)
        return self._holds_more or (bool(text) and self._ahead.is_past(text))

    def judged(self, end: AIMessage) -> Verdict:
        """What it is worth for the caller, now that all of it has come.

        Args:
            end: What the last pieces say of the whole answer.
        """
        text = "".join(self._texts)
        shown = self._holds_more or bool(strip_reasoning(text))
        return _judged(end.model_copy(update={"content": text}), shown=shown, for_caller=True)

    def is_cut_off(self, end: AIMessage) -> bool:
        """Whether the stream lacks the end that its provider always gives.

        That is a finish reason, or, from servers that never give one, the count of tokens that
        comes after the text.
        """
        return not self._counted and finish_reason_of(end) is None
