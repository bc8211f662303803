"""Runs of a container of others that are over before flysim has looked at it, as of one that crashes at its start."""

from __future__ import annotations

from typing import Any

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.backend import Exit, Observer
from simulator.machines.docker.engine import Engine

_TAIL_LINES = 20
"""Enough for one that is not blank."""


class EarlyExits:
    """Tells of the first of them: nothing else would say why the machine gets no requests."""

    def __init__(self, engine: Engine, container_id: str, spec: MachineSpec, observer: Observer) -> None:
        self._engine = engine
        self._container_id = container_id
        self._spec = spec
        self._observer = observer
        self._is_under_way = False
        self._is_told = False

    def begin(self) -> None:
        """The engine says that it has started."""
        self._is_under_way = True

    def forget(self) -> None:
        """This one was seen to run."""
        self._is_under_way = self._is_told = False

    async def end(self, status: int) -> None:
        if not self._is_under_way:
            return
        self._is_under_way = False
        if self._is_told:
            return
        self._is_told = True
        words = (
            f"machine {self._spec.name} of app {self._spec.app} {Exit.of_status(status)} as soon as it was started: "
            f"{await self._last_words()}"
        )
        self._observer.problem_met(words, self._spec.id)

    async def _last_words(self) -> str:
        try:
            log: Any = await self._engine.do(self._engine.api.logs, self._container_id, tail=_TAIL_LINES)
        except EnvironmentFault:  # It is gone, or its log is kept elsewhere.
            return "the engine does not tell what it wrote"
        lines = [line.strip() for line in str(log, errors="replace").splitlines() if line.strip()]
        return (
            f'its last line is "{lines[-1]}"; docker logs {self._container_id[:12]} has them all'
            if lines
            else "it wrote nothing"
        )
