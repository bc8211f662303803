"""Active faults of one running simulator: applied, recorded and undone.

Every change is written to the proxy's log, so that the log shows the cause of what the faults do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.errors import WrongStateError
from simulator.events import ProxyLogged
from simulator.faults.context import FaultContext
from simulator.routing.model import Machine
from simulator.routing.trace import FAULT

if TYPE_CHECKING:
    from simulator.faults.base import Fault, Undo

ALL = "all"


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault that has been applied and not undone yet."""

    fault: Fault
    description: str
    machine: Machine | None
    undo: Undo

    def matches(self, which: Fault | str) -> bool:
        """Whether `which` selects this fault: a fault, the key of a kind, a machine's id or name, or "all"."""
        machine = self.machine
        names = (machine.id, machine.name, f"{machine.app}/{machine.name}") if machine else ()
        if isinstance(which, str):
            return which in (ALL, self.fault.key, *names)
        return self.fault == (which.at(machine) if machine and which.machine_key in names else which)


class Faults:
    """Applies and undoes faults. `active` has them in the order of injection."""

    def __init__(self, context: FaultContext) -> None:
        self._context = context
        self._active: list[ActiveFault] = []

    @property
    def active(self) -> tuple[ActiveFault, ...]:
        return tuple(self._active)

    async def inject(self, fault: Fault) -> None:
        """Apply a fault. Raises SimulatorError if that fails; then nothing has changed."""
        key = fault.machine_key
        machine = self._context.find_machine(key) if key is not None else None
        description = fault.describe(self._context)
        self._log(f"{FAULT}: {description}", machine)
        try:
            undo = await fault.apply(self._context)
        except BaseException:
            self._log(f"{FAULT} not applied: {description}", machine)
            raise
        self._active.append(ActiveFault(fault.at(machine) if machine else fault, description, machine, undo))

    async def heal(self, which: Fault | str = ALL) -> None:
        """Undo one fault, all faults of a kind, all faults of a machine, or all faults.

        Raises WrongStateError if no fault matches. If a fault cannot be undone, it stays active, the
        others are still undone, and the first error is raised.
        """
        matching = [each for each in self._active if each.matches(which)]
        if not matching and which != ALL:
            active = "; ".join(f"{each.fault.key}: {each.description}" for each in self._active)
            if isinstance(which, str):
                machine = self._context.fleet.find(which)
                what = f'"{machine.name if machine else which}"'
            else:
                what = f"{which.key} with these values"
            raise WrongStateError(
                f"cannot heal: no active fault matches {what}",
                expected=f"one of the active faults ({active})"
                if active
                else "an active fault, but there is none",
            )
        await self._undo(matching)

    async def clear(self) -> None:
        """Undo all faults like `heal`, except machine states: the caller resets or stops the fleet itself."""
        remaining = [each for each in self._active if not each.fault.is_machine_state]
        self._active = list(remaining)
        await self._undo(remaining)

    async def _undo(self, faults: Sequence[ActiveFault]) -> None:
        failures = []
        for each in faults:
            try:
                await self._undo_one(each)
            except Exception as error:  # The remaining faults are undone all the same.
                reason = str(error).partition("\n")[0]
                self._log(f"{FAULT} not healed: {each.description}: {reason}", each.machine)
                failures.append(error)
        if failures:
            raise failures[0]

    async def _undo_one(self, active: ActiveFault) -> None:
        if active not in self._active:
            return  # A concurrent call undoes it.
        self._active.remove(active)
        try:
            await active.undo()
        except BaseException:
            self._active.append(active)
            raise
        self._log(f"{FAULT} healed: {active.description}", active.machine)

    def _log(self, message: str, machine: Machine | None) -> None:
        context = self._context
        app = machine.app if machine else ""
        region = machine.region if machine else ""
        machine_id = machine.id if machine else None
        context.bus.publish(ProxyLogged(context.clock.now(), app, machine_id, region, "warn", message))
