"""The settings for the answer, and what is known of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from langchain_core.language_models.model_profile import ModelProfile
from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.settings import COUNT, Count, SettingsGroup, Temperature, did_you_mean
from langchain_moa.types import AnyMapping


def _checked_profiles(given: object) -> object:
    if not isinstance(given, Mapping) or not all(isinstance(p, Mapping) for p in given.values()):
        msg = (
            f"profiles={shown(given)} must be a dict of profiles per model name, such as "
            "{'model': {'max_input_tokens': 32768, 'image_inputs': False}}."
        )
        raise MoAConfigurationError(msg)
    for name, profile in given.items():
        _check_profile(name, profile)
    return given


def _check_profile(name: str, profile: AnyMapping) -> None:
    known = ModelProfile.__annotations__
    for key in profile:
        if key not in known:
            hint = did_you_mean(key, known, f"give some of: {', '.join(known)}.")
            msg = f"profiles[{name!r}]: {shown(key)} is not known of any model; {hint}"
            raise MoAConfigurationError(msg)
        if key.startswith("max_"):
            COUNT.checked(profile[key], f"profiles[{name!r}].{key}")


class AnswerSettings(SettingsGroup):
    """The answer."""

    temperature: Temperature | None = Field(
        default=None,
        description="Sampling temperature of the final answer; `None` keeps the aggregator's.",
    )
    max_tokens: Count | None = Field(
        default=None,
        description="Limit of the final answer in tokens; `None` keeps the aggregator's.",
    )
    stop: list[str] | None = Field(default=None, description="Stop sequences of the final answer.")
    profiles: Annotated[
        SkipValidation[dict[str, ModelProfile]], AfterValidator(_checked_profiles)
    ] = Field(
        default_factory=dict,
        description='What models can do, as LangChain\'s model profiles: `{"model name": '
        '{"max_input_tokens": 32768, "image_inputs": False}}`, with the keys of LangChain\'s '
        "`ModelProfile`. Models of `langchain-together` have no profile of their own.",
    )
