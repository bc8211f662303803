"""Report of containers that exit before flysim has inspected them, for example in a crash loop."""

from __future__ import annotations

from typing import Any

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.backend import Exit, Observer
from simulator.machines.docker.engine import Engine

_TAIL_LINES = 20
"""The last line that is not blank is expected among these."""


class EarlyExits:
    """Reports the first early exit of one container: no other event explains why the machine gets no requests."""

    def __init__(self, engine: Engine, container_id: str, spec: MachineSpec, observer: Observer) -> None:
        self._engine = engine
        self._container_id = container_id
        self._spec = spec
        self._observer = observer
        self._is_pending = False
        self._is_reported = False

    def run_started(self) -> None:
        """The engine has reported a start."""
        self._is_pending = True

    def reset(self) -> None:
        """The container has been seen running."""
        self._is_pending = self._is_reported = False

    async def run_ended(self, exit_code: int) -> None:
        if not self._is_pending:
            return
        self._is_pending = False
        if self._is_reported:
            return
        self._is_reported = True
        problem = (
            f"machine {self._spec.name} of app {self._spec.app} {Exit.of_status(exit_code)} immediately after its "
            f"start: {await self._describe_log()}"
        )
        self._observer.problem_reported(problem, self._spec.id)

    async def _describe_log(self) -> str:
        try:
            log: Any = await self._engine.call(self._engine.api.logs, self._container_id, tail=_TAIL_LINES)
        except (
            EnvironmentFault
        ):  # The container has been removed, or its logging driver does not support reading.
            return "its log is not available"
        lines = [line.strip() for line in str(log, errors="replace").splitlines() if line.strip()]
        if not lines:
            return "its log is empty"
        return f'its last log line is "{lines[-1]}"\n  hint: docker logs {self._container_id[:12]} shows all lines'
