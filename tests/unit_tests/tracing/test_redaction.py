"""What of an error is changed, whatever its class thinks of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from pydantic import BaseModel

from langchain_moa.members.secrets import secrets_of
from langchain_moa.tracing.redaction import Redaction

WORD = "DISTINCTIVE-word"


class Body(BaseModel):
    said: str


@dataclass(frozen=True)
class FrozenError(Exception):
    message: str
    body: Body


class SaysMoreError(Exception):
    """Its representation shows what neither its text nor its arguments do."""

    def __init__(self) -> None:
        super().__init__("refused")

    def __repr__(self) -> str:
        return f"SaysMoreError({WORD})"


class Answer:
    """A response whose address cannot be set."""

    @property
    def url(self) -> str:
        return f"http://me:{WORD}@host/v1"


class WithAnswerError(Exception):
    def __init__(self) -> None:
        super().__init__(f"refused {WORD}")
        self.response = Answer()
        self.text = WORD


ERRORS = [
    FrozenError(f"no entry with {WORD}", Body(said=WORD)),
    SaysMoreError(),
    WithAnswerError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_secrets_leave_an_error_of_any_class(error: Exception) -> None:
    kind = type(error)
    Redaction([WORD]).error(error)
    assert isinstance(error, kind)
    for shown in (str(error), repr(error), str(error.args), str(vars(error))):
        assert WORD not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, {"X-Gateway": WORD}) for name in ("headers", "cookies", "params")]
    + [("auth", ("me", WORD))],
)
def test_what_an_http_client_is_given_is_secret(name: str, value: object) -> None:
    class Local(FakeListChatModel):
        client_kwargs: dict[str, Any]

    given = {"timeout": 9, name: value}
    assert secrets_of(Local(responses=[], client_kwargs=given)) == {WORD}
