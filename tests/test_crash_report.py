"""Reports of bugs: one file and one line for each distinct bug, also for those that other packages only log."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import tempfile
from pathlib import Path

import pytest

from simulator.crash_report import MAX_BUGS, BugLog, describe_bug, logged_bugs_reported, write_traceback


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("simulator.crash_report._report_files", {})
    return tmp_path


def caught(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_bugs_at_one_place_share_a_file_and_a_line(folder: Path) -> None:
    lines: list[str] = []
    bugs = BugLog(lines.append)
    for number in range(3):
        bugs.report(caught(f"number {number}"))
    (file,) = folder.iterdir()
    assert lines == [f"flysim hit a bug: ValueError: number 0; report: {file}"]
    assert "ValueError: number 0" in file.read_text()


def test_bugs_at_two_places_are_reported_both(folder: Path) -> None:
    lines: list[str] = []
    bugs = BugLog(lines.append)
    bugs.report(caught("one"))
    try:
        raise ValueError("two")
    except ValueError as other:
        bugs.report(other)
    assert len(lines) == len(list(folder.iterdir())) == 2


def test_the_number_of_reports_is_bounded(folder: Path) -> None:
    for number in range(MAX_BUGS + 5):
        code = compile(f"raise ValueError({number})", "bug.py", "exec")
        try:
            exec(code)
        except ValueError as error:
            line = describe_bug(error)
    assert len(list(folder.iterdir())) == MAX_BUGS
    assert line.endswith(f"report: none, because {MAX_BUGS} bugs have one")


def test_the_line_about_a_bug_is_one_short_line_whatever_its_text() -> None:
    line = describe_bug(caught("\udcff\n\x1b[2J" + "x" * 10_000))
    assert line.isprintable()
    assert r"ValueError: \xff\n\x1b[2Jxxx" in line
    assert len(line) < 500


def test_any_traceback_can_be_written() -> None:
    assert r"\udcff" in Path(write_traceback(caught("\udcff"))).read_text(encoding="utf-8")


@pytest.mark.asyncio_errors
async def test_a_task_that_nobody_awaits_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    async def fail() -> None:
        raise ValueError("in a task")

    with logged_bugs_reported(BugLog(lines.append), "asyncio"):
        await asyncio.wait([asyncio.create_task(fail())])
        gc.collect()
    assert [line.partition(";")[0] for line in lines] == ["flysim hit a bug: ValueError: in a task"]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.asyncio_errors
def test_a_logged_message_without_an_exception_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with logged_bugs_reported(BugLog(lines.append), "asyncio"):
        logging.getLogger("asyncio").error("a message")
    assert not lines
    assert capfd.readouterr().err == "a message\n"


def test_a_lack_of_file_descriptors_is_no_bug() -> None:
    line = describe_bug(OSError(errno.EMFILE, "Too many open files"))
    assert line.startswith(
        "flysim cannot open a file or connection: too many open files; this process may open "
    )
    assert "hint: raise the limit with `ulimit -n`" in line
    assert "\n" not in line
