"""Interface of a running simulator that the control API needs; the simulator implements it.

Actions return when they are done. They raise InputError if the machine is in the wrong state, and MachineFault if the
machine fails to do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from simulator.clock import Clock
from simulator.config.model import Config, MachineSpec
from simulator.events import Bus
from simulator.journal import Journal
from simulator.results import Finding
from simulator.routing.model import Fleet, Machine


class Controls(Protocol):
    @property
    def config(self) -> Config: ...

    @property
    def fleet(self) -> Fleet: ...

    @property
    def edges(self) -> Mapping[str, str]:
        """Region -> base URL of its edge."""

    @property
    def bus(self) -> Bus: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def journal(self) -> Journal: ...

    def ready(self) -> dict[str, Any]:
        """The content of the ready file."""

    def findings(self) -> Iterable[Finding]:
        """The findings of diagnosis in the stored traces."""

    def health_problems(self) -> Mapping[str, str]:
        """Id of each machine that is started and unhealthy -> why its latest check failed."""

    def spec_of(self, machine_id: str) -> MachineSpec | None:
        """The machine's spec; None for an unknown id."""

    async def start_machine(self, machine_id: str, /) -> None: ...

    async def stop_machine(self, machine_id: str, /) -> None: ...

    async def kill_machine(self, machine_id: str, /) -> None: ...

    async def suspend_machine(self, machine_id: str, /) -> None: ...

    async def destroy_machine(self, machine_id: str, /) -> None: ...

    async def cordon(self, machine_id: str, /) -> None: ...

    async def uncordon(self, machine_id: str, /) -> None: ...

    async def clone_machine(self, machine_id: str, /, *, region: str | None) -> Machine: ...

    async def reset(self) -> None: ...
