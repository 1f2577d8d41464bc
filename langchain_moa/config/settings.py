"""Everything that a user can say of a mixture, in one class.

The settings stand in the rooms that own them (see `langchain_moa.settings`); here they are united
with the members. `MoAChatModel` inherits this class, and `create_moa_graph` takes its arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

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
from langchain_moa.config.data import ConfigSource, config_of, settings_of
from langchain_moa.config.files import write_settings
from langchain_moa.config.lineup import (
    MEMBER_FIELDS,
    Aggregators,
    Fallbacks,
    ReferenceModels,
    built_members,
)
from langchain_moa.config.trust import checked_hosts, require_trusted
from langchain_moa.errors import (
    MoAConfigurationError,
    from_validation,
    shown,
    without_variables,
)
from langchain_moa.members.runnables import model_of
from langchain_moa.members.settings import AnswerSettings
from langchain_moa.messages.settings import MessageSettings
from langchain_moa.mixture import Settings
from langchain_moa.presets import get_preset
from langchain_moa.proposals.settings import AgentSettings, ProposalSettings
from langchain_moa.providers.accounts import shown_address
from langchain_moa.reliability.settings import ReliabilitySettings
from langchain_moa.settings import Layers, SettingsGroup, arguments_text, check_names, own_settings
from langchain_moa.strategies.settings import StrategySettings
from langchain_moa.tracing.redaction import Redaction
from langchain_moa.tracing.settings import TracingSettings
from langchain_moa.types import AnyDict, AnyMapping


def _as_secret(given: SecretStr | str | None) -> SecretStr | None:
    return SecretStr(given) if isinstance(given, str) else given


class MemberSettings(SettingsGroup):
    """Members."""

    reference_models: SkipValidation[ReferenceModels] = Field(
        description="The models that answer first: a flat list, asked in every layer of reference "
        "models as in the paper (section 2.2), or one list per layer."
    )
    aggregator: SkipValidation[Aggregators] = Field(
        description="The model that writes the answer. It gets the conversation unchanged, and "
        "only it gets the tools, the arguments of the call and the streaming. If you give a list, "
        "the first one answers, and the next is asked when it fails, answers nothing, or takes "
        "too long."
    )
    analyst: SkipValidation[Aggregators | None] = Field(
        default=None,
        description='The model that compares the proposals with `strategy="compare"`; by default '
        "the aggregator's model at temperature 0. If you give a list, the next is asked when the "
        "first fails.",
    )
    judge: SkipValidation[Aggregators | None] = Field(
        default=None,
        description='The model that chooses a proposal with `strategy="select"`; by default the '
        "same as for `analyst`.",
    )
    layers: Layers | None = Field(
        default=None,
        description="Number of layers, including the aggregator's: 2 is one layer of reference "
        "models and the aggregator. By default 2, or what one list of reference models per layer "
        "makes it; `num_layers` says which.",
    )
    fallbacks: SkipValidation[Fallbacks] = Field(
        default_factory=dict,
        description="The models that are asked instead of a reference model that fails, answers "
        'nothing or takes too long: `{"model name": member, or a list of members}`.',
    )
    api_key: Annotated[SecretStr | str | None, AfterValidator(_as_secret)] = Field(
        default=None,
        description="Together key for members that are ids without a provider; default "
        "`TOGETHER_API_KEY`.",
    )
    base_url: str | None = Field(
        default=None,
        description="Together API address for members that are ids without a provider; default "
        "`TOGETHER_API_BASE`, else Together's own.",
    )


GROUPS: Final[tuple[type[SettingsGroup], ...]] = (
    MemberSettings,
    AnswerSettings,
    ProposalSettings,
    StrategySettings,
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

        @without_variables
        def __init__(self, *args: object, **data: object) -> None:
            if args:
                names = ("reference_models=...", "aggregator=...")
                hint = ", ".join(names[: len(args)]) if len(args) <= len(names) else "..."
                msg = f"arguments of a mixture are given by name; give {hint}."
                raise MoAConfigurationError(msg)
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise from_validation(error) from None

    @classmethod
    @without_variables
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """The mixture that a preset describes (see `langchain_moa.presets`).

        Args:
            name: The preset's name.
            **overrides: Arguments that replace or add to those of the preset.

        Raises:
            MoAConfigurationError: There is no such preset, or an argument is wrong.

        Example:
            >>> from langchain_moa import MoAChatModel
            >>> MoAChatModel.from_preset("self-moa", api_key="your-key").num_layers
            2
        """
        return cls.from_config(get_preset(name).settings, **overrides)

    @classmethod
    @without_variables
    def from_config(
        cls, source: ConfigSource, *, trusted_hosts: Collection[str] = (), **overrides: Any
    ) -> Self:
        """The mixture that a file or a dict describes.

        Args:
            source: Path of a `.toml`, `.yaml` or `.json` file, or its settings as a dict: the
                arguments of `MoAChatModel`, members as strings, as `{"model": "provider:model",
                option: value}`, or as the settings of a mixture inside. In TOML, which has no
                `null`, `timeout = inf` is no limit.
            trusted_hosts: Hosts that may get keys although only the source names them. Without
                that a key goes to its provider's own hosts, to those that the environment names
                for the provider (`TOGETHER_API_BASE`), to a `base_url` given here, and to this
                machine.
            **overrides: Arguments that replace or add to those of the source. `api_key`, and
                `base_url` where they have none of their own, count for mixtures inside, too.

        Raises:
            MoAConfigurationError: A setting is unknown, wrong, or a key, which belongs into the
                environment; an address is not trusted; or the file can't be read. The message
                names the file and the setting.
            MissingExtraError: A string names a provider whose package is not installed.

        Example:
            >>> from langchain_moa import MoAChatModel
            >>> config = {
            ...     "reference_models": ["openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V4-Pro"],
            ...     "aggregator": {"model": "deepseek-ai/DeepSeek-V4-Pro", "max_tokens": 2048},
            ...     "timeout": 60.0,
            ... }
            >>> llm = MoAChatModel.from_config(config, api_key="your-key")
            >>> llm.to_config() == config
            True
        """
        given: object = source  # callers without a type checker give other things
        if not isinstance(given, str | Path | Mapping):
            msg = f"source={shown(given)} is neither a path nor a dict; give one of them."
            raise MoAConfigurationError(msg)
        try:
            trusted = checked_hosts(trusted_hosts)
            settings = settings_of(source, partial(cls._inside, overrides, trusted))
            left = {name: value for name, value in settings.items() if name not in overrides}
            require_trusted(left, trusted)
            return cls(**left, **overrides)
        except MoAConfigurationError as error:
            if isinstance(source, Mapping) or str(error).startswith(str(source)):
                raise
            msg = f"{source}: {error}"
            raise MoAConfigurationError(msg) from None

    @classmethod
    def _inside(cls, overrides: AnyMapping, trusted: Collection[str], source: AnyMapping) -> Self:
        """A mixture that is a member of another one, at the same endpoint if it names none."""
        names = {"api_key"} if "base_url" in source else {"api_key", "base_url"}
        own = {name: value for name, value in overrides.items() if name in names}
        return cls.from_config(source, trusted_hosts=trusted, **own)

    @without_variables
    def to_config(self, path: str | Path | None = None) -> AnyDict:
        """The settings of this mixture as plain data, without keys.

        Args:
            path: A `.toml`, `.yaml` or `.json` file to write them to.

        Returns:
            The settings that are not the default; `from_config` makes the same mixture of them.
            Keys and listeners (`callbacks`, `on_progress`) belong to the program and are left out.

        Raises:
            MoAConfigurationError: A setting can't be written, such as a function or a chain; or
                the file can't be.
        """
        config = config_of(self)
        if path is not None:
            write_settings(config, Path(path))
        return config

    @model_validator(mode="before")
    @classmethod
    def _build_members(cls, data: AnyDict) -> AnyDict:
        """Refuse unknown arguments, and make models of strings once for all later copies."""
        check_names(data, list(cls.model_fields))
        return {**data, **built_members(data)}

    @field_serializer(*MEMBER_FIELDS)
    def _dump_names(self, value: object) -> object:
        """Dump members as names: a member's own dump may hold headers, and headers keys."""
        if value is self.fallbacks:
            return {name: self._dump_names(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._dump_names(item) for item in value]
        if isinstance(value, Mapping):
            value = value.get("model")
        return model_of(value) if isinstance(value, Runnable) else value

    @field_serializer("base_url")
    def _dump_address(self, value: str | None) -> str | None:
        """Dump the address without a login or a key in it."""
        return None if value is None else shown_address(value)

    @field_serializer("proposal_kwargs")
    def _dump_arguments(self, value: object) -> object:
        return Redaction().data(value)

    @override
    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Settings only: a member's own repr may print headers that hold keys."""
        for name in Settings.model_fields:
            yield name, Redaction().data(getattr(self, name))


SETTING_NAMES: Final = tuple(name for group in GROUPS for name in own_settings(group))
"""The names of all settings of a mixture, in the order of the reference."""

ARGUMENTS: Final = arguments_text(GROUPS)
"""The settings as a docstring lists them."""
