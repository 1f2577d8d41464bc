"""The files behind AlpacaEval's length-controlled win rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from langchain_moa.errors import without_variables
from langchain_moa.evals.data import cache_folder, data_folder, located
from langchain_moa.evals.reading import DataFileError, read_records, read_table
from langchain_moa.evals.scores.length_control import (
    GamedRow,
    LengthControl,
    NoLengthControlError,
)
from langchain_moa.evals.suites.alpaca_eval import LC_BASELINES, REFERENCE
from langchain_moa.evals.suites.base import file_hash

_DIFFICULTIES: Final = ("instruction_difficulty.csv", "derived_instruction_difficulty.csv")
"""Files of a data folder, in the order of preference, that tell how hard each instruction is."""


@without_variables
def load_length_control(
    data: str | Path | None = None, baselines: str | Path | None = None
) -> LengthControl:
    """Read what length-controlled win rates are fitted with.

    Args:
        data: A folder with files that are there already. With one nothing is fetched: what it
            lacks may be in the cache.
        baselines: Another file of gamed baselines than the official `df_gamed.csv`.

    Raises:
        NoLengthControlError: A file is not to be had.
        DataFileError: `baselines` is no such file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from langchain_moa.evals import DataFileError
        >>> with TemporaryDirectory() as empty:
        ...     try:
        ...         load_length_control(empty)
        ...     except (NoLengthControlError, DataFileError) as error:
        ...         "df_gamed" in str(error)
        True
    """
    if baselines is not None:
        path = Path(baselines).expanduser()
        name = _name(path)
        gamed = _gamed(path)
    else:
        path = _at_hand(data)
        name = LC_BASELINES.name.rpartition("/")[2]
        gamed = _gamed(path)
    try:
        reference = located(REFERENCE, data)
    except DataFileError as error:
        msg = f"the suite's instructions ({REFERENCE.name}) are not at hand"
        raise NoLengthControlError(msg) from error
    instructions = [str(record.get("instruction")) for record in read_records(reference)]
    by_place = _difficulties(reference.parent) or {row.index: row.difficulty for row in gamed}
    lacking = [place for place in range(len(instructions)) if place not in by_place]
    if lacking:
        msg = f"{len(lacking)} instructions have no known difficulty in {path}"
        raise NoLengthControlError(msg)
    difficulty = {text: by_place[place] for place, text in enumerate(instructions)}
    return LengthControl(name=name, gamed=gamed, difficulty=difficulty)


def _at_hand(data: str | Path | None) -> Path:
    """The official file: in the data folder, in the cache, or fetched if no folder is named."""
    folder = data_folder(data)
    places = [root / LC_BASELINES.name for root in (folder, cache_folder()) if root]
    path = next((place for place in places if place.is_file()), None)
    if path is None and folder:
        msg = _lacking(f"is in neither {folder} nor the cache")
        raise NoLengthControlError(msg)
    try:
        path = path or located(LC_BASELINES)
    except DataFileError as error:
        msg = _lacking(f"cannot be fetched ({type(error.__cause__).__name__})")
        raise NoLengthControlError(msg) from error
    if file_hash(path) != LC_BASELINES.sha256:
        msg = f"{path} is not the official file; `eval score --lc-baselines {path}` takes it"
        raise NoLengthControlError(msg)
    return path


def _lacking(why: str) -> str:
    return (
        f"{LC_BASELINES.name} {why}; get it where there is a network with "
        "`langchain-moa eval data alpaca_eval`; `eval score --lc-baselines FILE` takes another one"
    )


def _name(path: Path) -> str:
    """What reports call a file of gamed baselines, never the official one's name by mistake."""
    official = LC_BASELINES.name.rpartition("/")[2]
    if path.name == official and path.is_file() and file_hash(path) != LC_BASELINES.sha256:
        return f"{path} (not the official file)"
    return path.name


def _gamed(path: Path) -> list[GamedRow]:
    return [_gamed_row(row, path, number) for number, row in enumerate(read_table(path), 1)]


def _gamed_row(row: dict[str, str], path: Path, number: int) -> GamedRow:
    preference = _number(row, "preference", path, number)
    return GamedRow(
        index=int(_number(row, "index", path, number)),
        preference=None if math.isnan(preference) else preference,
        std_delta_len=_number(row, "std_delta_len", path, number),
        difficulty=_number(row, "instruction_difficulty", path, number),
        not_gamed=row.get("not_gamed_baseline", "").strip().lower() in {"true", "1", "1.0"},
    )


def _number(row: dict[str, str], name: str, path: Path, number: int) -> float:
    """A cell's number; an empty one is NaN."""
    if name not in row:
        there = ", ".join(str(column) for column in row)
        raise DataFileError(path, f"has no column {name!r}; it has: {there}.")
    try:
        return float(row[name] or math.nan)
    except ValueError:
        problem = f"row {number}: column {name!r} is {row[name][:40]!r}, no number."
        raise DataFileError(path, problem) from None


def _difficulties(folder: Path) -> dict[int, float]:
    """How hard the instructions are, by position in the reference file, if a file says so."""
    path = next((folder / name for name in _DIFFICULTIES if (folder / name).is_file()), None)
    if path is None:
        return {}
    rows = read_table(path)
    # upstream's file leaves its first column, the position, without a name
    index = next(iter(rows[0]))
    return {
        int(_number(row, index, path, number)): _number(row, "instruction_difficulty", path, number)
        for number, row in enumerate(rows, 1)
    }
