"""Objects and processes of one run of flysim; other runs may use the engine at the same time."""

from __future__ import annotations

import psutil

from simulator.machines.cleanup import container_cleanup as container_cleanup
from simulator.machines.docker.labels import RUN
from tests.docker.swarm import docker


def objects_of(run: str) -> list[str]:
    """Ids of its containers and networks."""
    kinds = (("ps", "-aq"), ("network", "ls", "-q"))
    return [each for kind in kinds for each in docker(*kind, "--filter", f"label={RUN}={run}").split()]


def cleanup_processes_of(process_id: int) -> list[psutil.Process]:
    """The cleanup processes of a flysim: one, from before its first container until its end."""
    children = psutil.Process(process_id).children()
    return [each for each in children if container_cleanup.__file__ in each.cmdline()]


def run_id_of(container_cleanup: psutil.Process) -> str:
    return str(container_cleanup.cmdline()[-1])
