"""`python -m sample_app`: one machine of the app, until SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def leave(signal_number: int, frame: FrameType | None) -> None:
    """A machine that is asked to stop has done nothing wrong: exit status 0, and no traceback."""
    raise SystemExit(0)


def main() -> None:
    # Before the imports below, which take a moment: a signal may come meanwhile.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)

    from sample_app.serving import serve
    from sample_app.settings import WrongSetting, read_settings

    try:
        serve(read_settings(os.environ))
    except WrongSetting as wrong:
        sys.exit(f"sample_app: {wrong}")


if __name__ == "__main__":
    main()
