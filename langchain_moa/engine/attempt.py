"""One request on its way: made ready, made, and what comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelInvalidRequestError,
    ModelTimeoutError,
)
from langgraph.errors import GraphBubbleUp

from langchain_moa.accounting.budget import Amount
from langchain_moa.engine.request import MemberRequest, is_given_up, on_behalf_of
from langchain_moa.errors import ModelRefusalError, UnsupportedContentError, forget_variables
from langchain_moa.members.member import Member
from langchain_moa.mixture import Mixture
from langchain_moa.providers.accounts import key_source
from langchain_moa.reliability.breaker import Breaker
from langchain_moa.reliability.causes import reason_of
from langchain_moa.reliability.provider_errors import provider_error
from langchain_moa.reliability.slots import Places
from langchain_moa.reliability.threads import off_loop
from langchain_moa.reliability.waiting import Result, Work
from langchain_moa.types import RequestKind

_REFUSED: Final = Result(ended="refused", reason="there is no place or money for it now")
_REQUESTS_OWN: Final = (ModelInvalidRequestError, ContextOverflowError)
"""Failures that are the request's own fault."""


class Question(Protocol):
    """What a member and its fallbacks are asked for: a proposal, an analysis, an answer."""

    def estimate(self, member: Member) -> Amount:
        """What a request to one of them may cost."""

    @property
    def weight(self) -> int:
        """How much there is to be read and written for a request, in characters."""

    def request(self, member: Member, *, in_thread: bool) -> MemberRequest:
        """A request to one of them, ready to be made."""

    def asks_anew(self, result: Result) -> bool:
        """Whether to ask the same once more, otherwise: the prompt did not fit, say."""

    def ask(self, request: MemberRequest) -> Result:
        """Make the request in a thread."""

    async def aask(self, request: MemberRequest) -> Result:
        """Make the request in an event loop."""

    def discard(self, result: Result) -> None:
        """Let go of a good result that nobody needs."""

    async def adiscard(self, result: Result) -> None:
        """The same in an event loop."""


class _NobodyWaitsError(Exception):
    """The request was given up before it was made."""


@dataclass(eq=False, kw_only=True, slots=True)
class Attempt:
    """One request on its way: made ready, made, and what came of it.

    Attributes:
        question: What is asked.
        mixture: Who asks.
        member: Who is asked.
        places: The places that it holds.
        requests: Where it is noted that it is made.
        kind: Why it is made.
        breaker: The circuit breaker that hears what came of it, if any.
        may_begin: Asked before whether it may be made, of a hedge; what users say takes a while.
    """

    question: Question
    mixture: Mixture
    member: Member
    places: Places
    requests: list[MemberRequest]
    kind: RequestKind = "first"
    breaker: Breaker | None = None
    may_begin: Work[bool] | None = None

    def do(self) -> Result:
        """Make it in this thread."""
        request: MemberRequest | None = None
        if self.may_begin is not None and not self.may_begin.do():
            return _REFUSED
        try:
            request = self._noted(self.question.request(self.member, in_thread=True))
            with self.places.occupied(), on_behalf_of(request, self.mixture):
                result = self.question.ask(request)
        except Exception as error:  # noqa: BLE001 - no member may end its siblings
            result = self._failed(request, error)
        return self._ended(request, result)

    async def ado(self) -> Result:
        """Make it in this task."""
        request: MemberRequest | None = None
        if self.may_begin is not None and not await self.may_begin.ado():
            return _REFUSED
        try:
            made = partial(self.question.request, self.member, in_thread=False)
            request = self._noted(await off_loop(made, self.question.weight))
            with on_behalf_of(request, self.mixture):
                result = await self.question.aask(request)
        except asyncio.CancelledError as error:
            if request is not None:
                await request.cancelled(error)
            raise
        except Exception as error:  # noqa: BLE001 - as above
            result = self._failed(request, error)
        return self._ended(request, result)

    def discard(self, result: Result) -> None:
        """Let go of a good result that comes too late, or second."""
        result.request.outcome = "given_up"
        self.question.discard(result)

    async def adiscard(self, result: Result) -> None:
        """The same in an event loop."""
        result.request.outcome = "given_up"
        await self.question.adiscard(result)

    def _noted(self, request: MemberRequest) -> MemberRequest:
        if self.places.given_up or is_given_up():  # meanwhile, or by whom all of this is done for
            msg = "nobody waits for it any more"
            raise _NobodyWaitsError(msg)
        request.kind = self.kind
        self.requests.append(request)
        return request

    def _failed(self, request: MemberRequest | None, error: Exception) -> Result:
        """What an error means: without a request the member was not asked."""
        if request is not None:
            if isinstance(error, GraphBubbleUp):  # an interrupt is the graph's business
                raise error
            request.of_errors().error(error)
            forget_variables(error)
            request.failed(error)
            error = provider_error(error)
            if isinstance(error, ModelRefusalError):  # an answer, though a client raised it
                reason = said(error, self.member)
                return Result(ended="declined", error=error, reason=reason, request=request)
            timed_out = isinstance(error, TimeoutError | ModelTimeoutError)
            return Result(
                ended="timed_out" if timed_out else "raised",
                error=error,
                reason=said(error, self.member),
                request=request,
            )
        if isinstance(error, UnsupportedContentError) and self._raises_unsupported:
            raise error
        if isinstance(error, UnsupportedContentError | _NobodyWaitsError):
            return Result(ended="refused", reason=str(error))
        # a function of the user's failed, say; others may answer
        return Result(ended="raised", error=error, reason=said(error, self.member))

    @property
    def _raises_unsupported(self) -> bool:
        return self.mixture.settings.on_unsupported == "raise"

    def end(self) -> None:
        """Say that nobody waits for it any more."""
        if self.breaker is not None:
            self.breaker.given_up(self)

    def _ended(self, request: MemberRequest | None, result: Result) -> Result:
        if request is not None and not request.over:
            request.ends(good=result.good)
            report(self.breaker, result, self)
        self.end()
        return result


def report(
    breaker: Breaker | None, result: Result, asker: object, *, in_own_time: bool = True
) -> None:
    """Tell a member's circuit breaker what came of asking it.

    A failure counts where it says something of the member, and not of the request or the call.

    Args:
        breaker: The breaker, if the member has one.
        result: What came of it.
        asker: Who asked the breaker.
        in_own_time: Whether the time that may have ended was the member's, not the layer's.
    """
    if breaker is None:
        return
    if result.good:
        breaker.succeeded()
    elif result.ended == "timed_out":
        if result.error is not None or in_own_time:
            breaker.failed(asker)
    elif result.ended == "raised" and not isinstance(result.error, _REQUESTS_OWN):
        breaker.failed(asker)


def said(error: Exception, member: Member) -> str:
    """What an error says of why a member gave no answer; it may quote the member's key."""
    if isinstance(error, KeyError) and "__pregel" in str(error):
        return "the member called interrupt() or another function of LangGraph's context"
    return reason_of(error, model=member.model, key_from=key_source(member.chat_model))
