"""The faults of one running simulator: brought about, remembered, and mended.

Each that comes or goes is told in the proxy's log, so that whatever it does has its cause in words there.
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
    """One that was brought about."""

    fault: Fault
    words: str
    machine: Machine | None
    undo: Undo

    def is_meant_by(self, which: Fault | str) -> bool:
        machine = self.machine
        names = (machine.id, machine.name, f"{machine.app}/{machine.name}") if machine else ()
        if isinstance(which, str):
            return which in (ALL, self.fault.key, *names)
        return self.fault == (which.at(machine) if machine and which.machine_key in names else which)


class Faults:
    """In the order in which they came about."""

    def __init__(self, context: FaultContext) -> None:
        self._ground = context
        self._active: list[ActiveFault] = []

    @property
    def active(self) -> tuple[ActiveFault, ...]:
        return tuple(self._active)

    async def inject(self, fault: Fault) -> None:
        """Raises SimulatorError, with nothing left of it, where it cannot be."""
        key = fault.machine_key
        machine = self._ground.find_machine(key) if key is not None else None
        words = fault.words(self._ground)
        self._log(f"{FAULT}: {words}", machine)
        try:
            undo = await fault.apply(self._ground)
        except BaseException:
            self._log(f"{FAULT} did not come about: {words}", machine)
            raise
        self._active.append(ActiveFault(fault.at(machine) if machine else fault, words, machine, undo))

    async def heal(self, which: Fault | str = ALL) -> None:
        """Undo one fault, all of a kind, all of a machine, or all. Raises WrongStateError where there is none.

        Raises what the first mend raises that fails, once all have been tried; such a fault stays active.
        """
        meant = [each for each in self._active if each.is_meant_by(which)]
        if not meant and which != ALL:
            known = "; ".join(f"{each.fault.key}: {each.words}" for each in self._active)
            what = f'"{which}"' if isinstance(which, str) else f"{which.key}, as it is written here"
            raise WrongStateError(
                f"nothing to heal: no fault is {what}", expected=known or "there is no fault at all"
            )
        await self._undo(meant)

    async def clear(self) -> None:
        """Undo all as `heal` does, but leave states of machines to whoever brings the fleet back, or ends it."""
        lasting = [each for each in self._active if not each.fault.is_state]
        self._active = list(lasting)
        await self._undo(lasting)

    async def _undo(self, meant: Sequence[ActiveFault]) -> None:
        failures = []
        for each in meant:
            try:
                await self._undo_one(each)
            except Exception as error:  # The others are to be mended nevertheless.
                why = str(error).partition("\n")[0]
                self._log(f"{FAULT} is not mended: {each.words}: {why}", each.machine)
                failures.append(error)
        if failures:
            raise failures[0]

    async def _undo_one(self, healed: ActiveFault) -> None:
        if healed not in self._active:
            return  # Somebody else mends it at the same time.
        self._active.remove(healed)
        try:
            await healed.undo()
        except BaseException:
            self._active.append(healed)
            raise
        self._log(f"{FAULT} is over: {healed.words}", healed.machine)

    def _log(self, message: str, machine: Machine | None) -> None:
        context = self._ground
        app = machine.app if machine else ""
        region = machine.region if machine else ""
        machine_id = machine.id if machine else None
        context.bus.publish(ProxyLogged(context.clock.now(), app, machine_id, region, "warn", message))
