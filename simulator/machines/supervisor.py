"""Supervisor of the machines: start, stop, suspend, clone and destroy, on any backend.

The supervisor decides, a `Backend` acts. Every change publishes a new `Fleet` in the same iteration of the event loop,
so that the proxy does not deliver requests to a machine that is known to be gone.
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
from simulator.machines.lifecycle import ALIVE, require_state
from simulator.machines.machine_record import (
    MachineRecord,
    exited_during_start,
    find_port_in_use,
    not_healthy_in_time,
)
from simulator.machines.naming import clone_spec
from simulator.machines.observer import MachineObserver
from simulator.machines.registry import MachineRegistry
from simulator.routing.model import App, Fleet, Machine, MachineState


class MachineSupervisor:
    """Runs the machines of `specs` on a backend: `open` starts them all, `close` stops them all.

    Each action raises InputError if there is no such machine, if flysim does not run it, or if its state does not
    allow the action.
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
        allow_unhealthy: bool = False,
    ) -> None:
        """`allow_unhealthy`: a machine that runs outside flysim may be unhealthy or absent when `open` returns."""
        self._backend = backend
        self._clock = clock
        self._dns_address = dns_address
        self._seed = seed
        self._random = random.Random(seed)
        self._registry = MachineRegistry(apps, bus, clock)
        self._registry.set_baseline(specs)
        self._observer = MachineObserver(self._registry, backend, clock)
        self._allow_unhealthy = allow_unhealthy
        self.fault_injector = MachineFaultInjector(self._registry, backend, clock)
        """Injects faults into machines without informing the fleet."""

    @property
    def fleet(self) -> Fleet:
        """All machines that are not destroyed, in the order of the config."""
        return self._registry.fleet

    def machine(self, machine_id: str) -> Machine:
        return self._registry.find(machine_id).machine

    def health_problems(self) -> dict[str, str]:
        """The latest failed check of each machine that is started but not healthy, by machine id."""
        return {
            record.spec.id: record.monitor.last_failure
            for record in self._registry
            if record.machine.state is MachineState.STARTED and not record.machine.healthy and record.monitor
        }

    def spec(self, machine_id: str) -> MachineSpec:
        return self._registry.find(machine_id).spec

    async def open(self) -> None:
        """Start all machines in parallel; returns once all are healthy. If one fails, none is left running."""
        try:
            await self._backend.watch(self._registry.baseline, self._observer)
            await _wait_for_all(asyncio.create_task(self._open_machine(record)) for record in self._registry)
            for record in self._registry:
                exited = record.last_exit if record.machine.state is MachineState.STOPPED else None
                if exited and not self._may_be_unhealthy(record):
                    raise await self._make_exit_fault(record, exited, "before all machines were healthy")
        except BaseException:
            await self._release_all()
            raise

    async def close(self) -> None:
        """Stop all machines in parallel, each as `stop` does."""
        try:
            await asyncio.gather(*(self._close_machine(record) for record in self._registry))
        finally:
            await self._release_all()

    async def reset(self) -> None:
        """Restore the machines as after `open`: started, healthy, not cordoned; destroy all others."""
        baseline = {spec.id for spec in self._registry.baseline}
        await asyncio.gather(
            *(self._remove(record) for record in self._registry if record.spec.id not in baseline)
        )
        self._registry.restore_baseline()
        self._random = random.Random(self._seed)
        await _wait_for_all(asyncio.create_task(self._reset_machine(record)) for record in self._registry)

    async def start(self, machine_id: str) -> None:
        """Start or resume a machine; returns once it is healthy.

        Raises MachineFault if it exits before that, or is not healthy within its start timeout; in the latter case it
        stays started, as on Fly (F-5.18).
        """
        record = self._registry.find_own(machine_id, "started")
        async with record.lock:
            require_state("started", record.machine)
            await self._start_or_resume(record)
        await self._wait_until_healthy(record)

    async def stop(self, machine_id: str) -> None:
        """Send its kill signal; kill it after its kill timeout (F-5.37)."""
        record = self._registry.find_own(machine_id, "stopped")
        async with record.lock:
            require_state("stopped", record.machine)
            before = record.machine.state
            self._registry.change(record, MachineState.STOPPING, reason="stop requested")
        try:
            await self._backend.stop(machine_id)
        except (InputError, EnvironmentFault):
            self._restore_state(record, before)
            raise

    async def kill(self, machine_id: str) -> None:
        """Kill it at once, even while it is stopping."""
        record = self._registry.find_own(machine_id, "killed")
        async with record.lock:
            require_state("killed", record.machine)
        await self._backend.kill(machine_id)

    async def suspend(self, machine_id: str) -> None:
        """Suspend it; `start` resumes it."""
        record = self._registry.find_own(machine_id, "suspended")
        async with record.lock:
            require_state("suspended", record.machine)
            self._registry.change(record, MachineState.SUSPENDING, reason="suspend requested")
            try:
                await self._backend.suspend(machine_id)
            except (InputError, EnvironmentFault):
                self._restore_state(record, MachineState.STARTED)
                raise
            if record.machine.state is MachineState.SUSPENDING:
                self._registry.change(record, MachineState.SUSPENDED)

    async def destroy(self, machine_id: str, *, force: bool = True) -> None:
        """Kill and remove it; without `force` it must be stopped, as in Fly's Machines API."""
        record = self._registry.find_own(machine_id, "destroyed")
        async with record.lock:
            require_state("destroyed" if force else "destroyed without force", record.machine)
        await self._remove(record)

    async def cordon(self, machine_id: str) -> None:
        """Exclude it from new deliveries (F-5.13)."""
        self._set_cordon(machine_id, "cordoned")

    async def uncordon(self, machine_id: str) -> None:
        self._set_cordon(machine_id, "uncordoned")

    async def clone(self, machine_id: str, *, region: str | None = None) -> Machine:
        """Start a copy of a machine, with a new id and the next name of its region; returns once it is healthy."""
        original = self._registry.find_own(machine_id, "cloned").spec
        record = self._registry.add(clone_spec(original, region, self._registry.known_specs, self._random))
        try:
            await self.start(record.spec.id)
        except BaseException:
            await self._remove(record)
            raise
        return record.machine

    async def _open_machine(self, record: MachineRecord) -> None:
        if record.spec.may_run_already:
            await self._adopt(record)
            return
        if not record.is_external:
            await self.start(record.spec.id)
            return
        record.reset_start_outcome()
        self._registry.change(record, MachineState.STARTED, reason="runs outside flysim")
        self._observer.start_monitoring(record)
        await self._wait_until_healthy(record)

    async def _adopt(self, record: MachineRecord) -> None:
        """Use a machine that runs outside flysim: start it or wait until it is healthy, unless it may be unhealthy."""
        never_ran = record.start_outcome is None
        if never_ran:
            self._registry.change(record, MachineState.STOPPED, reason="not running")
        if self._may_be_unhealthy(record):
            return
        if never_ran or record.machine.state is MachineState.SUSPENDED:
            if record.spec.is_adopted:
                await self.start(record.spec.id)
        else:
            await self._wait_until_healthy(record)

    def _may_be_unhealthy(self, record: MachineRecord) -> bool:
        return self._allow_unhealthy and record.spec.may_run_already

    def _restore_state(self, record: MachineRecord, state: MachineState) -> None:
        """Restore the state from before an action that the backend could not carry out."""
        if record.machine.state not in (MachineState.STOPPING, MachineState.SUSPENDING):
            return
        record.reset_start_outcome()
        self._registry.change(record, state, reason="its backend failed to change its state")
        if state is MachineState.STARTED:
            self._observer.start_monitoring(record)

    async def _close_machine(self, record: MachineRecord) -> None:
        async with record.lock:  # A start may be under way.
            if record.machine.state in ALIVE and not record.is_external and not record.spec.is_adopted:
                self._registry.change(record, MachineState.STOPPING, reason="flysim exits")
        if record.machine.state is MachineState.STOPPING:
            await self._backend.stop(record.spec.id)

    async def _reset_machine(self, record: MachineRecord) -> None:
        if record.machine.cordoned:
            self._registry.change(record, cordoned=False, reason="reset")
        is_ready = record.machine.state is MachineState.STARTED and record.machine.healthy
        if not record.is_external and not is_ready:
            await self._backend.kill(record.spec.id)
            await self.start(record.spec.id)

    async def _start_or_resume(self, record: MachineRecord) -> None:
        is_resumed = record.machine.state is MachineState.SUSPENDED
        start_outcome = record.begin_start()
        self._registry.change(record, MachineState.STARTING, reason="start requested")
        if is_resumed:
            await self._backend.resume(record.spec.id)
        else:
            await self._launch(record)
        if not start_outcome.done():  # It may have exited already.
            self._registry.change(record, MachineState.STARTED)
            self._observer.start_monitoring(record)

    async def _launch(self, record: MachineRecord) -> None:
        try:
            placement = await self._backend.launch(record.spec, self._observer, dns_address=self._dns_address)
            self._registry.change(record, placement=placement)
            await self.fault_injector.delay_start(record)
        except BaseException as error:
            reason = str(error).partition("\n")[0] or "start canceled"
            self._registry.change(record, MachineState.FAILED, reason=reason)
            raise

    async def _wait_until_healthy(self, record: MachineRecord) -> None:
        start_outcome = record.start_outcome
        assert start_outcome is not None
        record.cancel_start_timeout()  # This caller gets the error.
        try:
            exited = await asyncio.wait_for(asyncio.shield(start_outcome), record.spec.start_timeout_seconds)
        except TimeoutError:
            raise not_healthy_in_time(
                record, await self._backend.listening_addresses(record.spec.id)
            ) from None
        if exited is not None:
            raise await self._make_exit_fault(record, exited)

    async def _make_exit_fault(
        self, record: MachineRecord, exited: Exit, when: str = "before it was healthy"
    ) -> MachineFault:
        port = find_port_in_use(record)
        owner = await self._backend.find_port_conflict(record.spec.id, port) if port else None
        return exited_during_start(record, exited, when, port_in_use=port, owner=owner)

    async def _remove(self, record: MachineRecord) -> None:
        self._registry.change(record, MachineState.DESTROYING, reason="destroy requested")
        await self._backend.kill(record.spec.id)
        await self._backend.release(record.spec.id)
        self._registry.remove(record)

    async def _release_all(self) -> None:
        for record in self._registry:
            record.stop_monitoring()
        await self.fault_injector.close()
        await self._backend.close()

    def _set_cordon(self, machine_id: str, action: str) -> None:
        record = self._registry.find(machine_id)
        require_state(action, record.machine)
        self._registry.change(record, cordoned=action == "cordoned")


async def _wait_for_all(starts: Iterable[asyncio.Task[None]]) -> None:
    """Wait for all; if one fails, cancel the others and raise its error.

    Not a TaskGroup: the caller needs the error itself, not an ExceptionGroup.
    """
    tasks = list(starts)
    try:
        for next_done in asyncio.as_completed(tasks):
            await next_done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
