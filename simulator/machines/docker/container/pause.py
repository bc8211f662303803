"""Whether a container is paused, by us or by somebody else; the fleet is told of the latter only."""

from __future__ import annotations

from simulator.errors import EnvironmentFault
from simulator.machines.backend import Observer
from simulator.machines.docker.engine import Engine, Refusal


class PauseState:
    def __init__(self, engine: Engine, container_id: str, machine_id: str, observer: Observer) -> None:
        self.is_ours = False
        """We have paused it: what the engine says of it is no news."""
        self.is_to_last = False
        """Somebody else has paused it, and it is paused when nobody here has to do with it."""
        self._engine = engine
        self._container_id = container_id
        self._machine_id = machine_id
        self._observer = observer
        self._was_paused = False
        self._is_resuming = False

    def begin(self) -> None:
        """It runs anew."""
        self.is_ours = self._was_paused = False

    async def pause(self) -> None:
        if self.is_ours:
            return
        self.is_ours = True
        try:
            await self._engine.do(self._engine.api.pause, self._container_id)
        except EnvironmentFault as error:
            if not (isinstance(error, Refusal) and error.is_out_of_date):
                self.is_ours = False
                raise

    async def resume(self) -> None:
        self._is_resuming = True
        try:
            await self._engine.do(self._engine.api.unpause, self._container_id)
        except Refusal:  # Of one that is not paused, with a status that depends on the engine.
            self._is_resuming = False
            if await self._is_paused():
                raise
        self.is_ours = False

    def take(self, is_paused: bool) -> None:
        """What the engine says of it now."""
        if is_paused == self._was_paused:
            return
        self._was_paused = is_paused
        if is_paused and not self.is_ours:
            self.is_to_last = True
            self._observer.machine_froze(self._machine_id)
        elif not is_paused:
            self.is_to_last = self.is_to_last and self._is_resuming
            self.is_ours = self._is_resuming = False
            self._observer.machine_thawed(self._machine_id)

    async def _is_paused(self) -> bool:
        try:
            described = await self._engine.do(self._engine.api.inspect_container, self._container_id)
            return bool(described["State"]["Paused"])
        except Refusal:
            return False
