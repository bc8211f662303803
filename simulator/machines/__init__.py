"""Runs the machines: starts their processes, hears their logs and exits, judges their health, keeps the fleet."""

from __future__ import annotations

from simulator.config.model import Config
from simulator.errors import InputError
from simulator.machines.backend import Backend, Exit, FindEdge, Observer, Placement
from simulator.machines.processes.backend import ProcessBackend
from simulator.machines.supervisor import MachineSupervisor

PROCESS, DOCKER, SWARM = "process", "docker", "swarm"
BACKENDS = (PROCESS, DOCKER, SWARM)
"""What machines can be, by the names that `--backend` takes; `swarm:NAME` are those of a stack that is there."""

__all__ = [
    "BACKENDS",
    "Backend",
    "Exit",
    "MachineSupervisor",
    "Observer",
    "Placement",
    "ProcessBackend",
    "backend_kind",
    "make_backend",
    "suit",
]


def backend_kind(name: str) -> str:
    """Which of BACKENDS a name means. Raises InputError for one that means none."""
    kind, colon, stack = name.partition(":")
    if kind not in BACKENDS or (colon and not (kind == SWARM and stack)):
        expected = f"one of {', '.join(BACKENDS)}, or {SWARM}:NAME for a stack that is deployed already"
        raise InputError(f"there is no backend {name!r}", expected=expected)
    return kind


def adapt_config(config: Config, backend: str) -> Config:
    """The same fleet, as that backend takes it."""
    if backend_kind(backend) != SWARM:
        return config
    from simulator.machines.swarm import as_tasks

    return as_tasks(config)


def make_backend(name: str, config: Config, find_edge: FindEdge) -> Backend:
    """`config` is one that suits it. Raises InputError for a name that is none."""
    if name == PROCESS:
        return ProcessBackend()
    if name == DOCKER:
        from simulator.machines.docker import DockerBackend

        return DockerBackend([app.app for app in config.apps], find_edge=find_edge)
    backend_kind(name)
    from simulator.machines.swarm import SwarmBackend

    return SwarmBackend(config, stack=name.partition(":")[2] or None)
