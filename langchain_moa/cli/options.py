"""The options that say which mixture is meant, and the arguments that they set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from langchain_moa.cli.setting_options import setting_options, setting_table
from langchain_moa.presets import preset_names

Command = TypeVar("Command", bound=Callable[..., Any])
_NOTHING: Final = (None, False, ())


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """The options that say which mixture is meant, as they were given.

    Attributes:
        preset: Name of a preset.
        config: Path of a configuration.
        aggregator: The aggregator's model.
        reference_models: The reference models; empty where none are given.
        temperature: Sampling temperature of all members.
        max_tokens: Limit of each answer in tokens, of all members.
        rounds: Passes of the reference models: layers less one.
        prices: A file of prices, or `list` for list prices.
        trust_host: Hosts named by the configuration that may get keys.
        demo: Whether scripted models on this machine answer.
        local: Whether a real model on this machine answers.
        gguf: Files of such models; empty for the small one.
        settings: All others, as arguments of a mixture.
    """

    preset: str | None = None
    config: Path | None = None
    aggregator: str | None = None
    reference_models: tuple[str, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    rounds: int | None = None
    prices: Path | None = None
    trust_host: tuple[str, ...] = ()
    demo: bool = False
    local: bool = False
    gguf: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Whether models are served on this machine as long as the command runs."""
        return self.demo or self.local or bool(self.gguf)

    def check(self) -> None:
        """Refuse options that contradict one another.

        Raises:
            click.UsageError: Two of them do.
        """
        given = {**self.settings, **vars(self)}
        for one, other in _CONTRADICTING:
            if given.get(one) not in _NOTHING and given.get(other) not in _NOTHING:
                names = [f"--{name.replace('_', '-')}" for name in (one, other)]
                msg = f"{names[0]} and {names[1]} contradict each other; give one of them."
                raise click.UsageError(msg)


def overrides_of(options: MixtureOptions) -> dict[str, object]:
    """The arguments of a mixture that options set, over those of the preset or the file."""
    named = {
        "aggregator": options.aggregator,
        "reference_models": list(options.reference_models) or None,
        # the reference code has one temperature and one limit for all members
        "temperature": options.temperature,
        "proposal_temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "proposal_max_tokens": options.max_tokens,
        "layers": None if options.rounds is None else options.rounds + 1,
        **options.settings,
    }
    return {name: value for name, value in named.items() if value is not None}


def _split(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    if values and not names:  # as of a shell's variable that is not set
        msg = "it names nothing; give a name, or leave the option out."
        raise click.BadParameter(msg)
    return names


def _preset(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A preset's name, if there is one; they are read when one is given: `--help` names none."""
    if value is None:
        return None
    names = preset_names()
    if value not in names and Path(value).is_file():
        msg = f"{value!r} is a file; give --config {value}."
        raise click.BadParameter(msg)
    return str(click.Choice(names).convert(value, param, ctx))


_CONTRADICTING: Final = (
    ("rounds", "layers"),
    ("preset", "config"),
    ("demo", "preset"),
    ("demo", "config"),
    ("demo", "base_url"),
    *(
        (one, other)
        for one in ("local", "gguf")
        for other in ("demo", "preset", "config", "base_url", "aggregator", "reference_models")
    ),
)
_BEFORE: tuple[Callable[[Any], object], ...] = (
    click.option(
        "--preset",
        metavar="NAME",
        callback=_preset,
        help="A mixture by name (see `presets`), else the one called default.",
    ),
    click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A mixture in a .toml, .yaml or .json file.",
    ),
    click.option(
        "--aggregator",
        "--model",
        "-m",
        "aggregator",
        metavar="MODEL",
        help="The model that writes the answer.",
    ),
    click.option(
        "--reference-models",
        metavar="MODEL,...",
        multiple=True,
        callback=_split,
        help="The models that propose; repeatable, or separated by commas.",
    ),
    click.option(
        "--temperature",
        "-t",
        type=click.FloatRange(min=0),
        metavar="NUMBER",
        help="Sampling temperature of all members.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        metavar="NUMBER",
        help="Most tokens of each member's answer.",
    ),
    click.option(
        "--rounds",
        type=click.IntRange(min=1),
        metavar="NUMBER",
        help="Layers of reference models: layers - 1.",
    ),
)
"""What stands before the settings in a command's help."""
prices_option = click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE|list",
    help="A file of MODEL = [in, out], USD per million tokens; or list prices.",
)
_AFTER: tuple[Callable[[Any], object], ...] = (
    prices_option,
    click.option(
        "--trust-host",
        metavar="HOST,...",
        multiple=True,
        callback=_split,
        help="A host named by --config may get keys; repeatable.",
    ),
    click.option("--demo", is_flag=True, help="Scripted models on this machine; needs no key."),
    click.option("--local", is_flag=True, help="A real model on this machine; needs no key."),
    click.option(
        "--gguf",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A model's file for --local; repeatable.",
    ),
)


class TextCommand(click.Command):
    """A command whose words are text; paths alone may hold bytes that are none in UTF-8."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, if what it was given is text.

        Raises:
            click.BadParameter: An argument or an option's value is none.
        """
        for param in self.params:
            if not isinstance(param.type, click.Path):
                _require_text(ctx.params.get(param.name or ""), ctx, param)
        return super().invoke(ctx)


class TextCommands(click.Group):
    """A group of such commands."""

    command_class = TextCommand


def _require_text(value: object, ctx: click.Context, param: click.Parameter) -> None:
    if isinstance(value, tuple):
        for item in value:
            _require_text(item, ctx, param)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            msg = f"it is not text in UTF-8 (character {error.start + 1}); write it in UTF-8."
            raise click.BadParameter(msg, ctx, param) from None


def mixture_command(
    group: click.Group, *, without: Collection[str] = (), **settings: object
) -> Callable[[Command], click.Command]:
    """Make a function a command that has the options that say which mixture is meant.

    The function gets them as its argument `options`. All commands share the options, of which there
    are many: they are made once.

    Args:
        group: Where the command belongs.
        without: Settings that are left out, where the command has options of those names itself.
        **settings: Others of the command, as click has them.
    """
    params = [param for param in _params() if param.name not in without]

    def register(command: Command) -> click.Command:
        @wraps(command)
        def with_options(**values: Any) -> object:
            given = {name: values.pop(name) for name in setting_table() if name not in without}
            own = [name for name in MixtureOptions.__dataclass_fields__ if name != "settings"]
            set_ = {name: value for name, value in given.items() if value is not None}
            options = MixtureOptions(**{name: values.pop(name) for name in own}, settings=set_)
            options.check()
            return command(options=options, **values)

        made: click.Command = group.command(params=params, **settings)(with_options)
        return made

    return register


@cache
def _params() -> Sequence[click.Parameter]:
    def decorated() -> None:
        """Click takes parameters from functions alone."""

    for option in reversed((*_BEFORE, *setting_options(), *_AFTER)):
        option(decorated)
    return click.command("options")(decorated).params
