"""The settings for what is done with proposals, and when reference models are asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.prompts import StringPromptTemplate
from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.proposals.fan_out import FanOut, checked_fan_out
from langchain_moa.proposals.outliers import ProposalFilter, checked_filter
from langchain_moa.proposals.prompt import AGGREGATOR_PROMPT, parse_prompt
from langchain_moa.settings import Count, SettingsGroup, Temperature, checked_limits
from langchain_moa.types import AnyDict, Placement

ToolsFor: TypeAlias = Literal["aggregator", "all"]
"""Whose calls tools are bound to. Only the aggregator's are ever executed."""


def _checked_prompt(given: Any) -> object:
    parse_prompt(given)
    return given


def _known_filter(given: object) -> object:
    checked_filter(given)
    return given


class ProposalSettings(SettingsGroup):
    """Proposals."""

    placement: Placement = Field(
        default="user",
        description='Where proposals are put: `"user"`, with the user\'s last message, or '
        '`"system"`, in the system message as the reference code does. The default lets '
        "providers' prompt caches work, and does not give proposals the rank of a system message.",
    )
    aggregator_prompt: Annotated[
        SkipValidation[str | StringPromptTemplate], AfterValidator(_checked_prompt)
    ] = Field(
        default=AGGREGATOR_PROMPT,
        description="How proposals are introduced to the aggregator and to later layers: a string "
        "with `{proposals}`, or a prompt template with that one variable.",
    )
    proposal_temperature: Temperature | None = Field(
        default=None,
        description="Sampling temperature of every proposal; `None` keeps each reference model's "
        "own. The reference code uses 0.7.",
    )
    proposal_max_tokens: Count | None = Field(
        default=None,
        description="Limit of each proposal in tokens; `None` keeps each member's own.",
    )
    proposal_kwargs: AnyDict = Field(
        default_factory=dict, description="Other call arguments of every proposal."
    )
    proposal_filter: Annotated[SkipValidation[ProposalFilter], AfterValidator(_known_filter)] = (
        Field(
            default=None,
            description="Leaves proposals out before the next layer reads them: a function that "
            "takes a layer's usable proposals as a list of texts and returns the indexes of those "
            'to keep, or `"cluster"`, which keeps the larger of two groups of similar texts.',
        )
    )
    max_input_tokens: Annotated[
        SkipValidation[int | dict[str, int] | None], AfterValidator(checked_limits)
    ] = Field(
        default=None,
        description="How many tokens a member reads, one number or one per model name; by default "
        "as its profile says. Proposals that don't fit are shortened, the longest first. The "
        'conversation is never shortened; `profile["max_input_tokens"]` says how long it may be '
        "for proposals to fit.",
    )


class AgentSettings(SettingsGroup):
    """Agents and tools."""

    fan_out: Annotated[SkipValidation[FanOut], AfterValidator(checked_fan_out)] = Field(
        default="user_turns",
        description='Which steps ask the reference models: `"user_turns"`, all but the later '
        "steps of an agent's loop (in which the conversation ends with tool results, and one of "
        'the bound tools was called since the user\'s message); `"always"`; `"every_3"`, the '
        'first step after a user\'s message and every third after it (any number); `"never"`; or '
        "a function of the messages. In the other steps the aggregator answers alone.",
    )
    reuse_proposals: bool = Field(
        default=True,
        description="Whether a step that does not ask them gets the proposals made for the same "
        "user message, from the memory of this process, if tools are bound.",
    )
    describe_tools: bool = Field(
        default=True,
        description="Whether the prompt of the reference models describes the tools that the "
        "aggregator has.",
    )
    tools_for: ToolsFor = Field(
        default="aggregator",
        description='Who gets the tools: the `"aggregator"`, which acts, or `"all"`; calls that '
        "reference models would make are shown as text and never executed. Members that cannot "
        "have tools get a description of them.",
    )
    structured_proposals: bool = Field(
        default=False,
        description="Whether `with_structured_output` binds the schema to the reference models, "
        "too.",
    )
