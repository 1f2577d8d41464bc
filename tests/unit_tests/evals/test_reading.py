"""Files of rows: what is read, and what is refused with the file named."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.reading import DataFileError, field, read_records, read_table


def written(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1}, {"a": 2}]',
        '\n [\n{"a": 1},\n{"a": 2}\n]\n',
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\n\n{"a": 2}',
        '{"a": 1}\r\n{"a": 2}\r\n',
        b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n',
    ],
)
def test_lists_and_lines(tmp_path: Path, content: str | bytes) -> None:
    assert read_records(written(tmp_path, content)) == [{"a": 1}, {"a": 2}]


def test_separators_inside_a_text_split_no_line(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": "one\u2028two\u0085three"}\n')
    assert read_records(path) == [{"a": "one\u2028two\u0085three"}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("[]", "holds no rows"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        ('[{"a": 1}', "is not valid JSON"),
        ('{"a": 1}\n{"a": \n', "line 2 is not valid JSON"),
        ("[1]", "row 1 is int, not an object"),
        ('{"a": 1}\n[2]\n', "row 2 is list, not an object"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_broken_files(tmp_path: Path, content: str | bytes, problem: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataFileError) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path}: ")
    assert problem in str(error.value)
    assert isinstance(error.value, MoAConfigurationError)


def test_a_file_that_is_not_there_and_one_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        read_records(tmp_path / "none.json")
    with pytest.raises(DataFileError, match="cannot be read"):
        read_records(tmp_path)


def test_errors_survive_pickling(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(DataFileError(tmp_path / "a", "is empty.")))  # noqa: S301
    assert (str(error), error.path) == (f"{tmp_path / 'a'}: is empty.", tmp_path / "a")


def test_fields(tmp_path: Path) -> None:
    row = {"text": "a", "n": 1, "x": 1.5, "flag": True, "none": None}
    assert field(row, "text", str, tmp_path, 1) == "a"
    assert field(row, "n", float, tmp_path, 1) == 1.0
    assert field(row, "flag", bool, tmp_path, 1) is True
    for name, kind in (("text", float), ("flag", int), ("flag", float), ("x", int), ("none", str)):
        with pytest.raises(DataFileError, match=f"row 7: field '{name}' must be"):
            field(row, name, kind, tmp_path, 7)
    with pytest.raises(DataFileError, match="row 7 has no field 'no'; it has: flag, n, none"):
        field(row, "no", str, tmp_path, 7)


def test_tables(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "a,b\n1,2\n")) == [{"a": "1", "b": "2"}]
    with pytest.raises(DataFileError, match="holds no rows"):
        read_table(written(tmp_path, "a,b\n"))
    with pytest.raises(DataFileError, match="is not valid CSV"):
        read_table(written(tmp_path, 'a,b\n"1,2\n'))
