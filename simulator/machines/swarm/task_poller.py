"""Looks after a stack: asks the manager for all its tasks about twice a second, and tells what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager, suppress

from simulator.config.model import Config, MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Observer
from simulator.machines.swarm.adoption import check, check_duplicate, join
from simulator.machines.swarm.manager import Manager
from simulator.machines.swarm.service_log import Line, ServiceLog
from simulator.machines.swarm.task import Phase, TaskSnapshot
from simulator.machines.swarm.task_tracker import TrackedMachine, why_not_started

PAUSE_SECONDS = 0.5
FAST_POLL_SECONDS = 0.1
"""Swarm forgets a task that was told to go a quarter of a second after its end."""
_STUCK_SECONDS = 5.0


class TaskPoller:
    """All machines of one stack; those that join are of the apps of `config`."""

    def __init__(
        self, manager: Manager, stack: str, config: Config, observer: Observer, *, since: str = ""
    ) -> None:
        """`since`: from when on the logs are of interest, in seconds since 1970."""
        self.specs: dict[str, MachineSpec] = {}
        self.tracked: dict[str, TrackedMachine] = {}
        self.is_ending = False
        """Whether machines that leave do so with us, so that nobody needs to be told."""
        self._manager = manager
        self._stack = stack
        self._config = config
        self._observer = observer
        self._since = since
        self._logs: dict[str, ServiceLog] = {}
        self._owners: dict[str, str] = {}
        """Task -> the machine that it is."""
        self._early: dict[str, list[Line]] = {}
        """Task that has not been told to run yet -> what it wrote: nobody would know whose words these are."""
        self._unseen: set[str] = set()
        """Tasks of which a line has come since the last look: it may have been too early to see them."""
        self._looking: asyncio.Task[None] | None = None
        self._seen: dict[str, TaskSnapshot] = {}
        self._looking_once = asyncio.Lock()
        self._hurried = 0
        self._is_one_leaving = False
        self._complaints: set[str] = set()
        self._earlier_complaints: set[str] = set()
        """Of the look before: one that lasts is told once."""
        self._poke = asyncio.Event()

    def open(self) -> None:
        self._looking = asyncio.create_task(self._keep_looking(), name=f"stack {self._stack}")

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for tracked in self.tracked.values():
            tracked.close()
        for log in self._logs.values():
            log.close()

    def track(self, machine_id: str) -> TrackedMachine:
        if machine_id not in self.tracked:
            self.tracked[machine_id] = TrackedMachine(self.specs[machine_id], self._observer, self._drain)
        return self.tracked[machine_id]

    @asynccontextmanager
    async def poll_soon(self) -> AsyncIterator[None]:
        """Look more often: something is about to happen."""
        self._hurried += 1
        self._poke.set()
        try:
            yield
        finally:
            self._hurried -= 1

    async def look(self) -> None:
        """Once; never two at a time, or the older would be told after the newer."""
        async with self._looking_once:
            self._earlier_complaints, self._complaints = self._complaints, set()
            await self._look()

    async def _look(self) -> None:
        news = await self._manager.look(self._stack)
        seen = self._seen = self._seen if news is None else news
        self._is_one_leaving = any(each.is_leaving for each in seen.values())
        vanished = [machine_id for machine_id in self.tracked if machine_id not in seen]
        services = await self._manager.services(self._stack) if vanished else {}
        for sighting in seen.values():
            self._take(sighting)
        self._forget()
        for machine_id in vanished:
            if machine_id in self.tracked:  # Somebody may have released it while the manager was asked.
                self._miss(machine_id, services)

    async def _keep_looking(self) -> None:
        while True:
            with suppress(TimeoutError):
                in_hurry = self._hurried or self._is_one_leaving
                async with asyncio.timeout(FAST_POLL_SECONDS if in_hurry else PAUSE_SECONDS):
                    await self._poke.wait()
            self._poke.clear()
            try:
                await self.look()
            except EnvironmentFault:
                pass  # It may answer again; until then, nothing is known.
            except Exception as error:  # Whatever it is, one bad look is not to be the last.
                self._complain(f"what Swarm says of the stack {self._stack} is not understood: {error!r}")

    def _take(self, now: TaskSnapshot) -> None:
        if not self._knows(now):
            return
        tracked = self.track(now.machine_id)
        self._owners[now.task_id] = now.machine_id
        self._log_of(now.service_id).open()
        tracked.take(now)
        if tracked.told == now.task_id:
            for line in self._early.pop(now.task_id, ()):
                self._tell_line(line)
        if tracked.fails(now, _STUCK_SECONDS):
            spec = self.specs[now.machine_id]
            tracked.fail_start(why_not_started(spec, now.complaint, is_alone=self._manager.is_alone))

    def _miss(self, machine_id: str, services: Container[str]) -> None:
        """Its task is no more: it was told to go, or the whole service was removed."""
        tracked = self.tracked[machine_id]
        tracked.take(None)
        has_left = bool(tracked.service_id) and (tracked.is_one_of_many or tracked.service_id not in services)
        if tracked.is_told or not (has_left or self.is_ending):
            return
        tracked.close()
        del self.tracked[machine_id]
        if not self.is_ending:
            self.specs.pop(machine_id, None)
            self._observer.machine_left(machine_id)

    def _knows(self, now: TaskSnapshot) -> bool:
        """Whether it is one of our machines, or one that has just come, of an app that we know."""
        is_known = now.machine_id in self.specs
        if now.phase in (Phase.ENDED, Phase.NEVER_RAN):
            return is_known
        try:
            if not is_known:
                self._admit(join(now, self._config, self.specs))
            elif now.task_id not in self._owners:
                check(now, self._config)
            check_duplicate(now)
        except InputError as error:
            if self._looking is None:  # Later it is nobody's fault here, and others are served meanwhile.
                raise
            self._complain(f"{error}", now.machine_id)
        return now.machine_id in self.specs

    def _admit(self, spec: MachineSpec) -> None:
        self.specs[spec.id] = spec
        self._observer.machine_joined(spec)

    def _complain(self, problem: str, machine_id: str = "") -> None:
        self._complaints.add(problem)
        if problem not in self._earlier_complaints:
            self._observer.problem_met(problem, machine_id if machine_id in self.tracked else None)

    def _log_of(self, service_id: str) -> ServiceLog:
        if service_id not in self._logs:
            self._logs[service_id] = ServiceLog(self._manager, service_id, self._tell_line, since=self._since)
        return self._logs[service_id]

    async def _drain(self, service_id: str, task_id: str) -> None:
        await self._log_of(service_id).drain(task_id)

    def _tell_line(self, line: Line) -> None:
        machine_id = self._owners.get(line.task_id)
        tracked = self.tracked.get(machine_id) if machine_id else None
        if machine_id and tracked and tracked.told == line.task_id:
            self._observer.line_logged(machine_id, line.stream, line.text)
        elif tracked or not machine_id:
            self._early.setdefault(line.task_id, []).append(line)
            self._unseen.add(line.task_id)

    def _forget(self) -> None:
        """Tasks that Swarm has forgotten, or this would grow for ever; their machines may still have a last word."""
        there = {each.task_id for each in self._seen.values()} | self._unseen
        known = there | {each.told for each in self.tracked.values()}
        self._owners = {each: whose for each, whose in self._owners.items() if each in known}
        self._early = {each: lines for each, lines in self._early.items() if each in there}
        self._unseen.clear()
        services = {each.service_id for each in self.tracked.values()}
        services |= {each.service_id for each in self._seen.values()}
        for service_id, log in tuple(self._logs.items()):
            log.keep(known)
            if service_id not in services:
                log.close()
                del self._logs[service_id]


def now_in_seconds() -> str:
    return str(int(time.time()))
