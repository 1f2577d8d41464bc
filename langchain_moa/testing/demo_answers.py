"""What the demo's scripted models say: five questions, drafts that differ, and better second ones.

In the second layer each model has read the first drafts, and says more than it did alone.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Final, NamedTuple


class Script(NamedTuple):
    """What is said to one question.

    Attributes:
        question: The question.
        first: The drafts of the first layer, one of each model; empty where the model fails.
        second: The drafts of those who have read the first ones.
        answer: The aggregator's answer.
    """

    question: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    answer: str


def _scripts() -> tuple[Script, ...]:
    text = files("langchain_moa.testing").joinpath("demo.toml").read_text("utf-8")
    return tuple(
        Script(one["question"], tuple(one["first"]), tuple(one["second"]), one["answer"])
        for one in tomllib.loads(text)["scripts"]
    )


SCRIPTS: Final = _scripts()
"""All that is scripted, the question that is offered first."""
