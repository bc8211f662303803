"""A small process that outlives flysim just long enough to remove its containers, should flysim be killed.

It runs as a script, apart from the package, and loads the engine's SDK only when there is something to remove. It is
told "." when flysim ends in order; if the pipe ends without that, flysim was killed, and everything on the engine with
the label of the run goes.

container_cleanup.py RUN
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from typing import Any

RUN = "flysim.run"
"""The label of everything that one run made: its id. It stands here because this file is run by itself."""
_PATIENCE_SECONDS = 60.0
_ENOUGH = 3
"""Rounds without trouble: a container that was being made appears a moment later."""
_PAUSE_SECONDS = 0.5


def main(run: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read():
        return
    end, done = time.monotonic() + _PATIENCE_SECONDS, 0
    while done < _ENOUGH and time.monotonic() < end:
        with suppress(Exception):  # The engine may be busy, or starting again: the next round asks anew.
            sweep(connect(), run)
            done += 1
        time.sleep(_PAUSE_SECONDS)


def connect() -> Any:
    import docker

    return docker.from_env(use_ssh_client=True).api


def sweep(api: Any, run: str) -> None:
    """Remove everything of a run. Blocks."""
    from docker.errors import APIError

    ours = {"label": f"{RUN}={run}"}
    for container in api.containers(all=True, quiet=True, filters=ours):
        with suppress(APIError):  # it is being removed already
            api.remove_container(container["Id"], v=True, force=True)
    for network in api.networks(filters=ours):
        with suppress(APIError):
            api.remove_network(network["Id"])


if __name__ == "__main__":
    main(sys.argv[1])
