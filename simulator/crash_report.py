"""What a person is told of an error that nobody foresaw: its name, and the file that its traceback went into."""

from __future__ import annotations

import tempfile
import traceback

CRASHED = 4
"""The exit status."""


def format_traceback(error: BaseException) -> str:
    """Its traceback: for files and reports, not for a terminal."""
    return "".join(traceback.format_exception(error))


def describe_crash(error: BaseException) -> str:
    """Writes the traceback into a temporary file; where that cannot be done, says why."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="flysim-fault-", suffix=".txt", encoding="utf-8", errors="replace", delete=False
        ) as file:
            file.write(format_traceback(error))
        place = file.name
    except OSError as full:
        place = f"nowhere to write it to: {full.strerror}"
    return f"this is a fault of flysim itself: {type(error).__name__}: {error}\n  where it arose: {place}"
