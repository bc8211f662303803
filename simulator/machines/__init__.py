"""Runs the machines: starts their processes, hears their logs and exits, judges their health, keeps the fleet."""

from __future__ import annotations

from simulator.config.model import Config
from simulator.errors import InputError
from simulator.machines.backend import Backend, Exit, FindEdge, Observer, Placement
from simulator.machines.process import ProcessBackend
from simulator.machines.room import MachineRoom

PROCESS, DOCKER = "process", "docker"
BACKENDS = (PROCESS, DOCKER)
"""What machines can be, by the names that `--backend` takes."""

__all__ = [
    "BACKENDS",
    "Backend",
    "Exit",
    "MachineRoom",
    "Observer",
    "Placement",
    "ProcessBackend",
    "make_backend",
]


def make_backend(name: str, config: Config, find_edge: FindEdge) -> Backend:
    """Raises InputError for a name that is none."""
    if name == PROCESS:
        return ProcessBackend()
    if name == DOCKER:
        from simulator.machines.docker import DockerBackend

        return DockerBackend([app.app for app in config.apps], find_edge=find_edge)
    raise InputError(f"there is no backend {name!r}", expected=f"one of {', '.join(BACKENDS)}")
