"""How the analyst or the judge is asked: what it reads, and how its answer is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from langchain_core.exceptions import ModelRateLimitError
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa.accounting.budget import Amount
from langchain_moa.engine.admission import advice_estimate
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.proposal import awhole, whole
from langchain_moa.engine.reading import Rooms, read_by, seen_by, weight_of
from langchain_moa.engine.request import MemberRequest, prepare_call
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.for_proposers import ending_on_user, history_for_proposers
from langchain_moa.messages.roles import appended
from langchain_moa.messages.verdicts import judge
from langchain_moa.proposals.cleaning import cleaned
from langchain_moa.reliability.threads import off_loop
from langchain_moa.reliability.waiting import Ending, Result
from langchain_moa.strategies.answers import values_of
from langchain_moa.strategies.base import Findings, Numbered, Strategy, UnusableAnswerError
from langchain_moa.types import Reason

_REASONS: Final[dict[Ending, Reason]] = {
    "answered": "empty",
    "declined": "filtered",
    "raised": "upstream_error",
    "timed_out": "timed_out",
    "cut": "cut",
    "refused": "unavailable",
    "over_budget": "over_budget",
}
"""Why nothing was found, where no answer tells."""
_UNREADABLE: Final = ("invalid_json", "schema_mismatch")
"""What may be better in a second answer."""
_AGAIN: Final = (
    "Your last answer was of no use: {reason}. Give the one JSON object that is described above, "
    "and nothing before or after it."
)


@dataclass(frozen=True, kw_only=True)
class AdviceQuestion:
    """What the analyst or the judge and its fallbacks are asked for.

    Attributes:
        call: The call in progress.
        strategy: Whom it serves, with the prompt and the form of the answer.
        messages: The caller's conversation.
        numbered: The proposals, the first of them number 1.
        config: The configuration of its run.
        rooms: How much of these it gets after an endpoint said that a prompt did not fit.
        unread: Why the first answer of one that is asked again could not be read.
    """

    call: CallInProgress
    strategy: Strategy
    messages: Sequence[BaseMessage]
    numbered: Sequence[Numbered]
    config: RunnableConfig
    rooms: Rooms = field(default_factory=Rooms)
    unread: dict[Member, str] = field(default_factory=dict)

    def estimate(self, member: Member) -> Amount:
        """What a request to one of them may cost."""
        shown = [one.proposal for one in self.numbered]
        prompt = self.strategy.prompt
        return advice_estimate(self.call.mixture, member, self.messages, shown, prompt)

    def request(self, member: Member, *, in_thread: bool) -> MemberRequest:
        """A request to one of them, ready to be made.

        It may be without content that the member does not take: what is compared are texts.
        """
        mixture = self.call.mixture
        runnable = mixture.consulting(member, in_thread=in_thread)
        history = ending_on_user(history_for_proposers(seen_by(mixture, member, self.messages)))
        read = read_by(
            mixture,
            member,
            history,
            [one.proposal for one in self.numbered],
            self.rooms,
            bound=model_and_arguments(runnable)[1],
            prompt=self.strategy.prompt,
        )
        if member in self.unread:
            *before, last = read.messages
            again = appended(last, _AGAIN.format(reason=self.unread[member]))
            read = read._replace(messages=[*before, again])
        limit, redaction = mixture.settings.max_answer_bytes, mixture.redaction
        return prepare_call(member, runnable, read, self.config, redaction=redaction, limit=limit)

    @property
    def weight(self) -> int:
        """How much there is to be read and written for a request, in characters."""
        shown = [one.proposal for one in self.numbered]
        return weight_of(self.call.mixture, self.messages, shown)

    def asks_anew(self, result: Result) -> bool:
        """Whether to ask once more: the prompt did not fit, or the answer could not be read."""
        request: MemberRequest | None = result.request
        if request is None:
            return False
        if result.value in _UNREADABLE and request.member not in self.unread:
            self.unread[request.member] = str(result.reason)
            return True
        return self.rooms.shrink(request.member, result.error)

    def ask(self, request: MemberRequest) -> Result:
        """Make the request in a thread."""
        return self._judged(request, whole(request))

    async def aask(self, request: MemberRequest) -> Result:
        """Make the request in an event loop."""
        answer = await awhole(request)
        return await off_loop(partial(self._judged, request, answer), request.size)

    def discard(self, result: Result) -> None:
        """Nothing is to be let go of: the answer is whole."""

    async def adiscard(self, result: Result) -> None:
        """Nothing is to be let go of, either."""

    def _judged(self, request: MemberRequest, answer: AIMessage) -> Result:
        message = cleaned(answer, request.fence_key)
        request.answered(message)
        # half an answer that a filter left is none, but a call may have all that was asked for
        called = bool(message.tool_calls or message.invalid_tool_calls)
        verdict = request.judged(judge(message, for_caller=called))
        if not verdict.usable:
            code: Reason = "filtered" if verdict.status == "filtered" else "empty"
            return Result(value=code, reason=verdict.reason, request=request)
        try:
            values = values_of(message, self.strategy.schema["properties"].keys())
            found = self.strategy.read(values, self.numbered)
        except UnusableAnswerError as error:
            return Result(value=error.reason, reason=str(error), request=request)
        advice = Advice(found, request.model_name(message))
        return Result(good=True, value=advice, request=request)


class Advice(NamedTuple):
    """What was answered.

    Attributes:
        findings: What it means.
        model_name: The model that answered, as far as it is known.
    """

    findings: Findings
    model_name: str | None


def why(result: Result) -> Reason:
    """Why nothing was found."""
    if isinstance(result.error, ModelRateLimitError):
        return "rate_limited"
    given: Reason | None = result.value
    return given or _REASONS[result.ended]
