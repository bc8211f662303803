"""What has been told of one machine, and what is to be told next: began and exited, by turns, as for any launch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, MachineFault
from simulator.machines.backend import Observer, Placement
from simulator.machines.swarm.task import UNSEEN, Phase, TaskSnapshot

Drain = Callable[[str, str], Awaitable[None]]
"""Of a service, and of one of its tasks: tell what that wrote last."""


class TrackedMachine:
    """One machine. Of every task that ran it tells the beginning, then its lines, then the end, each once."""

    def __init__(self, spec: MachineSpec, observer: Observer, drain: Drain) -> None:
        self.latest: TaskSnapshot | None = None
        self.gone = asyncio.Event()
        """Set while it does not run, as far as has been told."""
        self.gone.set()
        self._spec = spec
        self._observer = observer
        self._drain = drain
        self.told = ""
        """The task that was told to have begun, until it is told to have ended."""
        self._over = ""
        """A task of which nothing is to be told any more."""
        self._telling: asyncio.Task[None] | None = None
        self._starting: asyncio.Future[Placement | None] | None = None
        self._is_strict = False
        self._stuck_since: float | None = None

    @property
    def is_told(self) -> bool:
        return bool(self.told)

    @property
    def is_ending(self) -> bool:
        """Whether its end is being told."""
        return self._telling is not None and not self._telling.done()

    @property
    def is_coming(self) -> bool:
        return self.latest is not None and self.latest.phase is Phase.COMING

    @property
    def is_one_of_many(self) -> bool:
        return self.latest is not None and self.latest.is_one_of_many

    @property
    def service_id(self) -> str:
        return self.latest.service_id if self.latest else ""

    def await_start(self, *, is_strict: bool) -> asyncio.Future[Placement | None]:
        """Its placement once it runs. One that cannot start is a fault if `is_strict`, else None."""
        if self._starting is None or self._starting.done():
            self._starting = asyncio.get_running_loop().create_future()
            self._is_strict = is_strict
            if self.told and self.latest is not None:
                self._starting.set_result(self._place(self.latest))
        return self._starting

    def pass_over(self) -> None:
        """The task that there is belongs to the past: it is another that is waited for."""
        if self.latest is not None and not self.told:
            self._over = self.latest.task_id

    def take(self, now: TaskSnapshot | None) -> None:
        """What has been seen of it; None: it has no task."""
        if self.is_ending:
            return  # One thing after the other.
        self.latest = now or self.latest
        if self.told:
            if now is None or now.task_id != self.told or now.phase is Phase.ENDED:
                self._telling = asyncio.create_task(self._tell_end(now))
        elif now is not None and now.task_id != self._over and now.phase in (Phase.RUNNING, Phase.ENDED):
            self._tell_begin(now)

    def fails(self, now: TaskSnapshot, patience_seconds: float) -> bool:
        """Whether it is not going to run: Swarm has said so, or has found no place for it for a while."""
        if now.task_id == self._over or not now.is_stuck:
            self._stuck_since = None
            return now.phase is Phase.NEVER_RAN and now.task_id != self._over
        self._stuck_since = self._stuck_since or time.monotonic()
        return time.monotonic() - self._stuck_since >= patience_seconds

    def fail_start(self, fault: EnvironmentFault) -> None:
        if self._starting is None or self._starting.done():
            return
        if self._is_strict:
            self._starting.set_exception(fault)
        else:
            self._starting.set_result(None)

    def close(self) -> None:
        for each in (self._telling, self._starting):
            if each is not None:
                each.cancel()

    def _tell_begin(self, now: TaskSnapshot) -> None:
        self.told = now.task_id
        self.gone.clear()
        self._observer.machine_began(self._spec.id, self._place(now))
        if self._starting is not None and not self._starting.done():
            self._starting.set_result(self._place(now))

    def _place(self, now: TaskSnapshot) -> Placement:
        return now.placed_at(self._spec.internal_port)

    async def _tell_end(self, now: TaskSnapshot | None) -> None:
        ending = UNSEEN
        if now is not None:
            ending = now.ending if now.task_id == self.told else now.endings.get(self.told, UNSEEN)
        await self._drain(self.service_id, self.told)
        self._over, self.told = self.told, ""
        self._observer.machine_exited(self._spec.id, ending)
        self.gone.set()


def why_not_started(spec: MachineSpec, complaint: str, *, is_alone: bool) -> MachineFault:
    """In Swarm's own words, with what helps against them."""
    words = complaint or "it does not say why"
    return MachineFault(
        f"{spec.name} of app {spec.app}",
        f"was not started by Swarm: {words}",
        hint=_hint(spec, complaint, is_alone=is_alone),
    )


def _hint(spec: MachineSpec, complaint: str, *, is_alone: bool) -> str:
    if "No such image" in complaint or "pull access denied" in complaint:
        if is_alone:
            return f"docker build -t {spec.image} …, or docker pull {spec.image}"
        return (
            f"every node has to have {spec.image}: push it to a registry that all of them reach, and name that one "
            "in `image`, as in registry.example.com/app:1"
        )
    if "no suitable node" in complaint:
        return (
            f"give a node the label of the region: docker node update --label-add fly.region={spec.region} NODE; "
            "docker node ls tells which nodes are ready and active"
        )
    if "address already in use" in complaint or "port is already allocated" in complaint:
        return "its port is taken on that node: flysim lets each node choose a free one, with no `published` in `ports`"
    if "executable file not found" in complaint:
        return (
            f"the command {spec.command[0]!r} is not in the image"
            if spec.command
            else "the image has no such program"
        )
    return f"docker service ps --no-trunc shows all of it; the image is {spec.image}"
