"""What one run has on the engine: other runs may be there at the same time."""

from __future__ import annotations

import psutil

from simulator.machines.cleanup import remove_containers as sweeper
from simulator.machines.docker.labels import RUN
from tests.docker.swarm import docker


def made_by(run: str) -> list[str]:
    """Containers and networks."""
    kinds = (("ps", "-aq"), ("network", "ls", "-q"))
    return [each for kind in kinds for each in docker(*kind, "--filter", f"label={RUN}={run}").split()]


def sweepers_of(process_id: int) -> list[psutil.Process]:
    """Of a flysim: one, from before its first container until its end."""
    children = psutil.Process(process_id).children()
    return [each for each in children if sweeper.__file__ in each.cmdline()]


def run_of(sweeper: psutil.Process) -> str:
    return str(sweeper.cmdline()[-1])
