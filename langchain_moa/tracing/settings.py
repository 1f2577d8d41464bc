"""The settings for who hears of a call."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.settings import SettingsGroup
from langchain_moa.tracing.progress import OnProgress


def _checked_on_progress(given: object) -> object:
    """What is called with each step, found to be callable."""
    if given is None or callable(given):
        return given
    msg = f"on_progress={shown(given)} cannot be called; give a function of a ProgressEvent."
    raise MoAConfigurationError(msg)


class TracingSettings(SettingsGroup):
    """Records and progress."""

    include_proposals: bool = Field(
        default=False,
        description='Whether `response_metadata["moa"]`, and events of finished reference models, '
        "hold the proposals' texts.",
    )
    stream_proposals: bool = Field(
        default=False,
        description="Whether reference models stream, too: their tokens come as `token` events, "
        "see `ProgressEvent`, and never mix with the answer's.",
    )
    on_progress: Annotated[
        SkipValidation[OnProgress | None], AfterValidator(_checked_on_progress)
    ] = Field(
        default=None,
        description="A function that is called with a `ProgressEvent` at each step of a call, one "
        "event after the other, in a thread of its own. The call waits for it for at most a tenth "
        "of the call's time, and at most 5 s; a slower function gets its events later. The same "
        "events come on LangGraph's `custom` stream, and as `on_custom_event` in `astream_events`.",
    )
