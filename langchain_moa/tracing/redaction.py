"""Secrets are taken out of everything that leaves the process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel

SECRET_NAME: Final = re.compile(
    r"(?i)(.*(api|access|auth|secret)[_-]?key|(.*(api|access|auth|ad|bearer|session)[_-]?)?token"
    r"|.*(secret|password|credentials)|(proxy-)?authorization|cookie)"
)
"""Names of what is a secret."""
HEADER_NAMES: Final = frozenset(
    {"default_headers", "default_query", "extra_headers", "extra_query", "additional_headers"}
)
"""Names of what is sent beside a question, and mostly holds keys where it is set at all."""
_HIDDEN: Final = "***"
_LOGIN: Final = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")
_IN_QUERY: Final = re.compile(
    r"(?i)(?<=[?&])([\w.-]{0,30}(?:key|token|secret|password|signature))=[^&#\s\"'<>)]+"
)
SHORTEST: Final = 4
"""Shorter values would hide ordinary words."""
_DEEPEST: Final = 20


class Redaction:
    """Knows the secrets of some models, and takes them out of texts, data and errors.

    What looks like a login in an address, or like a key in its query, goes too, known or not.

    Args:
        secrets: The secrets.

    Example:
        >>> Redaction(["sk-123456"]).text("Wrong key sk-123456 at https://me:word@host/v1?api-key=x")
        'Wrong key *** at https://***@host/v1?api-key=***'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = {secret for secret in secrets if len(secret) >= SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)  # one may begin with another

    def beyond(self, secrets: Iterable[str]) -> Redaction:
        """One that knows these secrets, too."""
        return Redaction([*self._secrets, *secrets])

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _HIDDEN)
        if "@" in text:
            text = _LOGIN.sub(f"{_HIDDEN}@", text)
        if "=" in text:
            text = _IN_QUERY.sub(rf"\1={_HIDDEN}", text)
        return text

    def data(self, value: Any, depth: int = 0) -> Any:
        """Plain data without secrets; what holds none is the same object."""
        if isinstance(value, str):
            return self.text(value)
        if depth > _DEEPEST:
            return value
        if isinstance(value, Mapping) and type(value) is dict:
            return _same({k: self._named(k, v, depth) for k, v in value.items()}, value)
        if type(value) in (list, tuple):
            return _same(type(value)(self.data(item, depth + 1) for item in value), value)
        return value

    def _named(self, name: object, value: object, depth: int) -> object:
        if name in HEADER_NAMES and isinstance(value, Mapping):
            return dict.fromkeys(value, _HIDDEN)
        if isinstance(value, str) and isinstance(name, str) and SECRET_NAME.fullmatch(name):
            return _HIDDEN
        return self.data(value, depth + 1)

    def in_place(self, data: object) -> None:
        """Take the secrets out of a dict that others will read."""
        if isinstance(data, dict):
            for name, value in data.items():
                shown = self._named(name, value, 0)
                if shown is not value:
                    data[name] = shown

    def error(self, error: BaseException) -> None:
        """Take the secrets out of an error and of those behind it, before anybody reads them."""
        for one in _chain(error):
            for name, value in [("args", one.args), *vars(one).items()]:
                with suppress(Exception):  # an error's own attributes may refuse it
                    self._mend(one, name, value)
            with suppress(Exception):
                said = str(one)
                if any(self.text(text) != text for text in (said, repr(one))):
                    _say(one, self.text(said))  # they say more than its attributes

    def _mend(self, error: BaseException, name: str, value: Any) -> None:
        plain = _in_words(value)
        shown = self.data(plain)
        if shown is not plain:
            _put(error, name, shown)
        url = getattr(value, "url", None)  # of a request, which its repr shows
        if url is not None and self.text(str(url)) != str(url):
            value.url = type(url)(self.text(str(url)))


def _in_words(value: Any) -> Any:
    """What an error has with it, objects with a body's fields as they are shown."""
    if type(value) is tuple:
        return tuple(map(_in_words, value))
    return repr(value) if isinstance(value, BaseModel) else value


def _say(error: BaseException, text: str) -> None:
    kind = type(error)
    own = {
        "__str__": lambda _: text,
        "__repr__": lambda _: f"{kind.__name__}({text!r})",
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    _put(error, "__class__", type(kind.__name__, (kind,), own))


def _put(error: BaseException, name: str, value: object) -> None:
    object.__setattr__(error, name, value)  # a class may let nobody change its errors


def _chain(error: BaseException) -> Iterator[BaseException]:
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inside = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        left += [e for e in (one.__cause__, one.__context__, *inside) if e is not None]


def _same(made: Any, given: Any) -> object:
    """What was given, where what was made of it is no different."""
    pairs = zip(made.values(), given.values(), strict=True) if isinstance(given, dict) else None
    pairs = pairs or zip(made, given, strict=True)
    return given if all(one is other for one, other in pairs) else made
