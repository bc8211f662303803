"""Command line interface of flysim, and the only package that prints.

This module imports almost nothing, so that Ctrl-C works from the start and `flysim --version` loads no parser.
Each command's own module is imported when that command is used.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from simulator import __version__

__all__ = ["BROKEN_PIPE", "VERSION_TEXT", "exit_on_signal", "main"]

VERSION_TEXT = f"flysim {__version__}"
BROKEN_PIPE = 141
"""Exit status: 128 plus the number of SIGPIPE. 0 would mean success, 1 that an expectation failed."""


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    signal.signal(signal.SIGINT, exit_on_signal)
    if sys.argv[1:] == ["--version"]:
        _print_version()
    from simulator.cli.app import main as run

    run()


def _print_version() -> NoReturn:
    try:
        print(VERSION_TEXT, flush=True)
    except OSError:
        os._exit(BROKEN_PIPE)
    sys.exit(0)


def exit_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    """Signal handler while flysim itself has nothing to clean up. Cleanup processes stop the machines."""
    os._exit(128 + number)
