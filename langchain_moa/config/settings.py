"""Everything that a user can say of a mixture, in one class.

The settings stand in the rooms that own them (see `langchain_moa.settings`); here they are united
with the members. `MoAChatModel` inherits this class, and `create_moa_graph` takes its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from langchain_core.runnables import Runnable
from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    SkipValidation,
    ValidationError,
    field_serializer,
    model_validator,
)
from typing_extensions import override

from langchain_moa.accounting.settings import AccountingSettings
from langchain_moa.config.lineup import Aggregators, Fallbacks, ReferenceModels, built_members
from langchain_moa.errors import from_validation
from langchain_moa.members.runnables import model_of
from langchain_moa.members.settings import AnswerSettings
from langchain_moa.messages.settings import MessageSettings
from langchain_moa.mixture import Settings
from langchain_moa.proposals.settings import AgentSettings, ProposalSettings
from langchain_moa.reliability.settings import ReliabilitySettings
from langchain_moa.settings import SettingsGroup, arguments_text, check_names, own_settings
from langchain_moa.tracing.settings import TracingSettings


def _as_secret(given: SecretStr | str | None) -> SecretStr | None:
    return SecretStr(given) if isinstance(given, str) else given


class MemberSettings(SettingsGroup):
    """Members."""

    reference_models: SkipValidation[ReferenceModels] = Field(
        description="A flat list, used in every proposer layer as in the paper (section 2.2), or "
        "one list per proposer layer."
    )
    aggregator: SkipValidation[Aggregators] = Field(
        description="The model that writes the answer. It gets the conversation as it is, and "
        "alone gets the tools, the call arguments and the streaming of the mixture. Of a list the "
        "first one answers, and the others are asked in turn when it fails, answers nothing, or "
        "takes too long."
    )
    layers: int | None = Field(
        default=None,
        description="Number of layers, the aggregator's counted: 2 is one pass of the reference "
        "models and the aggregator. By default 2, or as one list per proposer layer makes it; "
        "`num_layers` tells which.",
    )
    fallbacks: SkipValidation[Fallbacks] = Field(
        default_factory=dict,
        description="Who is asked instead of a reference model that fails, answers nothing or "
        'takes too long: `{"model name": member, or a list of members}`.',
    )
    api_key: Annotated[SecretStr | str | None, AfterValidator(_as_secret)] = Field(
        default=None,
        description="Together key for members that are bare ids; default `TOGETHER_API_KEY`.",
    )
    base_url: str | None = Field(
        default=None,
        description="Together API address for members that are bare ids; default "
        "`TOGETHER_API_BASE`, else Together's own.",
    )


GROUPS: Final[tuple[type[SettingsGroup], ...]] = (
    MemberSettings,
    AnswerSettings,
    ProposalSettings,
    ReliabilitySettings,
    AccountingSettings,
    AgentSettings,
    MessageSettings,
    TracingSettings,
)
"""The groups of settings, in the order of the reference."""


class MixtureSettings(MemberSettings, Settings):
    """Everything that a user can say of a mixture."""

    if not TYPE_CHECKING:  # type checkers see the constructor that the fields make

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise from_validation(error) from None

    @model_validator(mode="before")
    @classmethod
    def _build_members(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Refuse unknown arguments, and make models of strings once for all later copies."""
        check_names(data, list(cls.model_fields))
        return {**data, **built_members(data)}

    @field_serializer("reference_models", "aggregator", "fallbacks")
    def _dump_names(self, value: Any) -> Any:
        """Dump members as names: a member's own dump may hold headers, and headers keys."""
        if value is self.fallbacks:
            return {name: self._dump_names(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._dump_names(item) for item in value]
        if isinstance(value, Mapping):
            value = value.get("model")
        return model_of(value) if isinstance(value, Runnable) else value

    @override
    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Settings only: a member's own repr may print headers that hold keys."""
        for name in Settings.model_fields:
            yield name, getattr(self, name)


SETTING_NAMES: Final = tuple(name for group in GROUPS for name in own_settings(group))
"""The names of all settings of a mixture, in the order of the reference."""

ARGUMENTS: Final = arguments_text(GROUPS)
"""The settings as a docstring lists them."""
