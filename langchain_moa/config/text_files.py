"""Files of text: read as UTF-8; written beside and renamed, so that no failure costs what was."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from langchain_moa.errors import MoAConfigurationError

_PRIVATE: Final = 0o600
_ANYBODYS: Final = 0o666
"""The mode of a new file, of which the system takes what `umask` says."""
_OTHER_ENCODINGS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# DEL and C1, which terminals obey, and the controls that show text in another order than it has
_COMMANDS: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def decoded(data: bytes, name: str) -> str:
    """Bytes as text in UTF-8, without a byte order mark.

    Args:
        data: The bytes.
        name: What they are, for the error: a path, or "the question".

    Raises:
        MoAConfigurationError: They are in another encoding, or no text at all.
    """
    for mark, encoding in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            msg = f"{name} is in {encoding}; save it as UTF-8."
            raise MoAConfigurationError(msg)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        msg = f"{name} is not text in UTF-8 (byte {byte:#04x} at {error.start}); save it as UTF-8."
        raise MoAConfigurationError(msg) from None
    return checked_text(text, name)


def checked_text(text: str, name: str) -> str:
    """The text itself, if it is one.

    Args:
        text: What was given; bytes that are none may have come through as halves of surrogates.
        name: What it is, for the error.

    Raises:
        MoAConfigurationError: It holds halves of surrogates, or a NUL.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{name} is not text in UTF-8 (character {error.start + 1}); save it as UTF-8."
        raise MoAConfigurationError(msg) from None
    if "\x00" in text:
        place = text.index("\x00") + 1
        msg = f"{name} is no text: character {place} is a NUL, as in UTF-16 and in binary files."
        raise MoAConfigurationError(msg)
    return text


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises:
        MoAConfigurationError: It can't be read, or is in another encoding; the message names it.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise _unusable(path, error) from None
    return decoded(data, str(path))


def write_text(
    path: Path, text: str, *, private: bool = False, half_characters: bool = False
) -> None:
    """Write a file of text in UTF-8; see `write_file`.

    Args:
        path: The file.
        text: Its text.
        private: Whether nobody else may read it.
        half_characters: Whether halves of surrogate pairs are written, as JSON escapes them.

    Raises:
        MoAConfigurationError: It can't be written.
    """
    try:
        data = text.encode(errors="backslashreplace" if half_characters else "strict")
    except UnicodeEncodeError as error:
        raise _unusable(path, error) from None
    write_file(path, lambda beside: beside.write_bytes(data), private=private)


def write_file(path: Path, write: Callable[[Path], object], *, private: bool = False) -> None:
    """Write a file as `open(path, "w")` would, but so that it is there whole or not at all.

    It is written beside, brought to the disk, and renamed, with the mode of the file that it
    replaces. A link stays one and its target is written. What is no regular file, such as
    `/dev/stdout`, or stands in a directory where nothing can be written beside it, is written
    as it stands.

    Args:
        path: The file.
        write: Writes a file at the path that it is given.
        private: Whether nobody else may read it (mode 0600), whatever was there before.

    Raises:
        MoAConfigurationError: It can't be written; what was there before is still there.
    """
    try:
        target = Path(os.path.realpath(path))
        beside = _place_beside(target, private=private)
        if beside is None:
            write(target)
            return
        try:
            write(beside)
            _bring_to_disk(beside)
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # not every system can do this with a directory
            _bring_to_disk(target.parent)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None


def _place_beside(target: Path, *, private: bool) -> Path | None:
    """An empty file beside the target, with the mode that it will have; `None` if there is none."""
    exists = target.exists()
    if exists and not target.is_file():
        return None
    if exists and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    beside = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        os.close(os.open(beside, flags, _PRIVATE if private else _ANYBODYS))
    except PermissionError:
        if exists and not private:
            return None
        raise
    if exists and not private:
        beside.chmod(stat.S_IMODE(target.stat().st_mode))
    return beside


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError | ValueError) -> MoAConfigurationError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return MoAConfigurationError(f"{path}: {reason}.")


def escaped(text: str) -> str:
    r"""JSON, TOML or YAML that commands no terminal, and whose data is the same.

    Args:
        text: A text of these, in which such characters stand between double quotes alone.

    Example:
        >>> escaped('{"name": "\x9b31m"}')
        '{"name": "\\u009b31m"}'
    """
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def needs_escapes(text: str) -> bool:
    """Whether a text could command a terminal as it stands."""
    return _COMMANDS.search(text) is not None
