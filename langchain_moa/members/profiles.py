"""Profiles of models: what several have in common, and one that is worked out when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile

from langchain_moa.types import AnyDict


def common_profile(profiles: Sequence[ModelProfile]) -> ModelProfile:
    """What can be relied on whichever of several models answers.

    Args:
        profiles: What is known of each.

    Returns:
        What all say alike, and what one is known not to be able to do.

    Example:
        >>> common_profile([{"tool_calling": True, "image_inputs": True}, {"image_inputs": False}])
        {'image_inputs': False}
    """
    keys = dict.fromkeys(key for profile in profiles for key in profile)
    values = {key: [profile.get(key) for profile in profiles] for key in keys}
    common: AnyDict = {}
    for key, given in values.items():
        if any(value is False for value in given):
            common[key] = False
        elif all(value == given[0] for value in given):
            common[key] = given[0]
    return cast("ModelProfile", common)


class FreshProfile:
    """The field `profile` of a chat model, worked out whenever it is read, unless it was given.

    LangChain works a profile out once and keeps it in the field, where copies with other members
    would find that of the old ones.
    """

    def __get__(self, model: BaseChatModel | None, owner: type) -> ModelProfile | None:
        if model is None:  # to pydantic it is a field like any other, and those have no default
            raise AttributeError
        given: ModelProfile | None = vars(model).get("profile")
        return model._resolve_model_profile() if given is None else given  # noqa: SLF001 - LangChain's hook

    def __set__(self, model: BaseChatModel, value: ModelProfile | None) -> None:
        vars(model)["profile"] = value
