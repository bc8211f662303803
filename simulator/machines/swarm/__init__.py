"""Machines that are tasks of a Docker Swarm: one rendered file, `docker stack deploy`, and as many hosts as it takes.

Swarm decides where a machine stands and starts it; here it is found by its labels. What needs the engine's SDK is
loaded once an engine is asked for.
"""

from __future__ import annotations

from simulator.machines.swarm.backend import SwarmBackend, as_tasks
from simulator.machines.swarm.fleet_service import FleetService, services_of
from simulator.machines.swarm.stackfile import render_stack

__all__ = ["FleetService", "SwarmBackend", "as_tasks", "render_stack", "services_of"]
