"""Crash reports: the message for an unexpected error, and the file with its traceback.

A crash ends a command. A running simulator survives a bug that only concerns one client or task: it reports each
distinct bug once (`BugLog`), also those that other packages only log.
"""

from __future__ import annotations

import logging
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simulator.file_limit import describe_shortage, is_shortage
from simulator.text import escape

CRASHED = 4
"""The exit status of a crash."""
MAX_BUGS = 100
"""How many distinct bugs a process reports; the count bounds files and memory."""
_MAX_TEXT = 200
_MAX_FRAMES = 5

_Kind = tuple[object, ...]
_report_files: dict[_Kind, str] = {}


def format_traceback(error: BaseException) -> str:
    """The full traceback of an error, for files and reports."""
    return "".join(traceback.format_exception(error))


def describe_crash(error: BaseException) -> str:
    """The message for an unexpected error, with the file that has its traceback."""
    location = write_traceback(error)
    return f"internal error in flysim: {type(error).__name__}: {error}\n  traceback: {location}"


def write_traceback(error: BaseException) -> str:
    """Write the traceback to a temporary file. Returns its path, or why it could not be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="flysim-crash-",
            suffix=".txt",
            encoding="utf-8",
            errors="backslashreplace",
            delete=False,
        ) as file:
            file.write(format_traceback(error))
        return file.name
    except OSError as full:
        return f"could not be written: {full.strerror}"


def describe_bug(bug: BaseException) -> str:
    """One line about a bug that does not end flysim. Bugs with the same traceback share one file.

    A lack of file descriptors is not a bug, but reaches this function in the same way.
    """
    if isinstance(bug, OSError) and is_shortage(bug.errno):
        return f"flysim cannot open a file or connection: {describe_shortage(bug)}"
    kind = _kind_of(bug)
    if kind not in _report_files and len(_report_files) < MAX_BUGS:
        _report_files[kind] = write_traceback(bug)
    location = _report_files.get(kind, f"none, because {MAX_BUGS} bugs have one")
    return f"flysim hit a bug: {type(bug).__name__}: {escape(str(bug)[:_MAX_TEXT])}; report: {location}"


def _kind_of(bug: BaseException) -> _Kind:
    """Equal for two bugs that were raised at the same place; the outer frames depend on where they were caught."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(bug.__traceback__)]
    return type(bug), *frames[-_MAX_FRAMES:]


class BugLog:
    """The bugs that a running simulator hits: `announce` gets one line about each distinct one."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._announced: set[_Kind] = set()

    def report(self, bug: BaseException) -> str:
        """Returns the line."""
        line, kind = describe_bug(bug), _kind_of(bug)
        if kind not in self._announced and len(self._announced) < MAX_BUGS:
            self._announced.add(kind)
            self._announce(line)
        return line


class _LoggedBugs(logging.Handler):
    """Reports the exceptions that are logged; other messages go to stderr, as without a handler."""

    def __init__(self, bugs: BugLog) -> None:
        super().__init__(logging.ERROR)
        self._bugs = bugs

    def emit(self, record: logging.LogRecord) -> None:
        bug = record.exc_info[1] if record.exc_info else None
        if bug is not None:
            self._bugs.report(bug)
        elif logging.lastResort is not None:
            logging.lastResort.handle(record)


@contextmanager
def logged_bugs_reported(bugs: BugLog, *loggers: str) -> Iterator[None]:
    """Report exceptions that these loggers get, such as asyncio's "Task exception was never retrieved"."""
    handler = _LoggedBugs(bugs)
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)
