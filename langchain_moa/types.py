"""The records of one call: what every member answered, how long it took, what it used.

A `Proposal` is what the code works with; `ProposalRecord` and `MoARecord` are plain JSON for graph
state and `response_metadata["moa"]`: custom classes break strict checkpoints and remote streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NotRequired, TypeAlias

from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable

# typing.TypedDict below Python 3.12 leaves graph schemas empty
from typing_extensions import TypedDict

AnyRunnable: TypeAlias = Runnable[Any, Any]
"""A runnable of any input and output."""
AnyDict: TypeAlias = dict[str, Any]
"""Values of any kind by name: call arguments, metadata, JSON objects."""
AnyMapping: TypeAlias = Mapping[str, Any]
"""The same, only read."""

LARGE: Final = 2**18
"""Characters or bytes from which on a text is worked on in a thread, and not in an event loop."""
_MOST: Final = 2**53
"""No count is larger: nobody has read so many tokens, and JSON readers would round it."""


def whole_number(value: object) -> int | None:
    """A count in foreign data, such as 12 or 12.0 tokens; `None` where it is none.

    Example:
        >>> whole_number(12.0), whole_number(1.5), whole_number("12"), whole_number(True)
        (12, None, None, None)
    """
    if type(value) is int and 0 <= value <= _MOST:  # as nearly every count is
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        return None
    return int(value) if value == int(value) else None


MODEL_NAME: Final = "moa"
"""Name of a mixture where models and providers have one."""

RECORD_KEY: Final = "moa"
"""Key of the record in an answer's `response_metadata`."""

ProposalStatus = Literal[
    "ok",
    "cached",
    "reused",
    "failed",
    "empty",
    "filtered",
    "reasoning_only",
    "timed_out",
    "cut",
    "skipped",
    "over_budget",
    "outlier",
]
"""What became of one proposer's call.

`ok`: a usable proposal. `cached`: a usable one from LangChain's LLM cache, which cost nothing.
`reused`: one made before for the same user's turn, not paid for again. `failed`: the call raised.
`empty`: the model answered without any text. `filtered`: the provider's filter or the model itself
refused. `reasoning_only`: only reasoning was answered. `timed_out`: there was no answer in time.
`cut`: the layer went on without it. `skipped`: not asked: a breaker is open, or it cannot take the
content. `over_budget`: not asked, for lack of budget. `outlier`: left out by the filter."""

USABLE: Final = ("ok", "cached", "reused")
"""The statuses of proposals that the next layer is shown."""

Placement = Literal["user", "system"]
"""Where proposals are put: with the last user turn, or in the system message."""

Role = Literal["proposer", "analyst", "judge", "aggregator"]
"""What a member does in a call."""

StrategyName = Literal["synthesize", "compare", "select"]
"""How proposals become the answer."""

Stage = Literal["proposer", "check", "analyst", "judge", "aggregator"]
"""Where in a call something went wrong."""

Reason = Literal[
    "rate_limited",
    "invalid_json",
    "schema_mismatch",
    "empty",
    "timed_out",
    "upstream_error",
    "over_budget",
    "unavailable",
    "filtered",
    "cut",
    "outlier",
    "degraded",
    "tools_bound",
    "no_proposals",
    "not_in_schema",
    "none_passed",
    "check_failed",
    "invalid_number",
    "tie",
]
"""Why an answer is degraded; `docs/strategies.md` has a table of what each means."""

EventName = Literal[
    "call_started",
    "layer_started",
    "member_started",
    "first_token",
    "token",
    "member_retried",
    "member_finished",
    "member_failed",
    "member_cut",
    "layer_finished",
    "call_finished",
    "call_failed",
    "call_cut",
]
"""What a `ProgressEvent` reports.

`first_token` and `token` come from members that stream: the aggregator when the call is
streamed (`first_token` alone; its tokens are the answer), proposers with
`stream_proposals=True`. `member_retried`: a request failed, and is repeated `seconds` later.
`member_failed`: a member failed, or its proposal is not usable. `member_cut`: a member's call was
cancelled, or its layer went on without it. `call_failed`: the call raised. `call_cut`: it was
cancelled, or its stream was left early.
"""


class ProgressEvent(TypedDict):
    """One step of a call in progress; every key is always there.

    It comes on LangGraph's `custom` stream, as `on_custom_event` named `"moa"` in
    `astream_events`, and to the callback `on_progress`.
    """

    type: Literal["moa"]
    """Distinguishes these events from others on a shared stream."""
    event: EventName
    layer: int | None
    """Layer counted from 1, the aggregator's the last; `None` for the call's own events."""
    index: int | None
    """Place of the member in its layer, counted from 0; `None` for calls and layers."""
    role: Role | None
    model: str | None
    """The id by which the member was asked for."""
    seconds: float | None
    """Since the call, layer or member started; `None` for `..._started`."""
    usage: UsageMetadata | None
    """Tokens of a finished member, or of all members of a finished call."""
    error: str | None
    """Why a member or the call failed."""
    text: str | None
    """The piece of a proposal in a `token` event; with `include_proposals=True` the whole proposal
    in a proposer's `member_finished`."""


RequestKind = Literal["first", "retry", "hedge", "fallback"]
"""Why a request was made.

`retry`: the same member once more, after a passing failure or with a shorter prompt. `hedge`: a
second request, because the first took long. `fallback`: the members before it gave nothing.
"""

RequestOutcome = Literal["answered", "failed", "given_up"]
"""What became of a request; `given_up`: nobody waited for it any more."""


class RequestRecord(TypedDict):
    """One request to a member, for a timeline."""

    model: str
    """Name that was asked for."""
    kind: RequestKind
    outcome: RequestOutcome
    started: float
    """Seconds since the call began, in the process that made the request."""
    seconds: float
    """How long it took, or how long it was waited for."""


class ProposalRecord(TypedDict):
    """One proposal in `response_metadata["moa"]["proposals"]`."""

    layer: int
    """Layer of the proposer, counted from 1."""
    index: int
    """Place of the proposer in its layer, counted from 0."""
    model: str
    """Name that was asked for."""
    model_name: str | None
    """Name that answered, as the provider says it; `None` where it says none."""
    status: ProposalStatus
    error: str | None
    """Why the proposal is not usable, or why members asked before its author gave nothing."""
    seconds: float
    attempts: int
    """Requests that were made: retries, hedges and fallbacks are counted."""
    requests: list[RequestRecord]
    """These requests, in the order in which they were made."""
    usage: UsageMetadata | None
    """Tokens of this member's calls; `None` where the member reports none."""
    cost: float | None
    """USD of these tokens; `None` where no price is known."""
    left_out: list[str]
    """What the member did not get: kinds of content that it cannot take, such as `image`, and
    `proposal text` where proposals were shortened to fit."""
    text: NotRequired[str]
    """The proposal itself; only with `include_proposals=True`."""


class AggregatorRecord(TypedDict):
    """The final call in `response_metadata["moa"]["aggregator"]`."""

    model: str
    model_name: str | None
    status: Literal["ok", "cached", "failed"]
    """`failed` only where `best_proposal` is the answer."""
    error: str | None
    """Why aggregators that were tried gave no answer; `None` when the first one did."""
    seconds: float
    attempts: int
    """Requests that were made: retries, hedges and fallbacks are counted."""
    requests: list[RequestRecord]
    """These requests, in the order in which they were made."""
    first_token: float | None
    """Seconds from the call's start to the answer's first token; `None` if it was not streamed."""
    usage: UsageMetadata | None
    """Tokens of the request that was answered (so, the size of the conversation). For a cached
    answer, the tokens that it once took; they count in no total."""
    cost: float | None
    """USD of all its requests; `None` where no price is known."""
    left_out: list[str]
    """What it did not get, as above."""


class UsageReport(TypedDict):
    """Tokens over all calls of the mixture, each call counted once."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    by_model: dict[str, UsageMetadata]
    """The same per model that answered."""
    unknown: list[str]
    """Models of which at least one request did not say what it used; the totals lack those."""


class CostReport(TypedDict):
    """USD over all calls of the mixture, each call counted once."""

    usd: float
    """The known part of the cost; all of it where `unknown` is empty."""
    by_layer: list[float | None]
    """The known part per layer, the aggregator's the last; `None` where nothing is known."""
    unknown: list[str]
    """Models that were called and whose cost is not known; the sums lack them."""


class FieldVote(TypedDict):
    """The vote on one field of a structured answer."""

    votes: int
    """Proposals that agree with the value that was taken."""
    tied: bool
    """Whether there was no majority, so that the aggregator's value was taken."""


class VoteRecord(TypedDict):
    """What members agreed on, with `with_structured_output(vote=True)`."""

    ballots: int
    """Proposals that could be counted."""
    refused: bool
    """Whether the schema does not permit what was voted for together, so that the aggregator's
    answer was kept: one field may demand something of another."""
    fields: dict[str, FieldVote]


class DegradedReason(TypedDict):
    """One reason why an answer is degraded."""

    stage: Stage
    reason: Reason


class StanceRecord(TypedDict):
    """What one member says in a contradiction."""

    model: str
    stance: str


class ContradictionRecord(TypedDict):
    """What members disagree on."""

    topic: str
    stances: list[StanceRecord]


class CoverageRecord(TypedDict):
    """What some members cover."""

    models: list[str]
    point: str


class InsightRecord(TypedDict):
    """What one member alone saw."""

    model: str
    insight: str


class AnalysisRecord(TypedDict):
    """The comparison of the proposals (`Analysis`): `response_metadata["moa"]["analysis"]`."""

    consensus: list[str]
    contradictions: list[ContradictionRecord]
    partial_coverage: list[CoverageRecord]
    unique_insights: list[InsightRecord]
    blind_spots: list[str]


class SelectionRecord(TypedDict):
    """Which proposal is the answer, word for word, with `strategy="select"`."""

    layer: int
    index: int
    model: str
    """Name that its author was asked for by."""
    by: Literal["judge", "check"]
    """Who chose it; `check` where one proposal alone passed."""
    reason: str
    """Why, in the judge's words."""


class ConsultedRecord(TypedDict):
    """The call of the analyst or the judge in `response_metadata["moa"]["consulted"]`."""

    role: Role
    model: str
    model_name: str | None
    status: Literal["ok", "cached", "failed"]
    error: str | None
    """Why it gave nothing, or why those asked before gave nothing."""
    seconds: float
    attempts: int
    """Requests that were made: retries, hedges and fallbacks are counted."""
    requests: list[RequestRecord]
    """These requests, in the order in which they were made."""
    usage: UsageMetadata | None
    """Tokens of all its requests; `None` where none are known."""
    cost: float | None
    """USD of these; `None` where no price is known."""
    left_out: list[str]
    """What it did not get, as above."""
    dropped: int
    """How often it named a proposal that does not exist; what it said of those is left out."""


FanOutDecision = Literal["layers", "reused", "alone"]
"""Whether the layers ran, the proposals of the same user's turn were reused, or neither."""


class MoARecord(TypedDict):
    """Everything that happened in one call: `response_metadata["moa"]`."""

    layers: int
    """Layers of the mixture, the aggregator's counted."""
    proposals: list[ProposalRecord]
    """In (layer, index) order."""
    aggregator: AggregatorRecord | None
    """The final call; `None` if a proposal was selected, so that nobody wrote an answer."""
    consulted: ConsultedRecord | None
    """The analyst's or the judge's call; `None` where neither was asked."""
    analysis: AnalysisRecord | None
    """What the analyst found; `None` without `strategy="compare"`, or where it found nothing."""
    selection: SelectionRecord | None
    """The proposal that is the answer with `strategy="select"`; `None` where one was written."""
    usage: UsageReport
    cost: CostReport | None
    """What it cost; `None` without `prices`."""
    degraded: bool
    """True exactly when a proposal or the aggregator's answer is missing, here or in a member that
    is itself a mixture, or the strategy could not be followed."""
    degraded_reasons: list[DegradedReason]
    """Why it is, each reason once; empty exactly where it is not."""
    fan_out: FanOutDecision
    """Whether the reference models were asked (`fan_out`)."""
    vote: NotRequired[VoteRecord]
    """How the members voted; only with `vote=True`."""
    best_proposal: str | None
    """The proposal that is the answer because no aggregator gave one, as `"layer.index"`."""
    cached: bool
    """Whether the whole answer came from an LLM cache of the mixture; then nothing was paid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What one proposer answered, or why it did not.

    Attributes:
        layer: Layer of the proposer, counted from 1.
        index: Place of the proposer in its layer, counted from 0.
        model: Name that was asked for.
        model_name: Name that answered, or `None` where the member doesn't say.
        status: What became of the call.
        error: Why the proposal is not usable, or why those asked before gave nothing, or `None`.
        seconds: Wall time of the call.
        attempts: Requests that were made.
        requests: These requests, in the order in which they were made.
        is_retryable: Whether the failure says of itself that a retry may help.
        usage_by_model: Known tokens of the call per model that answered.
        unknown: Models of the requests of whose tokens nothing is known.
        left_out: Kinds of content that the member did not get.
        degraded: Whether the member is a mixture that lacked something.
        text: The answer without reasoning; empty unless the proposal is usable.
        reasoning: The reasoning before it, kept with `share_reasoning=True` only.

    Example:
        >>> Proposal(layer=1, index=0, model="a/model", status="empty").usable
        False
    """

    layer: int
    index: int
    model: str
    model_name: str | None = None
    status: ProposalStatus = "ok"
    error: str | None = None
    seconds: float = 0.0
    attempts: int = 1
    requests: list[RequestRecord] = field(default_factory=list)
    is_retryable: bool = False
    usage_by_model: dict[str, UsageMetadata] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    degraded: bool = False
    text: str = ""
    reasoning: str = ""

    @property
    def key(self) -> str:
        """The proposal's slot in graph state: `"<layer>.<index>"`."""
        return slot(self.layer, self.index)

    @property
    def usable(self) -> bool:
        """Whether the next layer is shown this proposal."""
        return self.status in USABLE

    @property
    def reason(self) -> str:
        """Status and error in one short text, for messages and logs."""
        return f"{self.status}: {self.error}" if self.error else self.status

    def to_state(self) -> dict[str, Any]:
        """The proposal as plain JSON, for graph state."""
        return {name: getattr(self, name) for name in self.__slots__}


def slot(layer: int, index: int) -> str:
    """The key of one proposer's slot in graph state."""
    return f"{layer}.{index}"
