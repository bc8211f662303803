"""Interface of the running simulator for faults."""

from __future__ import annotations

from typing import Protocol

from simulator.clock import Clock
from simulator.config.model import Config
from simulator.events import Bus
from simulator.machines import MachineSupervisor
from simulator.network_conditions import NetworkConditions
from simulator.routing.model import Fleet, Machine


class FaultContext(Protocol):
    @property
    def config(self) -> Config: ...
    @property
    def fleet(self) -> Fleet: ...
    @property
    def supervisor(self) -> MachineSupervisor: ...
    @property
    def network(self) -> NetworkConditions: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def clock(self) -> Clock: ...

    def find_machine(self, key: str) -> Machine:
        """Find a machine by id, name or app/name. Raises InputError."""

    async def start_machine(self, machine_id: str, /) -> None: ...
    async def stop_machine(self, machine_id: str, /) -> None: ...
    async def kill_machine(self, machine_id: str, /) -> None: ...
    async def suspend_machine(self, machine_id: str, /) -> None: ...
