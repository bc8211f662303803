"""Driver of a soak run: starts flysim, runs the plan against it, and writes the history."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from pathlib import Path

from tests.soak.clients import Lane, port_of
from tests.soak.fleet import REPLAY_ERROR_SECONDS, FaultError, Fleet
from tests.soak.history import Recorder, merge
from tests.soak.plan import LANES, Plan, PlannedFault

SAMPLE_SECONDS = 1.0
WARM_UP_SECONDS = 2.0
"""Each run starts and ends without faults."""
GRACE_SECONDS = 2.0 + REPLAY_ERROR_SECONDS
"""How long a fault can have effects after its end: until the health check passes again and open retries end."""
QUIET_SECONDS = 15.0
"""The longest wait at the end until the resources are as at the start."""


class Run:
    """One run of `plan` for `seconds`, with about `rate` requests per second."""

    def __init__(self, plan: Plan, seconds: float, rate: float, folder: Path) -> None:
        self._plan = plan
        self._seconds = seconds
        self._rate = rate
        self._folder = folder
        self._recorder = Recorder(folder / "history.jsonl")
        self._fault_ids = count(1)
        self._fleet: Fleet

    async def execute(self) -> None:
        try:
            async with Fleet.start(self._folder, self._plan) as fleet:
                self._fleet = fleet
                self._recorder.write("start", seed=self._plan.seed, seconds=self._seconds, rate=self._rate)
                first = await self._sample("start")
                await self._run_load()
                await self._wait_until_quiet(first)
                await self._sample("end")
                status, left = await fleet.stop()
                self._recorder.write("exit", status=status, left=left)
                for line in fleet.find_errors():
                    self._recorder.write("output", line=line)
        finally:
            self._recorder.close()
            merge(self._recorder.path, sorted((self._folder / "machines").glob("*.jsonl")))

    async def _sample(self, phase: str) -> dict[str, object]:
        values = await self._fleet.sample()
        self._recorder.write("sample", phase=phase, **values)
        return values

    async def _run_load(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        ports = {region: port_of(url) for region, url in self._fleet.edges.items()}
        async with asyncio.TaskGroup() as group:
            for number in range(len(LANES)):
                group.create_task(self._run_lane(Lane(number, ports, self._recorder), end))
            group.create_task(self._sample_until(end))
            group.create_task(self._run_faults(end - WARM_UP_SECONDS - GRACE_SECONDS))

    async def _run_lane(self, lane: Lane, end: float) -> None:
        loop = asyncio.get_running_loop()
        start, seconds_per_request = loop.time(), len(LANES) / self._rate
        for session in self._plan.sessions(lane.number):
            await asyncio.sleep(start + lane.sent * seconds_per_request - loop.time())
            if loop.time() >= end:
                return
            if (
                start + lane.sent * seconds_per_request
            ) < loop.time() - 1:  # It is late: do not catch up in a burst.
                start = loop.time() - lane.sent * seconds_per_request
            await lane.run(session)

    async def _sample_until(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            await self._sample("load")
            await asyncio.sleep(SAMPLE_SECONDS)

    # Faults.

    async def _run_faults(self, end: float) -> None:
        """Start each fault after its pause, unless another one concerns the same machines, until `end`."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(WARM_UP_SECONDS)
        active: list[tuple[PlannedFault, asyncio.Task[None]]] = []
        async with asyncio.TaskGroup() as group:
            for fault in self._plan.faults():
                await asyncio.sleep(fault.pause)
                if loop.time() + fault.seconds > end:
                    break
                active = [(each, task) for each, task in active if not task.done()]
                if all(fault.machines != each.machines for each, _ in active):
                    active.append((fault, group.create_task(self._run_fault(fault))))
        await self._restore()

    async def _run_fault(self, fault: PlannedFault) -> None:
        number = next(self._fault_ids)
        machines = [machine.id for machine in fault.machines]
        self._recorder.write("fault", id=number, kind=fault.kind, machines=machines, values=fault.values)
        try:
            machines = await self._fleet.inject(fault)
            await asyncio.sleep(fault.seconds)
            await self._fleet.heal(fault, machines)
        except FaultError as error:
            self._recorder.write("note", id=number, kind=fault.kind, text=str(error))
            await self._restore()
        finally:
            self._recorder.write("healed", id=number, grace=GRACE_SECONDS, machines=machines)

    async def _restore(self) -> None:
        """Start each planned machine that is down, and wait until all are healthy."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + QUIET_SECONDS
        while loop.time() < deadline:
            down = [
                each for each in self._plan.machines if (await self._fleet.states()).get(each.id) != "started"
            ]
            if not down:
                return
            for machine in down:
                with suppress(FaultError):
                    await self._fleet.heal(PlannedFault("start", 0, 0, (machine,)), [machine.id])
            await asyncio.sleep(0.2)

    async def _wait_until_quiet(self, first: dict[str, object]) -> None:
        """Until the resources are as in `first`; the rules judge what is left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + QUIET_SECONDS
        names = ("fds", "children", "tasks")
        while loop.time() < deadline:
            values = await self._fleet.sample()
            if all(values[name] <= first[name] for name in names):  # type: ignore[operator]
                return
            await asyncio.sleep(0.5)
