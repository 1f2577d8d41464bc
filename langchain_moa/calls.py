"""One call of one member: what is sent, how long it takes, what it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.callbacks import has_handlers, with_handler
from langchain_moa.handlers import OpenRuns
from langchain_moa.members import Member, model_of
from langchain_moa.usage import UsageMeter, answering_model, usage_of_message


@dataclass(frozen=True, kw_only=True)
class MemberCall:
    """A member's call, ready to be made with `invoke`, `ainvoke`, `stream` or `astream`.

    Attributes:
        member: Who is called.
        model: The model name that this call asks for.
        runnable: What is called: the member's runnable with the call's arguments.
        input: The conversation in the member's own form.
        config: The run's configuration.
        meter: Counts the tokens of a member that makes several model calls.
        open_runs: The traced runs to close if the call is cancelled; `None` if nobody listens.
        started: When the call was made ready, on the clock of `time.perf_counter`.
    """

    member: Member
    model: str
    runnable: Runnable[Any, Any]
    input: Any
    config: RunnableConfig
    meter: UsageMeter | None
    open_runs: OpenRuns | None
    started: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the call was made ready, to the microsecond."""
        return round(perf_counter() - self.started, 6)

    async def cancelled(self, error: BaseException) -> None:
        """Close what the cancelled call leaves open in traces."""
        if self.open_runs is not None:
            await self.open_runs.close(self.config.get("callbacks"), error)

    def usage(self, message: AIMessage) -> dict[str, UsageMetadata]:
        """Tokens of the call per model that answered.

        A plain chat model's message says it. A chain, an agent or a mixture may have called
        several models, or have dropped the message on the way, so those are metered.
        """
        if self.meter is None:
            return usage_of_message(message, self.model)
        return dict(self.meter.usage_metadata)

    def model_name(self, message: AIMessage) -> str | None:
        """The model that answered, as far as the answer or the meter tells."""
        name = answering_model(message)
        if name is None and self.meter is not None and len(self.meter.usage_metadata) == 1:
            name = next(iter(self.meter.usage_metadata))
        return name


def prepare_call(
    member: Member,
    runnable: Runnable[Any, Any],
    messages: Sequence[BaseMessage],
    config: RunnableConfig,
) -> MemberCall:
    """Make a member's call ready.

    Args:
        member: Who is called.
        runnable: The member's runnable, with the arguments of this call bound to it.
        messages: The conversation that it gets.
        config: The run's configuration.
    """
    meter, open_runs = None, None
    if has_handlers(config):
        open_runs = OpenRuns()
        config = with_handler(config, open_runs)
    if not member.reports_own_usage:
        meter = UsageMeter()
        config = with_handler(config, meter)
    return MemberCall(
        member=member,
        model=model_of(runnable),
        runnable=runnable,
        input=member.adapt(messages),
        config=config,
        meter=meter,
        open_runs=open_runs,
    )
