"""Tokens of a text as another model counts them."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from typing_extensions import override


class CountsAsAnother(BaseChatModel):
    """A chat model that counts tokens as one of its members does, where that can count."""

    @property
    def _counted_by(self) -> BaseChatModel | None:
        """Who counts; `None` for LangChain's own estimate."""
        return None

    @override
    def get_token_ids(self, text: str) -> list[int]:
        model = self._counted_by
        return super().get_token_ids(text) if model is None else model.get_token_ids(text)

    @override
    def get_num_tokens(self, text: str) -> int:
        model = self._counted_by
        return super().get_num_tokens(text) if model is None else model.get_num_tokens(text)

    @override
    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> int:
        model = self._counted_by
        own = super().get_num_tokens_from_messages
        count = own if model is None else model.get_num_tokens_from_messages
        return count(messages, *args, **kwargs)
