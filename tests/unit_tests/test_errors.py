"""Errors keep what was paid for, survive pickling and show no keys."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from langchain_core.exceptions import ModelError
from pydantic import BaseModel, ValidationError, field_validator

from langchain_moa import (
    AggregationError,
    MissingExtraError,
    MoAConfigurationError,
    MoAError,
    NotEnoughProposalsError,
    Proposal,
)
from langchain_moa.errors import from_validation

PaidFor = type[AggregationError] | type[NotEnoughProposalsError]

PROPOSALS = (
    Proposal(layer=1, index=0, model="a", text="kept"),
    Proposal(layer=1, index=1, model="b", status="failed", error="ValueError: lost"),
    Proposal(layer=1, index=2, model="c", status="empty"),
)


class BusyError(ModelError):
    """A failure that says of itself that a retry may help."""

    is_retryable = True


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (MoAConfigurationError, ValueError),
        (MissingExtraError, ImportError),
        (AggregationError, ModelError),
        (NotEnoughProposalsError, ModelError),
    ],
)
def test_errors_are_caught_by_familiar_names(kind: type[MoAError], base: type[Exception]) -> None:
    error = kind("wrong")
    assert isinstance(error, MoAError)
    assert isinstance(error, base)
    assert str(error) == "wrong"


@pytest.mark.parametrize("kind", [AggregationError, NotEnoughProposalsError])
def test_pickling_keeps_proposals_and_drops_causes(kind: PaidFor) -> None:
    error = kind(
        "too few", proposals=PROPOSALS, causes={"1.1": BusyError("lock"), "1.2": ValueError("lost")}
    )
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert type(again) is kind
    assert str(again) == "too few"
    assert again.proposals == PROPOSALS
    assert again.causes == {}
    assert again.is_retryable is True
    assert len(error.causes) == 2


@pytest.mark.parametrize("kind", [AggregationError, NotEnoughProposalsError])
@pytest.mark.parametrize(
    ("causes", "retryable"),
    [
        ([], False),
        ([ValueError("lost")], False),
        ([BusyError("later")], True),
        ([ValueError("lost"), BusyError("later")], True),
        ([NotEnoughProposalsError("inner", causes={"1.0": BusyError("later")})], True),
        ([NotEnoughProposalsError("inner", causes={"1.0": ValueError("lost")})], False),
    ],
)
def test_a_retry_helps_where_a_cause_says_so(
    kind: PaidFor, causes: list[Exception], *, retryable: bool
) -> None:
    by_slot = {str(place): cause for place, cause in enumerate(causes)}
    assert kind("failed", causes=by_slot).is_retryable is retryable


def shown(errors: tuple[Exception, ...]) -> list[tuple[str, str]]:
    return [(type(error).__name__, str(error)) for error in errors]


FAILED, EMPTY = ("MoAError", "b: failed: ValueError: lost"), ("MoAError", "c: empty")


@pytest.mark.parametrize(
    ("proposals", "causes", "members"),
    [
        (PROPOSALS, {"1.1": ValueError("lost")}, [("ValueError", "lost"), EMPTY]),
        (PROPOSALS, {"1.2": ValueError("odd")}, [FAILED, ("ValueError", "odd")]),
        (PROPOSALS, {}, [FAILED, EMPTY]),
        (PROPOSALS[:2], {"1.1": ValueError("lost")}, [("ValueError", "lost")]),
        (PROPOSALS[:1], {}, [("NotEnoughProposalsError", "too few")]),
        ((), {}, [("NotEnoughProposalsError", "too few")]),
    ],
)
def test_failures_as_a_group(
    proposals: tuple[Proposal, ...],
    causes: dict[str, Exception],
    members: list[tuple[str, str]],
) -> None:
    group = NotEnoughProposalsError("too few", proposals=proposals, causes=causes).as_group()
    assert group.message == "too few"
    assert shown(group.exceptions) == members


def test_a_group_after_pickling_tells_the_recorded_reasons() -> None:
    causes = {"1.1": ValueError("lost")}
    error = NotEnoughProposalsError("too few", proposals=PROPOSALS, causes=causes)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert shown(again.as_group().exceptions) == [FAILED, EMPTY]


class Settings(BaseModel):
    """Fields that can be wrong in every way that is told."""

    number: int = 1
    names: list[int] = []
    checked: str = ""

    @field_validator("checked")
    @classmethod
    def refuse(cls, value: str) -> str:
        if value == "ours":
            msg = "checked='ours' is taken; give another."
            raise MoAConfigurationError(msg)
        if value == "plain":
            msg = "not plain"
            raise ValueError(msg)
        return value


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"number": "x"}, "number='x': Input should be a valid integer"),
        ({"number": 0.5}, "number=0.5: "),
        ({"number": object()}, "number: Input should be a valid integer"),
        ({"names": [1, "x"]}, "names.1='x': "),
        ({"names": {"key": "sk-one"}}, "names: Input should be a valid list"),
        ({"checked": "plain"}, "checked='plain': Value error, not plain."),
        ({"checked": "ours"}, "checked='ours' is taken; give another."),
    ],
)
def test_validation_errors_name_field_and_value(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    error = from_validation(caught.value)
    assert type(error) is MoAConfigurationError
    assert str(error).startswith(told)
    assert "sk-one" not in str(error)


def test_a_validation_error_without_a_field_names_the_model() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(7)
    assert str(from_validation(caught.value)).startswith("MoAChatModel=7: ")
