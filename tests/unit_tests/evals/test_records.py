"""Records outlive whatever ends a run: torn lines, full disks, a second run beside the first."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.records import (
    RecordFile,
    RunFolder,
    answer_key,
    answer_subject,
    read_answers,
    write_text,
)
from langchain_moa.evals.types import Answer
from tests.evaluations import answered, lines


@contextmanager
def opened(path: Path) -> Iterator[RecordFile[Answer]]:
    records = RecordFile(path, answer_key, answer_subject)
    with closing(records):
        yield records


def test_a_record_is_in_the_file_when_it_has_been_added(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "new" / "run") as folder:
        folder.answers().append(answered("1", "a", "Zürich 你好"))
        found = lines(tmp_path / "new" / "run" / "answers.jsonl")
    assert [record["output"] for record in found] == ["Zürich 你好"]


def test_new_files_are_their_owners_alone_and_others_keep_their_mode(tmp_path: Path) -> None:
    records, text, report = (tmp_path / name for name in ("answers.jsonl", "run.json", "report.md"))

    def modes() -> list[int]:
        with opened(records) as file:
            file.append(answered("1", "a", "one"))
        write_text(text, "{}")
        write_text(report, "# Scores", private=False)
        return [stat.S_IMODE(path.stat().st_mode) for path in (records, text, report)]

    before = os.umask(0o022)
    try:
        assert modes() == [0o600, 0o600, 0o644]
        for path in (records, text, report):
            path.chmod(0o640)
        assert modes() == [0o640, 0o640, 0o640]
    finally:
        os.umask(before)


@pytest.mark.parametrize("torn", ['{"suite": "cus', '{"half": "\\ud83d', "x" * 200_000])
def test_a_torn_last_line_is_removed_and_all_else_is_kept(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "answers.jsonl"
    with opened(path) as records:
        records.append(answered("1", "a", "one"))
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    assert [a["output"] for a in read_answers(tmp_path)] == ["one"]
    with opened(path) as records:
        assert path.read_bytes() == whole
        records.append(answered("2", "a", "two"))
    assert [a["output"] for a in read_answers(tmp_path)] == ["one", "two"]


def test_a_torn_first_line_leaves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("{", "utf-8")
    with opened(path):
        pass
    assert not path.read_bytes()


def test_a_broken_line_before_the_last_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"a": 1\n{}\n', "utf-8")
    with pytest.raises(DataFileError, match=r"answers\.jsonl: line 1 is not valid JSON"):
        read_answers(tmp_path)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"logprob": -math.inf, "n": [math.nan, 1.5]}, {"logprob": None, "n": [None, 1.5]}),
        ("half \ud83d", "half \ud83d"),
        ("line\nand\u2028line", "line\nand\u2028line"),
    ],
)
def test_what_json_or_utf_8_lack_is_recorded_all_the_same(
    tmp_path: Path, value: Any, read: Any
) -> None:
    path = tmp_path / "answers.jsonl"
    with opened(path) as records:
        records.append(answered("1", "a", "x", moa={"value": value}))
    [found] = read_answers(tmp_path)
    assert found["moa"] == {"value": read}
    json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)


def test_of_several_records_of_one_answer_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    old = answered("1", "a", "old", settings="s1")
    with opened(path) as records:
        for answer in (old, answered("2", "a", "other"), answered("1", "a", "new", settings="s2")):
            records.append(answer)
        assert {a["output"] for a in read_answers(tmp_path)} == {"other", "new"}
        records.use(old)
        assert {a["output"] for a in read_answers(tmp_path)} == {"other", "old"}
        before = path.stat().st_size
        records.use(old)
        assert path.stat().st_size == before


def test_a_second_run_into_the_folder_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path),
        pytest.raises(MoAConfigurationError, match="another run is writing there"),
        RunFolder(tmp_path),
    ):
        pytest.fail("two runs at a time")
    with RunFolder(tmp_path) as folder:
        folder.answers().append(answered("1", "a", "one"))


def test_a_folder_that_cannot_be_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with (
        pytest.raises(DataFileError, match=r"file/run: cannot be written to"),
        RunFolder(tmp_path / "file" / "run"),
    ):
        pytest.fail("a folder below a file")


_FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.records import RunFolder
from tests.evaluations import answered

resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with RunFolder(Path(sys.argv[1])) as folder:
    answers = folder.answers()
    try:
        for number in range(1000):
            answers.append(answered(str(number), "a", "x" * 700))
    except DataFileError as error:
        print(number, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on a file's size there")
def test_a_full_disk_leaves_whole_records_and_a_clear_error(tmp_path: Path) -> None:
    run = [sys.executable, "-c", _FILLS_THE_DISK, str(tmp_path)]
    root = Path(__file__).parents[3]
    said = subprocess.run(run, capture_output=True, text=True, check=True, cwd=root)  # noqa: S603
    number, _, message = said.stdout.partition(" ")
    assert f"{tmp_path / 'answers.jsonl'}: cannot be written" in message
    assert "make room" in message
    assert len(read_answers(tmp_path)) == int(number) > 0
    assert (tmp_path / "answers.jsonl").read_bytes().endswith(b"\n")


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.json", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataFileError, match=r"a\.json: cannot be written: No space left"):
        write_text(tmp_path / "a.json", "new")
    assert [file.read_text("utf-8") for file in tmp_path.iterdir()] == ["old"]
