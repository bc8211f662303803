"""Runs the machines: starts their processes, hears their logs and exits, judges their health, keeps the fleet."""

from __future__ import annotations

from simulator.machines.backend import Backend, Exit, Observer, Placement
from simulator.machines.process import ProcessBackend
from simulator.machines.room import MachineRoom

__all__ = ["Backend", "Exit", "MachineRoom", "Observer", "Placement", "ProcessBackend"]
