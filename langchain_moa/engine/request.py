"""One request to one member: what is sent, how long it takes, what it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, NamedTuple, TypeVar

from langchain_core.exceptions import ModelAPIError, ModelConnectionError
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import RunnableConfig

from langchain_moa.accounting.usage import (
    UsageMeter,
    answering_model,
    is_cached,
    usage_by_model,
    usage_of_error,
    usage_of_message,
)
from langchain_moa.engine.reading import Reading
from langchain_moa.errors import AnswerTooLargeError, MoAConfigurationError
from langchain_moa.members.member import Member
from langchain_moa.members.pieces import Pieces
from langchain_moa.members.runnables import model_of
from langchain_moa.members.secrets import secrets_of
from langchain_moa.messages.content import length_of
from langchain_moa.messages.verdicts import AnswerSoFar, Verdict, refusal_of
from langchain_moa.providers.sizes import answer_limit
from langchain_moa.reliability.waiting import Result
from langchain_moa.tracing.callbacks import (
    Setting,
    has_handlers,
    with_first_handler,
    with_handler,
)
from langchain_moa.tracing.handlers import OpenRuns
from langchain_moa.tracing.redaction import Redaction
from langchain_moa.types import (
    RECORD_KEY,
    AnyRunnable,
    RequestKind,
    RequestOutcome,
    RequestRecord,
)

_Message = TypeVar("_Message", bound=AIMessage)

_DEEPEST: Final = 6
"""Mixtures inside mixtures; each level multiplies the calls."""
_KNOWS_NONE: Final = Redaction()
_under_way: ContextVar[tuple[tuple[MemberRequest, object], ...]] = ContextVar(
    "moa_under_way", default=()
)


def on_behalf_of(request: MemberRequest, mixture: object) -> AbstractContextManager[None]:
    """Let what is called inside know for whom it is called, and whether anybody still waits."""
    known = (*_under_way.get(), (request, mixture))
    return Setting([(_under_way, known), (answer_limit, request.limit)])


def is_given_up() -> bool:
    """Whether this code runs for a request that nobody waits for any more."""
    return any(request.over for request, _ in _under_way.get())


def require_no_recursion(mixture: object) -> None:
    """Refuse a call of a mixture by one of its own members.

    Raises:
        MoAConfigurationError: It is one, or mixtures are nested deeper than anybody means.
    """
    askers = [asker for _, asker in _under_way.get()]
    if any(asker is mixture for asker in askers) or len(askers) >= _DEEPEST:
        msg = (
            "a member of the mixture calls the mixture itself, or mixtures are nested more than "
            f"{_DEEPEST} deep; give it another model."
        )
        raise MoAConfigurationError(msg)


@dataclass(eq=False, kw_only=True, slots=True)
class MemberRequest:
    """A member's call, ready to be made with `invoke`, `ainvoke`, `stream` or `astream`.

    Attributes:
        member: Who is called.
        model: The model name that this call asks for.
        runnable: What is called: the member's runnable with the call's arguments.
        input: The conversation in the member's own form.
        config: The run's configuration.
        meter: Counts the tokens of a member that makes several model calls.
        open_runs: The traced runs to close if the call is cancelled; `None` if nobody listens.
        of_errors: Gives what takes secrets out of an error of the call.
        started: When the call was made ready, on the clock of `time.perf_counter`.
        used: Known tokens of the call per model that answered, once it has ended.
        free: Whether the answer came from a cache and cost nothing.
        left_out: Kinds of content that the member cannot take and does not get.
        fence_key: The key of the fences around the proposals that it reads, or `None`.
        lacking: Models of an answered call of which something is not known.
        degraded: Whether the member is a mixture that lacked something.
        ended_well: Whether all is known of what it used, as of a call that was answered.
        over: Whether nobody waits for the answer any more.
        limit: The most bytes that the answer may have, or `None`. Here characters are counted,
            which are never more; bytes are counted where they are read.
        size: Characters of the answer so far.
        kind: Why it is made.
        outcome: What became of it, so far.
        ended: When it ended, on the clock of `time.perf_counter`.
        first_token: When its answer began to stream, on the same clock.
    """

    member: Member
    model: str
    runnable: AnyRunnable = field(repr=False)
    input: object = field(repr=False)
    config: RunnableConfig = field(repr=False)
    meter: UsageMeter | None
    open_runs: OpenRuns | None
    of_errors: Callable[[], Redaction]
    started: float = field(default_factory=perf_counter)
    used: dict[str, UsageMetadata] = field(default_factory=dict)
    free: bool = False
    left_out: list[str] = field(default_factory=list)
    fence_key: str | None = None
    lacking: list[str] = field(default_factory=list)
    degraded: bool = False
    ended_well: bool = False
    over: bool = False
    limit: int | None = None
    size: int = 0
    kind: RequestKind = "first"
    outcome: RequestOutcome = "given_up"
    ended: float | None = None
    first_token: float | None = None

    def record(self, since: float) -> RequestRecord:
        """What the record of the call says of it.

        Args:
            since: When the call began, on the clock of `time.perf_counter`.
        """
        return {
            "model": self.model,
            "kind": self.kind,
            "outcome": self.outcome,
            "started": round(self.started - since, 6),
            "seconds": round((self.ended or perf_counter()) - self.started, 6),
        }

    def ends(self, *, good: bool) -> None:
        """Note the end of it."""
        self.outcome, self.ended = ("answered" if good else "failed"), perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the call was made ready, to the microsecond."""
        return round(perf_counter() - self.started, 6)

    def take(self, piece: _Message) -> _Message:
        """Count an answer or a piece of one, and give it back.

        Raises:
            AnswerTooLargeError: The answer is too long with it.
        """
        self.size += length_of(piece)
        if self.limit is not None and self.size > self.limit:
            raise AnswerTooLargeError(self.limit)
        return piece

    def pieces(self) -> Pieces:
        """What reads the answer's stream."""
        return Pieces(self.input, replaces=self.member.streams_totals)

    def require_end(self, answer: AnswerSoFar, end: AIMessage) -> None:
        """Refuse a stream that was cut off, which some clients take for a whole one.

        Args:
            answer: What came.
            end: What the last pieces say of the whole answer.

        Raises:
            ModelConnectionError: It lacks the end mark that the provider always gives.
        """
        if self.member.marks_end and answer.is_cut_off(end):
            msg = "the stream ended without its end mark"
            raise ModelConnectionError(msg)

    def judged(self, verdict: Verdict) -> Verdict:
        """The verdict on the answer, unless it is one to ask again for.

        Raises:
            ModelAPIError: The provider could not finish the answer.
        """
        if verdict.status == "failed":
            raise ModelAPIError(verdict.reason)
        return verdict

    def result(self, message: AIMessage, verdict: Verdict, value: object) -> Result:
        """What the answer comes to; a refusal has its error, which no one else knows.

        Args:
            message: The answer.
            verdict: What it is worth.
            value: What is made of it.

        Raises:
            ModelAPIError: The provider could not finish the answer.
        """
        verdict = self.judged(verdict)
        return Result(
            good=verdict.usable,
            value=value,
            error=refusal_of(verdict, message),
            reason=verdict.reason,
            request=self,
        )

    async def cancelled(self, error: BaseException) -> None:
        """Close what the cancelled call leaves open in traces."""
        if self.open_runs is not None:
            await self.open_runs.close(self.config.get("callbacks"), error)

    def accounts(self) -> tuple[dict[str, UsageMetadata], list[str]]:
        """Known tokens per model that answered, and the models of which something is not known.

        Of a call that has not ended well more may have been used than is known.
        """
        if self.ended_well:
            return self.used, self.lacking
        return (dict(self.meter.usage_metadata) if self.meter else self.used), [self.model]

    def answered(self, message: AIMessage) -> None:
        """Note the tokens of the call.

        A plain chat model's message says them. A chain, an agent or a mixture may have called
        several models, or have dropped the message on the way, so those are metered.
        """
        self.free = is_cached(message)
        if self.meter is None:
            self.used = usage_of_message(message, self.model)
        else:
            self.used = dict(self.meter.usage_metadata)
            self.lacking = sorted({name or self.model for name in self.meter.unknown})
        record = message.response_metadata.get(RECORD_KEY)
        if record is not None and self.meter is not None:  # a mixture's, as one member
            self.degraded, self.lacking = record["degraded"], record["usage"]["unknown"]
        elif not self.used and not self.free:
            self.lacking = self.lacking or [self.model]
        self.ended_well = True

    def failed(self, error: Exception) -> None:
        """Note the tokens that a provider counted although it failed, if the error has them."""
        usage = usage_of_error(error)
        if usage is not None and self.meter is None:
            self.used, self.ended_well = {self.model: usage}, True

    def model_name(self, message: AIMessage) -> str | None:
        """The model that answered, as far as the answer or the meter tells."""
        name = answering_model(message)
        if name is None and self.meter is not None and len(self.meter.usage_metadata) == 1:
            name = next(iter(self.meter.usage_metadata))
        return name


class Accounts(NamedTuple):
    """What requests used.

    Attributes:
        usage: Known tokens per model that answered.
        unknown: Models of the requests of whose tokens nothing is known.
    """

    usage: dict[str, UsageMetadata]
    unknown: list[str]


def accounts_of(requests: Iterable[MemberRequest]) -> Accounts:
    """What is known now of the tokens of requests; one that was given up may still end."""
    known = [request.accounts() for request in requests]
    unknown = [model for _, lacking in known for model in lacking]
    return Accounts(usage_by_model(used for used, _ in known), unknown)


def prepare_call(
    member: Member,
    runnable: AnyRunnable,
    read: Reading,
    config: RunnableConfig,
    *,
    redaction: Redaction = _KNOWS_NONE,
    limit: int | None = None,
) -> MemberRequest:
    """Make a member's call ready.

    Args:
        member: Who is called.
        runnable: The member's runnable, with the arguments of this call bound to it.
        read: The conversation that it gets, and what it does not.
        config: The run's configuration.
        redaction: Takes the mixture's secrets out of what is told of the call.
        limit: The most bytes that the answer may have, or `None`.
    """
    meter, open_runs = None, None

    def of_errors() -> Redaction:
        return redaction.beyond(secrets_of(runnable))

    if has_handlers(config) or not member.is_plain:
        open_runs = OpenRuns(redaction, of_errors)
        config = with_first_handler(config, open_runs)
    if not member.reports_own_usage:
        meter = UsageMeter()
        config = with_handler(config, meter)
    return MemberRequest(
        member=member,
        model=model_of(runnable),
        runnable=runnable,
        input=member.adapt(read.messages),
        config=config,
        meter=meter,
        open_runs=open_runs,
        of_errors=of_errors,
        left_out=list(read.left_out),
        fence_key=read.fence_key,
        limit=limit,
    )
