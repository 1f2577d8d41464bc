"""The settings for what members may see."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.messages.content import OnUnsupported
from langchain_moa.messages.visibility import ContextFilter, checked_context_filter
from langchain_moa.settings import SettingsGroup


class MessageSettings(SettingsGroup):
    """Privacy and content."""

    context_filter: Annotated[
        SkipValidation[ContextFilter], AfterValidator(checked_context_filter)
    ] = Field(
        default=None,
        description="Which messages members may see: a function of a model's name and the "
        'messages, or `{"model name": function of the messages}`, that returns the messages to '
        "send. A fallback sees no more than the member that it replaces. What other members write "
        "about hidden messages in their proposals is not hidden.",
    )
    on_unsupported: OnUnsupported = Field(
        default="drop_content",
        description="What to do when a member's profile says that it cannot take an image, audio, "
        'video or PDF of the conversation: `"drop_content"` leaves a note in its place, '
        '`"skip_member"` leaves the member out (with no aggregator left, '
        '`UnsupportedContentError`), `"raise"` raises that error, before anything is paid.',
    )
