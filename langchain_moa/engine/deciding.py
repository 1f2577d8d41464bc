"""Whether a call asks the reference models, decided before anything is paid."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial
from time import monotonic

from langchain_core.messages import BaseMessage, RemoveMessage

from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.reading import require_supported
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.fan_out import USUAL, fans_out
from langchain_moa.reliability.threads import in_thread
from langchain_moa.reliability.waiting import Plan, WaitFor

logger = logging.getLogger(__name__)


def deciding(
    call: CallInProgress, messages: Sequence[BaseMessage], own: Collection[str] | None
) -> Plan[bool]:
    """Whether the reference models are asked.

    Functions of the user's have a layer's time for it; when that is over, it is decided as usual.

    Args:
        call: The call.
        messages: The conversation.
        own: Names of the mixture's own tools, see `fans_out`.

    Raises:
        MoAConfigurationError: There is nothing to answer, or something that is no message.
        UnsupportedContentError: Who is asked cannot take the conversation.
    """
    require_messages(messages)
    mixture = call.mixture
    decide = partial(_decided, mixture, messages, own)
    if not callable(mixture.settings.fan_out) and mixture.settings.context_filter is None:
        return decide()
    decided = in_thread(decide)
    policy = mixture.policy
    seconds = min(policy.proposer_timeout, policy.layer_timeout, call.share_of(1))
    yield WaitFor(ticket=decided, until=monotonic() + seconds)
    if decided.done():
        return decided.result()
    logger.warning("fan_out or context_filter took too long; the turn is decided as %r", USUAL)
    return fans_out(USUAL, messages, own)


def require_messages(messages: Sequence[BaseMessage]) -> None:
    """Refuse a conversation in which there is nothing to answer, or something that is no message.

    Raises:
        MoAConfigurationError: It is empty, or holds an order to a graph's state.
    """
    if not messages:
        msg = "messages=[] has nothing to answer; give at least one message."
        raise MoAConfigurationError(msg)
    for place, message in enumerate(messages):
        if isinstance(message, RemoveMessage):
            msg = (
                f"messages[{place}] is a RemoveMessage, which tells a graph's state what to leave "
                "out; no model reads it: leave it out."
            )
            raise MoAConfigurationError(msg)


def _decided(
    mixture: Mixture, messages: Sequence[BaseMessage], own: Collection[str] | None
) -> bool:
    asked = fans_out(mixture.settings.fan_out, messages, own)
    require_supported(mixture, messages, fans_out=asked)
    return asked
