"""Crash reports: the message for an unexpected error, and the file with its traceback."""

from __future__ import annotations

import tempfile
import traceback

CRASHED = 4
"""The exit status of a crash."""


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
            "w", prefix="flysim-crash-", suffix=".txt", encoding="utf-8", errors="replace", delete=False
        ) as file:
            file.write(format_traceback(error))
        return file.name
    except OSError as full:
        return f"could not be written: {full.strerror}"
