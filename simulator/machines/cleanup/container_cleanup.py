"""Cleanup process for containers: removes those of a flysim run if flysim is killed.

It runs as a script, isolated from the package, and loads the engine's SDK only if there is something to remove. It
reads a pipe: flysim writes "." when it exits normally. If the pipe closes without that, flysim was killed, and the
script removes everything on the engine that has the label of the run.

container_cleanup.py RUN
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from typing import Any

RUN = "flysim.run"
"""The label of everything that a run created; its value is the id of the run. Defined here: this file is a script."""
_TIMEOUT_SECONDS = 60.0
_CLEAN_ROUNDS = 3
"""Rounds without an error: a container that was being created may appear a moment later."""
_PAUSE_SECONDS = 0.5


def main(run: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read():
        return
    end, done = time.monotonic() + _TIMEOUT_SECONDS, 0
    # Not simulator.retry: the script runs isolated from the package.
    while done < _CLEAN_ROUNDS and time.monotonic() < end:
        with suppress(Exception):  # The engine may be busy or restarting: the next round tries again.
            remove_resources(connect(), run)
            done += 1
        time.sleep(_PAUSE_SECONDS)


def connect() -> Any:
    import docker

    return docker.from_env(use_ssh_client=True).api


def remove_resources(api: Any, run: str) -> None:
    """Remove the containers and networks of a run. Blocks."""
    from docker.errors import APIError

    ours = {"label": f"{RUN}={run}"}
    for container in api.containers(all=True, quiet=True, filters=ours):
        with suppress(APIError):  # its removal is under way
            api.remove_container(container["Id"], v=True, force=True)
    for network in api.networks(filters=ours):
        with suppress(APIError):
            api.remove_network(network["Id"])


if __name__ == "__main__":
    main(sys.argv[1])
