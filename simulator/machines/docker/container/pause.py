"""Pause state of a container: paused by flysim or externally. Only the latter is reported to the observer."""

from __future__ import annotations

from simulator.errors import EnvironmentFault
from simulator.machines.backend import Observer
from simulator.machines.docker.engine import Engine, EngineError


class PauseState:
    def __init__(self, engine: Engine, container_id: str, machine_id: str, observer: Observer) -> None:
        self.is_ours = False
        """Paused by flysim: `update` does not report it."""
        self.stays_paused = False
        """Paused externally, so `MachineContainer.restore` leaves it paused."""
        self._engine = engine
        self._container_id = container_id
        self._machine_id = machine_id
        self._observer = observer
        self._is_paused = False
        self._is_resuming = False

    def reset(self) -> None:
        """A new run has started."""
        self.is_ours = self._is_paused = False

    async def pause(self) -> None:
        if self.is_ours:
            return
        self.is_ours = True
        try:
            await self._engine.call(self._engine.api.pause, self._container_id)
        except EnvironmentFault as error:
            if not (isinstance(error, EngineError) and error.is_gone_or_conflict):
                self.is_ours = False
                raise

    async def resume(self) -> None:
        self._is_resuming = True
        try:
            await self._engine.call(self._engine.api.unpause, self._container_id)
        except EngineError:  # If the container is not paused, the status depends on the engine.
            self._is_resuming = False
            if await self._inspect_paused():
                raise
        self.is_ours = False

    def update(self, is_paused: bool) -> None:
        """Take over the state that the engine reports."""
        if is_paused == self._is_paused:
            return
        self._is_paused = is_paused
        if is_paused and not self.is_ours:
            self.stays_paused = True
            self._observer.machine_paused(self._machine_id)
        elif not is_paused:
            self.stays_paused = self.stays_paused and self._is_resuming
            self.is_ours = self._is_resuming = False
            self._observer.machine_unpaused(self._machine_id)

    async def _inspect_paused(self) -> bool:
        try:
            attrs = await self._engine.call(self._engine.api.inspect_container, self._container_id)
            return bool(attrs["State"]["Paused"])
        except EngineError:
            return False
