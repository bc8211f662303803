"""Machines as tasks of a Docker Swarm, deployed as one stack on any number of hosts.

Swarm places and starts the machines; flysim finds them by their labels. The engine's SDK is imported on first use.
"""

from __future__ import annotations

from simulator.machines.swarm.backend import SwarmBackend, as_tasks
from simulator.machines.swarm.fleet_service import FleetService, services_of
from simulator.machines.swarm.stackfile import render_stack

__all__ = ["FleetService", "SwarmBackend", "as_tasks", "render_stack", "services_of"]
