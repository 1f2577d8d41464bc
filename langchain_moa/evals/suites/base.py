"""What a suite is."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from langchain_moa.evals.data import SourceFile, cache_folder, located
from langchain_moa.evals.types import GenerationSettings, Row

Tell = Callable[[str], None]
_PINNED: Final = re.compile(
    r"//[^/]+/(?P<repository>(?:datasets/)?[^/]+/[^/]+)/(?:resolve/)?(?P<commit>[0-9a-f]{40})/"
)
"""What a pinned file's address holds, at GitHub and at Hugging Face."""


@dataclass(frozen=True)
class JudgePrompt:
    """What a judge is told, as a suite's file has it.

    Attributes:
        name: The file's name for it.
        system: The system message; `""` for none.
        template: The user message, with its `{places}`. Fill it with `filled`, never with
            `str.format`: answers hold braces.
        sha256: The hash of the whole file that it stands in.
        fields: Its other fields in the file (FLASK's `defaults`, MT-Bench's `output_format`).
    """

    name: str
    system: str
    template: str
    sha256: str
    fields: dict[str, str] = field(default_factory=dict)

    def filled(self, **places: str) -> str:
        """The user message with its places filled, each once and nothing in what fills them.

        Example:
            >>> JudgePrompt("p", "", "{question} -> {answer}", "").filled(
            ...     question="{answer}?", answer="{}"
            ... )
            '{answer}? -> {}'
        """
        return fill(self.template, places)


def fill(template: str, places: dict[str, str]) -> str:
    """A template with its `{places}` filled in one pass.

    Raises:
        KeyError: A place of the template is not given.
    """
    return re.sub(r"\{(\w+)\}", lambda found: places[found[1]], template)


@dataclass(frozen=True)
class Suite(ABC):
    """A set of tasks, each kept by its id, never by its position.

    Attributes:
        name: `alpaca_eval`, `mt_bench`, `flask`, `flask_hard`, or `custom`.
        title: Its name in reports.
        source: What commands call it: its name, or the path of a custom file.
        size: How many rows it has; `None` for a custom file.
        turns: Turns of each row.
        licence: The terms of its files, for who fetches them; `""` for a custom file.
        files: What answering and judging need, by a short name; `rows` holds the rows.

    Example:
        >>> from langchain_moa.evals import get_suite
        >>> suite = get_suite("mt_bench")
        >>> suite.title, suite.size, suite.turns
        ('MT-Bench', 80, 2)
    """

    name: str
    title: str
    source: str
    size: int | None
    turns: int
    licence: str
    files: dict[str, SourceFile]

    @property
    def pins(self) -> dict[str, str]:
        """The commits that its files are pinned to, by repository.

        Example:
            >>> from langchain_moa.evals.suites import get_suite
            >>> get_suite("mt_bench").pins
            {'lm-sys/FastChat': '0e6d3e4beaab66f4d3f93db72541a4abab8af28d'}
        """
        found = [_PINNED.search(file.url) for file in self.files.values()]
        return {match["repository"]: match["commit"] for match in found if match}

    @abstractmethod
    def rows(self, data: str | Path | None = None, *, tell: Tell | None = None) -> list[Row]:
        """Its rows, in the file's order; files that are not there are fetched.

        Args:
            data: A folder with files that are there already; by default what the environment
                variable `LANGCHAIN_MOA_DATA` names, else the user's cache.
            tell: Is given the licence and a line before a file is fetched.

        Raises:
            DataFileError: A file is missing, broken, or another than it should be.
        """

    @abstractmethod
    def settings(self, row: Row) -> GenerationSettings | None:
        """How it wants a row to be answered; `None` leaves that to the model."""

    def judge_prompts(
        self, data: str | Path | None = None, *, tell: Tell | None = None
    ) -> dict[str, JudgePrompt]:
        """What its judge is told, by name, from the fetched files; empty for a custom file.

        Raises:
            DataFileError: A file is missing, broken, or another than it should be.
        """
        del data, tell
        return {}

    def path(self, file: str, data: str | Path | None = None, *, tell: Tell | None = None) -> Path:
        """Where one of its files is, after it was fetched if need be.

        Raises:
            DataFileError: It is not there and cannot be had.
        """

        def announce(line: str) -> None:
            if tell is None:
                return
            if not any((cache_folder() / known.name).is_file() for known in self.files.values()):
                tell(self.licence)  # once, before the first of its files
            tell(line)

        return located(self.files[file], data, tell=announce)


def row_id(text: str) -> str:
    """The id of a row that has none of its own: a hash of what is asked.

    Example:
        >>> row_id("What is the capital of France?")
        '115049a298532be2'
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
