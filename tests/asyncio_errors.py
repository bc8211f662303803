"""Errors that asyncio only logs: destroyed tasks, lost exceptions, coroutines never awaited, unclosed transports.

asyncio and the interpreter report them when the garbage collector finds the object, so a test would pass. `conftest.py`
fails the test for those in its own process; `check_output` is for programs that a test starts.
"""

from __future__ import annotations

import logging
import re

_LINE = re.compile(
    r".*(?:Task was destroyed but it is pending"
    r"|(?:Task|Future) exception was never retrieved"
    r"|coroutine '.*' was never awaited"
    r"|unclosed (?:transport|event loop|<socket|resource)"
    r"|Exception in callback"
    r"|Exception ignored in).*"
)


def find_errors(output: str) -> list[str]:
    """The lines of a program's output that report such an error."""
    return [match[0] for match in _LINE.finditer(output)]


def check_output(output: str) -> None:
    """Raises AssertionError if a program's output reports such an error."""
    assert not (found := find_errors(output)), f"{'; '.join(found)}\nin the output:\n{output}"


class LoggedErrors(logging.Handler):
    """Collects what a library logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record))

    def take(self) -> list[str]:
        """The errors since the last call."""
        texts, self.texts = self.texts, []
        return texts
