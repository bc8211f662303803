"""The commands, and the only place that prints. Each command imports what it needs when it runs.

This module imports hardly anything itself, so that Ctrl-C is answered from the first moment on.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

__all__ = ["leave_at_once", "main"]


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    signal.signal(signal.SIGINT, leave_at_once)
    from simulator.cli.app import main as run

    run()


def leave_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """The answer to a signal where nothing has to be put in order; of machines, the watchdog takes care."""
    os._exit(128 + number)
