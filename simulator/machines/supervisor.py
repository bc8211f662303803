"""The machine room: what can be done to the machines, and what becomes of each.

It decides and tells; a `Backend` does. Every change is a new `Fleet`, published in the same iteration of the
event loop in which it is known, so that nothing is delivered to a machine that is known to be gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from simulator.clock import Clock
from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError, MachineFault
from simulator.events import Bus
from simulator.machines.backend import Backend, Exit
from simulator.machines.fault_injection import MachineFaultInjector
from simulator.machines.lifecycle import ALIVE, require
from simulator.machines.machine_record import (
    MachineRecord,
    died_at_start,
    find_port_in_use,
    not_healthy_in_time,
)
from simulator.machines.naming import clone_spec
from simulator.machines.observer import MachineObserver
from simulator.machines.registry import MachineRegistry
from simulator.routing.model import App, Fleet, Machine, MachineState


class MachineSupervisor:
    """Runs the machines of `specs` on a backend: `open` starts them all, `close` stops them all.

    Each verb raises InputError when there is no such machine, when flysim does not run it, or when its state
    does not allow what is asked.
    """

    def __init__(
        self,
        apps: Iterable[App],
        specs: Iterable[MachineSpec],
        backend: Backend,
        bus: Bus,
        clock: Clock,
        *,
        dns_address: str = "",
        seed: int = 0,
        is_patient: bool = False,
    ) -> None:
        """`is_patient`: a machine that others run may be ill when we come, or not be there yet."""
        self._backend = backend
        self._clock = clock
        self._dns_address = dns_address
        self._seed = seed
        self._random = random.Random(seed)
        self._registry = MachineRegistry(apps, bus, clock)
        self._registry.expect(specs)
        self._observer = MachineObserver(self._registry, backend, clock)
        self._is_patient = is_patient
        self.fault_injector = MachineFaultInjector(self._registry, backend, clock)
        """What faults do to machines, and the fleet is not told."""

    @property
    def fleet(self) -> Fleet:
        """All machines now, in the order of the config; destroyed ones are not among them."""
        return self._registry.fleet

    def machine(self, machine_id: str) -> Machine:
        return self._registry.find(machine_id).machine

    def health_problems(self) -> dict[str, str]:
        """Of each machine that is started but not healthy, by id: why its latest check did not pass."""
        return {
            record.spec.id: record.monitor.last_failure
            for record in self._registry
            if record.machine.state is MachineState.STARTED and not record.machine.healthy and record.monitor
        }

    def spec(self, machine_id: str) -> MachineSpec:
        return self._registry.find(machine_id).spec

    async def open(self) -> None:
        """Start every machine at once; returns when all are healthy. When one fails, none is left running."""
        try:
            await self._backend.watch(self._registry.standing, self._observer)
            await _all_or_first_failure(
                asyncio.create_task(self._bring_up(record)) for record in self._registry
            )
            for record in self._registry:
                if (
                    record.machine.state is MachineState.STOPPED
                    and record.ending
                    and not self._spares(record)
                ):
                    raise await self._explain_death(record, record.ending, "before all machines were healthy")
        except BaseException:
            await self._abandon()
            raise

    async def close(self) -> None:
        """Stop every machine, each as `stop` does, all at once."""
        try:
            await asyncio.gather(*(self._bring_down(record) for record in self._registry))
        finally:
            await self._abandon()

    async def reset(self) -> None:
        """The machines of the config as after `open`: started, healthy, not cordoned; and no others."""
        standing = {spec.id for spec in self._registry.standing}
        await asyncio.gather(
            *(self._remove(record) for record in self._registry if record.spec.id not in standing)
        )
        self._registry.arrange()
        self._random = random.Random(self._seed)
        await _all_or_first_failure(
            asyncio.create_task(self._bring_back(record)) for record in self._registry
        )

    async def start(self, machine_id: str) -> None:
        """Start or resume it; returns when it is healthy.

        Raises MachineFault when it ends before that, or is not healthy in time; in the latter case it stays
        started, as on Fly (F-5.18).
        """
        record = self._registry.find_own(machine_id, "started")
        async with record.lock:
            require("started", record.machine)
            await self._run(record)
        await self._until_healthy(record)

    async def stop(self, machine_id: str) -> None:
        """Its kill signal, then after its kill timeout the end (F-5.37)."""
        record = self._registry.find_own(machine_id, "stopped")
        async with record.lock:
            require("stopped", record.machine)
            before = record.machine.state
            self._registry.change(record, MachineState.STOPPING, reason="asked to stop")
        try:
            await self._backend.stop(machine_id)
        except (InputError, EnvironmentFault):
            self._take_back(record, before)
            raise

    async def kill(self, machine_id: str) -> None:
        """The end, at once; also of one that takes its time to stop."""
        record = self._registry.find_own(machine_id, "killed")
        async with record.lock:
            require("killed", record.machine)
        await self._backend.kill(machine_id)

    async def suspend(self, machine_id: str) -> None:
        """Freeze it; `start` resumes it."""
        record = self._registry.find_own(machine_id, "suspended")
        async with record.lock:
            require("suspended", record.machine)
            self._registry.change(record, MachineState.SUSPENDING, reason="asked to suspend")
            try:
                await self._backend.suspend(machine_id)
            except (InputError, EnvironmentFault):
                self._take_back(record, MachineState.STARTED)
                raise
            if record.machine.state is MachineState.SUSPENDING:
                self._registry.change(record, MachineState.SUSPENDED)

    async def destroy(self, machine_id: str, *, force: bool = True) -> None:
        """End it and forget it; without `force` one that runs is refused, as by Fly's Machines API."""
        record = self._registry.find_own(machine_id, "destroyed")
        async with record.lock:
            require("destroyed" if force else "destroyed without force", record.machine)
        await self._remove(record)

    async def cordon(self, machine_id: str) -> None:
        """Deliver nothing new to it (F-5.13)."""
        self._set_cordon(machine_id, "cordoned")

    async def uncordon(self, machine_id: str) -> None:
        self._set_cordon(machine_id, "uncordoned")

    async def clone(self, machine_id: str, *, region: str | None = None) -> Machine:
        """Another machine like this one, healthy, with a new id and the next name of its region."""
        original = self._registry.find_own(machine_id, "cloned").spec
        record = self._registry.add(clone_spec(original, region, self._registry.specs_ever, self._random))
        try:
            await self.start(record.spec.id)
        except BaseException:
            await self._remove(record)
            raise
        return record.machine

    async def _bring_up(self, record: MachineRecord) -> None:
        if record.spec.is_found:
            await self._greet(record)
            return
        if not record.is_external:
            await self.start(record.spec.id)
            return
        record.await_outcome()
        self._registry.change(record, MachineState.STARTED, reason="runs outside flysim")
        self._observer.examine(record)
        await self._until_healthy(record)

    async def _greet(self, record: MachineRecord) -> None:
        """One that others run is to be healthy, and is woken for that; with patience it is left as it is."""
        never_ran = record.outcome is None
        if never_ran:
            self._registry.change(record, MachineState.STOPPED, reason="it does not run")
        if self._spares(record):
            return
        if never_ran or record.machine.state is MachineState.SUSPENDED:
            if record.spec.is_taken:
                await self.start(record.spec.id)
        else:
            await self._until_healthy(record)

    def _spares(self, record: MachineRecord) -> bool:
        return self._is_patient and record.spec.is_found

    def _take_back(self, record: MachineRecord, state: MachineState) -> None:
        """What was asked cannot be done on this backend: the machine goes on as it was."""
        if record.machine.state not in (MachineState.STOPPING, MachineState.SUSPENDING):
            return
        record.await_outcome()
        self._registry.change(record, state, reason="its backend cannot do what was asked")
        if state is MachineState.STARTED:
            self._observer.examine(record)

    async def _bring_down(self, record: MachineRecord) -> None:
        async with record.lock:  # It may be about to start.
            if record.machine.state in ALIVE and not record.is_external and not record.spec.is_taken:
                self._registry.change(record, MachineState.STOPPING, reason="flysim ends")
        if record.machine.state is MachineState.STOPPING:
            await self._backend.stop(record.spec.id)

    async def _bring_back(self, record: MachineRecord) -> None:
        if record.machine.cordoned:
            self._registry.change(record, cordoned=False, reason="reset")
        is_there = record.machine.state is MachineState.STARTED and record.machine.healthy
        if not record.is_external and not is_there:
            await self._backend.kill(record.spec.id)
            await self.start(record.spec.id)

    async def _run(self, record: MachineRecord) -> None:
        is_resumed = record.machine.state is MachineState.SUSPENDED
        outcome = record.begin_start()
        self._registry.change(record, MachineState.STARTING, reason="asked to start")
        if is_resumed:
            await self._backend.resume(record.spec.id)
        else:
            await self._launch(record)
        if not outcome.done():  # It may be over already.
            self._registry.change(record, MachineState.STARTED)
            self._observer.examine(record)

    async def _launch(self, record: MachineRecord) -> None:
        try:
            placement = await self._backend.launch(record.spec, self._observer, dns_address=self._dns_address)
            self._registry.change(record, placement=placement)
            await self.fault_injector.launched(record)
        except BaseException as error:
            reason = str(error).partition("\n")[0] or "its start was given up"
            self._registry.change(record, MachineState.FAILED, reason=reason)
            raise

    async def _until_healthy(self, record: MachineRecord) -> None:
        outcome = record.outcome
        assert outcome is not None
        record.stop_doubting()  # Whoever waits is told.
        try:
            ending = await asyncio.wait_for(asyncio.shield(outcome), record.spec.start_timeout_seconds)
        except TimeoutError:
            raise not_healthy_in_time(
                record, await self._backend.listening_addresses(record.spec.id)
            ) from None
        if ending is not None:
            raise await self._explain_death(record, ending)

    async def _explain_death(
        self, record: MachineRecord, ending: Exit, when: str = "before it was healthy"
    ) -> MachineFault:
        port = find_port_in_use(record)
        holder = await self._backend.find_port_conflict(record.spec.id, port) if port else None
        return died_at_start(record, ending, when, port_in_use=port, holder=holder)

    async def _remove(self, record: MachineRecord) -> None:
        self._registry.change(record, MachineState.DESTROYING, reason="asked to destroy")
        await self._backend.kill(record.spec.id)
        await self._backend.release(record.spec.id)
        self._registry.remove(record)

    async def _abandon(self) -> None:
        for record in self._registry:
            record.stop_examining()
        await self.fault_injector.close()
        await self._backend.close()

    def _set_cordon(self, machine_id: str, deed: str) -> None:
        record = self._registry.find(machine_id)
        require(deed, record.machine)
        self._registry.change(record, cordoned=deed == "cordoned")


async def _all_or_first_failure(starts: Iterable[asyncio.Task[None]]) -> None:
    """Wait for all; when one fails, the others are given up and its error is raised."""
    tasks = list(starts)
    try:
        for next_done in asyncio.as_completed(tasks):
            await next_done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
