"""The errors that this package raises.

    MoAError
    ├── MoAConfigurationError(ValueError)     bad arguments; raised at construction
    ├── UnsupportedContentError(ValueError)   a member cannot take a picture, say
    ├── MissingExtraError(ImportError)        an optional package is not installed
    ├── AnswerTooLargeError(ModelError)       a member's answer is longer than max_answer_bytes
    ├── RedirectedError(ModelError)           an address sends a member to another host
    ├── NotEnoughProposalsError(ModelError)   too few reference models gave a usable proposal
    ├── BudgetExceededError(ModelError)       what would break the budget was not started
    └── AggregationError(ModelError)          the aggregator failed; the proposals are kept

Where a conversation was too long for the model that was asked, `NotEnoughProposalsError` and
`AggregationError` are `langchain_core.exceptions.ContextOverflowError`s, too, as those of plain
chat models are; where it was refused, they are `ModelRefusalError`s, which are core's own where
core has them.

All but the first three are also `langchain_core.exceptions.ModelError`s, so `except` clauses and
retry middleware written for plain chat models treat them alike: `is_retryable` is true
when a cause says so of itself.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from langchain_core import exceptions
from langchain_core.exceptions import ContextOverflowError, ModelError
from pydantic import ValidationError

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_core.messages import BaseMessage
    from pydantic_core import ErrorDetails

    from langchain_moa.types import Proposal


class MoAError(Exception):
    """Base class of every error of this package.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> try:
        ...     MoAChatModel.from_preset("no-such-preset")
        ... except MoAError as error:
        ...     type(error).__name__
        'MoAConfigurationError'
    """


class MoAConfigurationError(MoAError, ValueError):
    """An argument is wrong; the message names the field, the value and what to give instead.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> MoAChatModel(reference_models=[], aggregator="Qwen/Qwen3-235B-A22B")
        Traceback (most recent call last):
        ...
        langchain_moa.errors.MoAConfigurationError: reference_models=[] is empty; ...
    """


class UnsupportedContentError(MoAError, ValueError):
    """Some content of the conversation cannot be taken, and it is not to go on without it.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> text_only = ScriptedChatModel.saying("4", profile={"audio_inputs": False})
        >>> llm = MoAChatModel.self_moa(text_only, samples=2, on_unsupported="raise")
        >>> sound = {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}
        >>> try:
        ...     llm.invoke([{"role": "user", "content": [sound]}])
        ... except UnsupportedContentError as error:
        ...     "audio" in str(error)
        True
    """


class MissingExtraError(MoAError, ImportError):
    """A package that this use needs is not installed; the message says what to install.

    Example:
        >>> try:
        ...     raise MissingExtraError("the command line needs: pip install 'langchain-moa[cli]'")
        ... except ImportError as error:
        ...     str(error)
        "the command line needs: pip install 'langchain-moa[cli]'"
    """


class AnswerTooLargeError(MoAError, ModelError):
    """A member's answer is longer than `max_answer_bytes`, and was not read to its end.

    The member has failed with it; a call ends with it only as the cause of another error.

    Example:
        >>> str(AnswerTooLargeError(1_000)).partition(";")[0]
        'max_answer_bytes=1000: the answer is longer, and was not read any further'
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"max_answer_bytes={limit}: the answer is longer, and was not read any further; give a "
            "larger limit, or None for none"
        )
        self.limit = limit

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.limit,)


class RedirectedError(MoAError, ModelError):
    """An address sends a member's question to another host, which was not asked.

    A redirect is followed to the same host only, and only where the question stays a question
    (status 307 and 308): its key and its text are for the host that their owner named. The member
    has failed with it; a call ends with it only as the cause of another error.

    Attributes:
        address: The address that was asked, without what follows a `?`.
        location: The one that it answered with, without it, too.

    Example:
        >>> raise RedirectedError("https://a.example/v1/chat", "https://b.example/v1/chat")
        Traceback (most recent call last):
        ...
        langchain_moa.errors.RedirectedError: https://a.example/v1/chat redirects to ...
    """

    def __init__(self, address: str, location: str) -> None:
        super().__init__(
            f"{address} redirects to {location}, where neither the question nor its key is sent; "
            "if that is the host you mean, give its address"
        )
        self.address, self.location = address, location

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.address, self.location)


class _PaidForError(MoAError, ModelError):
    """An error that keeps the proposals which the call has already paid for.

    Attributes:
        proposals: Every proposal of the call so far, usable or not, in (layer, index)
            order, with its text.
        causes: The exceptions behind the failure, where they are known, by who raised them:
            `"<layer>.<index>"` or `"aggregator"`. Left out are those that quote a key, and
            those of a failed node of `llm.graph`. They don't survive pickling, because clients'
            exceptions often hold open connections.
        is_retryable: Whether at least one cause says that the same request may succeed
            when it is made again.
    """

    proposals: tuple[Proposal, ...]
    causes: Mapping[str, Exception]

    def __init__(
        self,
        message: str,
        *,
        proposals: Sequence[Proposal] = (),
        causes: Mapping[str, Exception] | None = None,
    ) -> None:
        super().__init__(message)
        self.proposals = tuple(proposals)
        self.causes = dict(causes or {})
        if proposals:  # for tracebacks: a terminal shows the message alone
            self.add_note("The error's .proposals holds what was paid for.")
        self.is_retryable = any(
            getattr(source, "is_retryable", False) for source in (*proposals, *self.causes.values())
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self.args, {**self.__dict__, "causes": {}})


class NotEnoughProposalsError(_PaidForError):
    """Fewer reference models of a layer gave a usable proposal than `min_proposals`.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_moa import MoAChatModel
        >>> silent = FakeListChatModel(responses=[""])
        >>> try:
        ...     MoAChatModel.self_moa(silent, samples=2).invoke("Hi")
        ... except NotEnoughProposalsError as error:
        ...     [proposal.status for proposal in error.proposals]
        ['empty', 'empty']
    """

    def as_group(self) -> ExceptionGroup[Exception]:
        """The members' failures as one `ExceptionGroup`, for `except*` and loggers.

        Returns:
            A group with one exception per unusable proposal: the original where it is
            known, else a `MoAError` with the recorded reason.
        """
        lost = [p for p in self.proposals if not p.usable]
        return ExceptionGroup(
            str(self),
            [self.causes.get(p.key) or MoAError(f"{p.model}: {p.reason}") for p in lost] or [self],
        )


class BudgetExceededError(_PaidForError):
    """A request would have broken the call's budget, so it was not made.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> llm = MoAChatModel.self_moa(
        ...     ScriptedChatModel.saying("4"), samples=2, max_total_tokens=1, on_budget="raise"
        ... )
        >>> try:
        ...     llm.invoke("2 + 2?")
        ... except BudgetExceededError as error:
        ...     error.is_retryable
        False
    """

    def __init__(self, message: str, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.is_retryable = False  # it would be the same again


class AggregationError(_PaidForError):
    """The aggregator failed. `proposals` holds what the reference models had answered.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_moa import MoAChatModel
        >>> llm = MoAChatModel(
        ...     reference_models=[FakeListChatModel(responses=["4"])],
        ...     aggregator=FakeListChatModel(responses=[""]),
        ... )
        >>> try:
        ...     llm.invoke("2 + 2?")
        ... except AggregationError as error:
        ...     [proposal.text for proposal in error.proposals]
        ['4']
    """


class ModelRefusalError(ModelError):
    """A model, or its provider's filter, declined to answer.

    It is `langchain_core.exceptions.ModelRefusalError` where core has that (from 1.7.5 on), so
    that whoever catches core's catches this one, and this class with older versions of core.

    Attributes:
        raw_message: The message that held the refusal, if there was one.
    """

    def __init__(
        self,
        message: str = "the model refused to answer",
        *,
        raw_message: BaseMessage | None = None,
    ) -> None:
        super().__init__(message)
        self.raw_message = raw_message


if not TYPE_CHECKING:
    ModelRefusalError = getattr(exceptions, "ModelRefusalError", ModelRefusalError)


class ProposalsRefusedError(NotEnoughProposalsError, ModelRefusalError):
    """Every reference model that gave no proposal refused to answer.

    Example:
        >>> issubclass(ProposalsRefusedError, NotEnoughProposalsError)
        True
    """


class AggregationRefusedError(AggregationError, ModelRefusalError):
    """The aggregator refused to answer. `raw_message` holds what it said instead.

    Example:
        >>> issubclass(AggregationRefusedError, AggregationError)
        True
    """


class ProposalsOverflowError(NotEnoughProposalsError, ContextOverflowError):
    """No reference model took the conversation: it is too long for all that were asked.

    Example:
        >>> issubclass(ProposalsOverflowError, ContextOverflowError)  # langchain_core's
        True
    """


class AggregationOverflowError(AggregationError, ContextOverflowError):
    """The conversation is too long for the aggregator, whatever proposals are with it.

    Example:
        >>> issubclass(AggregationOverflowError, ContextOverflowError)  # langchain_core's
        True
    """


_LONG: Final = 500
"""Characters of a text that an error shows."""
_LARGE: Final = 256
"""Bits of a whole number that it shows; Python writes none that has many thousands."""
_MENDS: Final = {
    "missing": "it has no default",
    "list_type": "give a list",
    "dict_type": "give a dict",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "float_parsing": "give a number",
    "finite_number": "give a finite number",
    "bool_parsing": "give True or False",
    "string_type": "give a string",
    "less_than_equal": "give a smaller number, or leave it out",
    "greater_than": "give a larger number",
    "greater_than_equal": "give a larger number",
}
"""What to give instead, per pydantic's type of error."""


def from_validation(error: ValidationError) -> MoAConfigurationError:
    """The configuration error inside a pydantic one, or one that says the same.

    Values are shown only where they are plain; members may hold keys.
    """
    detail = error.errors(include_url=False)[0]
    original = detail.get("ctx", {}).get("error")
    if isinstance(original, MoAConfigurationError):
        return original
    # what is no name and no place in a list is pydantic's description of a union
    path = [part for part in detail["loc"] if isinstance(part, int) or part.isidentifier()]
    field = ".".join(map(str, path)) or "MoAChatModel"
    value = detail["input"]
    plain = isinstance(value, str | int | float | bool) and not field.endswith("key")
    given = f"={shown(value)}" if plain else ""
    if detail["type"] == "literal_error":
        return MoAConfigurationError(f"{field}={shown(value)} is unknown; give {_choices(detail)}.")
    wanted = _MENDS.get(detail["type"])
    advice = f"; {wanted}." if wanted else "."
    return MoAConfigurationError(f"{field}{given}: {detail['msg']}{advice}")


def _choices(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("expected"))


def shown(value: object) -> str:
    """A value for an error message: short, and never a model's own repr.

    Example:
        >>> shown(0.5), shown(2**40000), shown([1])
        ('0.5', '<a whole number of 40001 bits>', '<list>')
    """
    if isinstance(value, int) and value.bit_length() > _LARGE:
        return f"<a whole number of {value.bit_length()} bits>"
    if isinstance(value, str) and len(value) > _LONG:
        return f"{value[:_LONG]!r}..."
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    return f"<{type(value).__name__}>"


def forget_variables(error: BaseException) -> None:
    """Keep the lines of the calls that an error came through, without their variables.

    A model's settings are among these, and some programs write them into their logs. Errors that
    the caller was handling already are left alone, for their calls are not over.

    Args:
        error: One that has been caught.
    """
    left: list[tuple[BaseException, bool]] = [(error, True)]
    over, seen = set[int](), set[int]()
    while left:
        one, own = left.pop()
        frames = [id(frame) for frame, _ in traceback.walk_tb(one.__traceback__)]
        if id(one) in seen or not (own or frames[:1] == [] or frames[0] in over):
            continue
        seen.add(id(one))
        over.update(frames)
        traceback.clear_frames(one.__traceback__)
        inside = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        left += [(other, True) for other in (*inside, one.__cause__) if other is not None]
        left += [(other, False) for other in (one.__context__,) if other is not None]


_P = ParamSpec("_P")
_T = TypeVar("_T")
_OURS: Final = f"{Path(__file__).parent}{os.sep}"


def without_variables(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function whose errors of ours show one line of ours, and keep no variables.

    The message says it all: what is inside is no help to who gave a wrong argument, and keys may
    be among the arguments.
    """

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        __tracebackhide__ = True  # pytest shows the caller's line alone
        try:
            return function(*args, **kwargs)
        except MoAError as error:
            ours = error
        forget_variables(ours)
        args = cast("Any", ())  # notebooks show what is left of them
        kwargs.clear()
        if ours.__cause__ is not None:  # of somebody else's code, whose lines do help
            ours.__cause__.__traceback__ = _outside(ours.__cause__.__traceback__)
        raise ours.with_traceback(None)

    return called


class TellsOneLine:
    """Lets the traceback of an error of ours end with the line that this stands around."""

    def __enter__(self) -> None:
        """There is nothing to prepare."""

    def __exit__(self, _: object, error: BaseException | None, found: TracebackType | None) -> None:
        if isinstance(error, MoAError) and found is not None:
            found.tb_next = None


def _outside(found: TracebackType | None) -> TracebackType | None:
    """A traceback from the first line on that is not ours."""
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return found
