"""A small process that outlives flysim just long enough to remove its containers, should flysim be killed.

`python -m simulator.machines.docker.sweeper RUN` waits for the end of its input. A dot before that means that flysim
ended in order; otherwise everything on the engine with the label of the run is removed.
"""

from __future__ import annotations

import signal
import sys
import time

_ROUNDS = 3
_PAUSE_SECONDS = 0.5


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == b".":
        return
    import docker

    from simulator.machines.docker.backend import sweep

    api = docker.from_env().api
    for _ in range(_ROUNDS):  # A container that was being made appears a moment later.
        sweep(api, sys.argv[1])
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
