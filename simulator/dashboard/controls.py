"""What the control API needs of a running simulator; whoever runs one implements it.

Verbs return once the thing is done, and raise SimulatorError where it cannot be: InputError when the machine
is in the wrong state for it, MachineFault when the machine did not do its part.
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
        """Region of the edge -> base URL."""

    @property
    def bus(self) -> Bus: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def journal(self) -> Journal: ...

    def ready(self) -> dict[str, Any]:
        """What the ready file holds."""

    def findings(self) -> Iterable[Finding]:
        """What diagnosis has to say of the exchanges that are remembered: dataclass values, or dicts."""

    def health_problems(self) -> Mapping[str, str]:
        """Machine that is started but not healthy -> why its latest check did not pass."""

    def spec_of(self, machine_id: str) -> MachineSpec | None:
        """How the machine is run; None if it is gone."""

    async def start_machine(self, machine_id: str, /) -> None: ...

    async def stop_machine(self, machine_id: str, /) -> None: ...

    async def kill_machine(self, machine_id: str, /) -> None: ...

    async def suspend_machine(self, machine_id: str, /) -> None: ...

    async def destroy_machine(self, machine_id: str, /) -> None: ...

    async def cordon(self, machine_id: str, /) -> None: ...

    async def uncordon(self, machine_id: str, /) -> None: ...

    async def clone_machine(self, machine_id: str, /, *, region: str | None) -> Machine: ...

    async def reset(self) -> None: ...
