"""The options that say which mixture is meant, and the arguments that they set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from langchain_moa.presets import preset_names

Command = TypeVar("Command", bound=Callable[..., Any])


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
        layers: Number of layers, the aggregator's counted.
        rounds: Passes of the reference models: layers less one.
        num_proc: How many member calls may run at the same time.
        quorum: So many usable proposals of a layer are enough.
        timeout: Seconds that a whole call has.
        proposer_timeout: Seconds that each reference model has.
        layer_timeout: Seconds that each layer of reference models has.
        grace: Seconds that the others still have once a quorum is there.
        base_url: Address of an endpoint that speaks Together's API.
        trust_host: Hosts named by the configuration that may get keys.
        sequential: Whether one member is called after the other.
        demo: Whether scripted models on this machine answer.
    """

    preset: str | None = None
    config: Path | None = None
    aggregator: str | None = None
    reference_models: tuple[str, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    layers: int | None = None
    rounds: int | None = None
    num_proc: int | None = None
    quorum: float | None = None
    timeout: float | None = None
    proposer_timeout: float | None = None
    layer_timeout: float | None = None
    grace: float | None = None
    base_url: str | None = None
    trust_host: tuple[str, ...] = ()
    sequential: bool = False
    demo: bool = False

    def check(self) -> None:
        """Refuse options that contradict one another.

        Raises:
            click.UsageError: Two of them do.
        """
        for one, other in (
            ("rounds", "layers"),
            ("preset", "config"),
            ("demo", "preset"),
            ("demo", "config"),
            ("demo", "base_url"),
        ):
            if getattr(self, one) not in (None, False) and getattr(self, other) is not None:
                names = [f"--{name.replace('_', '-')}" for name in (one, other)]
                msg = f"{names[0]} and {names[1]} contradict each other; give one of them."
                raise click.UsageError(msg)


def overrides_of(options: MixtureOptions) -> dict[str, Any]:
    """The arguments of a mixture that options set, over those of the preset or the file."""
    named = {
        "aggregator": options.aggregator,
        "reference_models": list(options.reference_models) or None,
        # the reference code has one temperature and one limit for all members
        "temperature": options.temperature,
        "proposal_temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "proposal_max_tokens": options.max_tokens,
        "layers": options.layers if options.rounds is None else options.rounds + 1,
        "max_concurrency": options.num_proc,
        "quorum": _whole(options.quorum),
        "timeout": options.timeout,
        "proposer_timeout": options.proposer_timeout,
        "layer_timeout": options.layer_timeout,
        "grace": options.grace,
        "base_url": options.base_url,
        "sequential": options.sequential or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _whole(quorum: float | None) -> float | None:
    """A count as a whole number; what is below one is a share."""
    return int(quorum) if quorum is not None and quorum.is_integer() else quorum


def _split(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    if values and not names:  # as of a shell's variable that is not set
        msg = "it names nothing; give a name, or leave the option out."
        raise click.BadParameter(msg)
    return names


_NUMBER: Final = "NUMBER"


def _seconds(name: str, meaning: str, *, none: bool = False) -> Callable[[Any], Any]:
    """An option that takes a time; with `none` it may be 0."""
    kind = click.FloatRange(min=0, min_open=not none)
    return click.option(name, type=kind, metavar="SECONDS", help=meaning)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--preset",
        metavar="NAME",
        type=click.Choice(preset_names()),
        help="A mixture by name (see `presets`), else the one called default.",
    ),
    click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A mixture in a .toml, .yaml or .json file.",
    ),
    click.option(
        "--aggregator", "--model", "aggregator", metavar="MODEL", help="Who writes the answer."
    ),
    click.option(
        "--reference-models",
        metavar="MODEL,...",
        multiple=True,
        callback=_split,
        help="Who proposes; repeatable, or separated by commas.",
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        metavar=_NUMBER,
        help="Sampling temperature of all members.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        metavar=_NUMBER,
        help="Most tokens of each member's answer.",
    ),
    click.option(
        "--rounds",
        type=click.IntRange(min=1),
        metavar=_NUMBER,
        help="Passes of the reference models: layers - 1.",
    ),
    click.option(
        "--layers",
        type=click.IntRange(min=2),
        metavar=_NUMBER,
        help="Layers, the aggregator's counted.",
    ),
    click.option(
        "--num-proc",
        type=click.IntRange(min=1),
        metavar=_NUMBER,
        help="Most member calls at a time.",
    ),
    click.option(
        "--quorum",
        type=click.FloatRange(min=0, min_open=True),
        metavar=_NUMBER,
        help="So many proposals (or such a share, as 0.5) are enough.",
    ),
    _seconds("--timeout", "Seconds that a whole call has."),
    _seconds("--proposer-timeout", "Seconds that each reference model has."),
    _seconds("--layer-timeout", "Seconds that each layer of reference models has."),
    _seconds("--grace", "Seconds for the others once a quorum is there.", none=True),
    click.option("--base-url", metavar="URL", help="An endpoint that speaks Together's API."),
    click.option(
        "--trust-host",
        metavar="HOST,...",
        multiple=True,
        callback=_split,
        help="A host named by --config may get keys; repeatable.",
    ),
    click.option("--sequential", is_flag=True, help="Call one member after the other."),
    click.option("--demo", is_flag=True, help="Scripted models on this machine; needs no key."),
)


def mixture_options(command: Command) -> Command:
    """Give a command the options that say which mixture is meant, as its argument `options`."""

    @wraps(command)
    def with_options(**values: Any) -> Any:
        names = MixtureOptions.__dataclass_fields__
        options = MixtureOptions(**{name: values.pop(name) for name in names})
        options.check()
        return command(options=options, **values)

    decorated: Any = with_options
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return cast("Command", decorated)
