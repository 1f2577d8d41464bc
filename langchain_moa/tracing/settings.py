"""The settings for who hears of a call."""

from __future__ import annotations

from pydantic import Field, SkipValidation

from langchain_moa.settings import SettingsGroup
from langchain_moa.tracing.progress import OnProgress


class TracingSettings(SettingsGroup):
    """Records and progress."""

    include_proposals: bool = Field(
        default=False,
        description='Whether `response_metadata["moa"]` holds the proposals\' texts.',
    )
    stream_proposals: bool = Field(
        default=False,
        description="Whether proposers stream too: their tokens come as `token` events, see "
        "`ProgressEvent`, and never mix with the answer's.",
    )
    on_progress: SkipValidation[OnProgress | None] = Field(
        default=None,
        description="Called with a `ProgressEvent` at each step of a call, in the thread or task "
        "where it happens. The same events come on LangGraph's `custom` stream, and as "
        "`on_custom_event` in `astream_events`.",
    )
