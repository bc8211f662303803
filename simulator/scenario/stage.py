"""What scenarios need of a running simulator, and no more.

`simulator.runtime.Simulator` is one; a test brings its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from simulator.clock import Clock
from simulator.config.model import Config
from simulator.journal import Journal
from simulator.routing.model import Fleet, Machine
from simulator.routing.trace import Trace


class Finding(Protocol):
    """Something that diagnosis has to say about a trace."""

    @property
    def id(self) -> str: ...


class Stage(Protocol):
    """A fleet that is up, with its edges and its memory."""

    @property
    def config(self) -> Config: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def fleet(self) -> Fleet: ...
    @property
    def edges(self) -> Mapping[str, str]: ...
    @property
    def extra_ports(self) -> Mapping[str, Mapping[int, str]]: ...
    @property
    def control_url(self) -> str: ...

    def ready(self) -> dict[str, Any]: ...
    def find_machine(self, key: str) -> Machine: ...

    async def reset(self) -> None: ...
    async def start_machine(self, machine_id: str, /) -> Any: ...
    async def stop_machine(self, machine_id: str, /) -> Any: ...
    async def kill_machine(self, machine_id: str, /) -> Any: ...
    async def suspend_machine(self, machine_id: str, /) -> Any: ...
    async def destroy_machine(self, machine_id: str, /) -> Any: ...
    async def cordon(self, machine_id: str, /) -> Any: ...
    async def uncordon(self, machine_id: str, /) -> Any: ...
    async def clone_machine(self, machine_id: str, /, *, region: str | None) -> Machine: ...


class OpenStage(Protocol):
    """How the runner gets a stage; `free_ports` is always what it wants."""

    def __call__(
        self, config: Config, *, realtime: bool, seed: int
    ) -> AbstractAsyncContextManager[Stage]: ...


def find_findings(stage: Stage, trace: Trace) -> Sequence[Finding] | None:
    """What diagnosis says about `trace`; None from a stage without diagnosis."""
    diagnose = getattr(stage, "findings", None)
    return None if diagnose is None else tuple(diagnose(trace))
