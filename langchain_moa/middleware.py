"""The mixture for some turns of an agent, a plain model for the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from typing_extensions import override

from langchain_moa.errors import (
    MissingExtraError,
    MoAConfigurationError,
    shown,
    without_variables,
)
from langchain_moa.messages.tools import tool_names
from langchain_moa.proposals.fan_out import FanOut, checked_fan_out, fans_out
from langchain_moa.reliability.threads import off_loop
from langchain_moa.types import LARGE

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    _MESSAGE = "MoAMiddleware needs: pip install 'langchain-moa[providers]'"
    raise MissingExtraError(_MESSAGE) from error

_Request: TypeAlias = ModelRequest[Any]
_Response: TypeAlias = ModelResponse[object]


class MoAMiddleware(AgentMiddleware[Any, Any]):
    """Lets a mixture answer some turns of an agent; the agent's own model answers the others.

    Args:
        mixture: The mixture. Tools and response format of a turn are bound to it as to any model.
            It is copied here, for in the turns that it gets it always asks its reference models,
            whatever its own `fan_out` says.
        fan_out: Which turns it gets, as the `fan_out` of `MoAChatModel`: by default all but
            the steps of the agent's own loop.

    Raises:
        MoAConfigurationError: `fan_out` is none of these, or the mixture is no chat model.

    Example:
        >>> from langchain.agents import create_agent
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.middleware import MoAMiddleware
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> plain = ScriptedChatModel.saying("plain")
        >>> mixture = MoAChatModel(reference_models=[plain], aggregator=plain)
        >>> agent = create_agent(plain, tools=[], middleware=[MoAMiddleware(mixture)])
    """

    @without_variables
    def __init__(self, mixture: BaseChatModel, *, fan_out: FanOut = "user_turns") -> None:
        super().__init__()
        self.mixture = _always_asking(mixture)
        self.fan_out = checked_fan_out(fan_out)

    @override
    def wrap_model_call(
        self,
        request: _Request,
        handler: Callable[[_Request], _Response],
    ) -> _Response:
        return handler(self._routed(request))

    @override
    async def awrap_model_call(
        self,
        request: _Request,
        handler: Callable[[_Request], Awaitable[_Response]],
    ) -> _Response:
        size = LARGE if callable(self.fan_out) else 0
        return await handler(await off_loop(partial(self._routed, request), size))

    def _routed(self, request: _Request) -> _Request:
        # the tool that a response format may make is not among the tools, so then all may be own
        own = tool_names(request.tools) if request.response_format is None else None
        if fans_out(self.fan_out, request.messages, own):
            return request.override(model=self.mixture)
        return request


def _always_asking(mixture: object) -> BaseChatModel:
    """A copy without a gate of its own: one decision per turn is enough."""
    if not isinstance(mixture, BaseChatModel):
        msg = (
            f"mixture={shown(mixture)} is no chat model; give a MoAChatModel, without .bind or "
            ".with_retry around it."
        )
        raise MoAConfigurationError(msg)
    if not getattr(mixture, "is_mixture", False):  # a plain model, to compare with
        return mixture
    return mixture.model_copy(update={"fan_out": "always"})
