"""Entry point `python -m sample_app`: runs one machine of the app until SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def exit_cleanly(signal_number: int, frame: FrameType | None) -> None:
    """Exits with code 0 and without a traceback."""
    raise SystemExit(0)


def main() -> None:
    # Before the imports below, because a signal may arrive while they run.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, exit_cleanly)

    from sample_app.serving import serve
    from sample_app.settings import SettingError, read_settings

    try:
        serve(read_settings(os.environ))
    except SettingError as error:
        sys.exit(f"sample_app: {error}")


if __name__ == "__main__":
    main()
