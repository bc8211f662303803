"""What Fly's proxy does to machines on its own: starts one that a request waits for, stops those nobody needs.

Which machine, and when, is decided in `simulator.routing`; this carries it out and writes the proxy's log lines.
Sources: F-5.25 to F-5.37.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from simulator.clock import Clock
from simulator.errors import SimulatorError
from simulator.events import Bus, ProxyLogged
from simulator.machines import MachineRoom
from simulator.routing.balancing.autostop import machines_to_stop
from simulator.routing.balancing.load import Load
from simulator.routing.model import Machine
from simulator.routing.service import Autostop

AUTOSTOP_SECONDS = 300.0
"""F-5.32: "every few minutes" of simulated time; Fly does not say how many."""
_LOOK_SECONDS = 0.2
"""How often, really, to see whether the simulated clock has come to the next pass."""
_GOODBYE_SECONDS = 0.05
"""F-5.36: the proxy waits briefly between a GoAway and the stop."""

GoAway = Callable[[str], Awaitable[None]]
"""Tells the clients of a machine's open WebSockets that it is about to leave."""


class Upkeep:
    """Autostart and autostop for one fleet. `load` gives the router's load as it is."""

    def __init__(
        self, room: MachineRoom, load: Callable[[], Load], bus: Bus, clock: Clock, go_away: GoAway
    ) -> None:
        self._room = room
        self._load = load
        self._bus = bus
        self._clock = clock
        self._go_away = go_away
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._last_pass = clock.now()

    def open(self) -> None:
        """Begin to look after the machines."""
        self._sweeping = asyncio.create_task(self._sweep(), name="autostop")

    async def close(self) -> None:
        tasks = [*self._waking.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reset(self) -> None:
        """The clock was set back: the next pass is a whole while away."""
        self._last_pass = self._clock.now()

    # Autostart.

    def want(self, machine_id: str) -> None:
        """A request waits for this machine: start it, unless that is under way (F-1.59, F-5.25)."""
        if machine_id not in self._waking:
            task = asyncio.create_task(self._wake(machine_id), name=f"autostart {machine_id}")
            self._waking[machine_id] = task
            task.add_done_callback(lambda _: self._waking.pop(machine_id, None))

    async def _wake(self, machine_id: str) -> None:
        machine, started = self._room.machine(machine_id), self._clock.now()
        self._log(machine, "info", "Starting machine")
        try:
            await self._room.start(machine_id)
        except SimulatorError as error:
            problem = str(error).partition("\n")[0]
            self._log(machine, "error", f"[PM07] failed to change machine state: {problem}", code="PM07")
            return
        waited = f"{self._clock.now() - started:.3g}s"
        self._log(machine, "info", f"machine started in {waited}")
        self._log(machine, "info", f"machine became reachable in {waited}")

    # Autostop.

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._clock.now() - self._last_pass >= AUTOSTOP_SECONDS:
                self._last_pass = self._clock.now()
                await self.stop_idle()

    async def stop_idle(self) -> None:
        """One pass: at most one machine of each region and app (F-5.32, F-5.33)."""
        fleet = self._room.fleet
        chosen = [each for app in fleet.apps.values() for each in machines_to_stop(fleet, self._load(), app)]
        await asyncio.gather(*(self._retire(machine, how) for machine, how in chosen))

    async def _retire(self, machine: Machine, how: Autostop) -> None:
        self._log(
            machine, "info", f"App {machine.app} has excess capacity, autostopping machine {machine.id}"
        )
        with suppress(SimulatorError):  # it may have been stopped, or destroyed, by someone else meanwhile
            await self._room.cordon(machine.id)  # F-5.36
            await self.say_goodbye(machine.id)
            await (self._room.suspend if how is Autostop.SUSPEND else self._room.stop)(machine.id)
        with suppress(SimulatorError):
            await self._room.uncordon(machine.id)

    async def say_goodbye(self, machine_id: str) -> None:
        """Before a machine stops, its clients' WebSockets are closed in good order (F-5.36)."""
        await self._go_away(machine_id)
        await asyncio.sleep(_GOODBYE_SECONDS)

    def _log(self, machine: Machine, level: str, message: str, code: str | None = None) -> None:
        at = self._clock.now()
        self._bus.publish(ProxyLogged(at, machine.app, machine.id, machine.region, level, message, code))
