"""Autostart and autostop of machines, as Fly's proxy does them.

`simulator.routing` decides which machine to start or stop, and when; this module does it and writes the proxy's log.
Sources: F-5.25 to F-5.37.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from simulator.clock import Clock
from simulator.errors import SimulatorError
from simulator.events import Bus, ProxyLogged
from simulator.machines import MachineSupervisor
from simulator.routing.balancing.autostop import machines_to_stop
from simulator.routing.balancing.load import Load
from simulator.routing.model import Machine
from simulator.routing.service import Autostop

AUTOSTOP_SECONDS = 300.0
"""F-5.32: "every few minutes" of simulated time; Fly does not say how many."""
_CHECK_SECONDS = 0.2
"""Real time between two checks of whether the next pass is due on the simulated clock."""
_WEBSOCKET_CLOSE_SECONDS = 0.05
"""F-5.36: the proxy waits briefly between GoAway and the stop."""

GoAway = Callable[[str], Awaitable[None]]
"""Sends GoAway to the clients of a machine's open WebSockets."""


class Autoscaler:
    """Autostart and autostop for one fleet. `load` returns the current load of the router."""

    def __init__(
        self, supervisor: MachineSupervisor, load: Callable[[], Load], bus: Bus, clock: Clock, go_away: GoAway
    ) -> None:
        self._supervisor = supervisor
        self._load = load
        self._bus = bus
        self._clock = clock
        self._go_away = go_away
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._passes: asyncio.Task[None] | None = None
        self._last_pass = clock.now()

    def open(self) -> None:
        """Start the autostop passes."""
        self._passes = asyncio.create_task(self._run_passes(), name="autostop")

    async def close(self) -> None:
        tasks = [*self._starting.values(), *([self._passes] if self._passes else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reset(self) -> None:
        """The clock was reset: the next pass is due after a full interval."""
        self._last_pass = self._clock.now()

    # Autostart.

    def request_start(self, machine_id: str) -> None:
        """Start a machine that a request waits for, unless a start is under way (F-1.59, F-5.25)."""
        if machine_id not in self._starting:
            task = asyncio.create_task(self._start(machine_id), name=f"autostart {machine_id}")
            self._starting[machine_id] = task
            task.add_done_callback(lambda _: self._starting.pop(machine_id, None))

    async def _start(self, machine_id: str) -> None:
        machine, started = self._supervisor.machine(machine_id), self._clock.now()
        self._log(machine, "info", "Starting machine")
        try:
            await self._supervisor.start(machine_id)
        except SimulatorError as error:
            problem = str(error).partition("\n")[0]
            self._log(machine, "error", f"[PM07] failed to change machine state: {problem}", code="PM07")
            return
        waited = f"{self._clock.now() - started:.3g}s"
        self._log(machine, "info", f"machine started in {waited}")
        self._log(machine, "info", f"machine became reachable in {waited}")

    # Autostop.

    async def _run_passes(self) -> None:
        while True:  # Not a retry: periodic work until the task is canceled.
            await asyncio.sleep(_CHECK_SECONDS)
            if self._clock.now() - self._last_pass >= AUTOSTOP_SECONDS:
                self._last_pass = self._clock.now()
                await self.stop_idle()

    async def stop_idle(self) -> None:
        """One pass: stop at most one machine per app and region (F-5.32, F-5.33)."""
        fleet = self._supervisor.fleet
        chosen = [each for app in fleet.apps.values() for each in machines_to_stop(fleet, self._load(), app)]
        await asyncio.gather(*(self._stop_excess(machine, how) for machine, how in chosen))

    async def _stop_excess(self, machine: Machine, how: Autostop) -> None:
        self._log(
            machine, "info", f"App {machine.app} has excess capacity, autostopping machine {machine.id}"
        )
        with suppress(SimulatorError):  # It may have been stopped or destroyed in the meantime.
            await self._supervisor.cordon(machine.id)  # F-5.36
            await self.close_websockets(machine.id)
            await (self._supervisor.suspend if how is Autostop.SUSPEND else self._supervisor.stop)(machine.id)
        with suppress(SimulatorError):
            await self._supervisor.uncordon(machine.id)

    async def close_websockets(self, machine_id: str) -> None:
        """Close the clients' WebSockets with GoAway before a machine stops (F-5.36)."""
        await self._go_away(machine_id)
        await asyncio.sleep(_WEBSOCKET_CLOSE_SECONDS)

    def _log(self, machine: Machine, level: str, message: str, code: str | None = None) -> None:
        at = self._clock.now()
        self._bus.publish(ProxyLogged(at, machine.app, machine.id, machine.region, level, message, code))
