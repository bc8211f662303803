"""Machines of the emulated apps: supervisor, health checks, registry, and one backend per kind of machine."""

from __future__ import annotations

from simulator.machines.backend import Backend, Exit, FindEdge, Observer, Placement
from simulator.machines.backends import (
    BACKENDS,
    DOCKER,
    PROCESS,
    SWARM,
    BackendKind,
    adapt_config,
    backend_name,
    make_backend,
)
from simulator.machines.processes.backend import ProcessBackend
from simulator.machines.supervisor import MachineSupervisor

__all__ = [
    "BACKENDS",
    "DOCKER",
    "PROCESS",
    "SWARM",
    "Backend",
    "BackendKind",
    "Exit",
    "FindEdge",
    "MachineSupervisor",
    "Observer",
    "Placement",
    "ProcessBackend",
    "adapt_config",
    "backend_name",
    "make_backend",
]
