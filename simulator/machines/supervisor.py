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
from simulator.machines.fault_injection import Sabotage
from simulator.machines.lifecycle import ALIVE, require
from simulator.machines.machine_record import Slot, died_at_start, find_port_in_use, not_healthy_in_time
from simulator.machines.naming import clone_spec
from simulator.machines.observer import Witness
from simulator.machines.registry import Roster
from simulator.routing.model import App, Fleet, Machine, MachineState


class MachineRoom:
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
        self._roster = Roster(apps, bus, clock)
        self._roster.expect(specs)
        self._witness = Witness(self._roster, backend, clock)
        self._is_patient = is_patient
        self.sabotage = Sabotage(self._roster, backend, clock)
        """What faults do to machines, and the fleet is not told."""

    @property
    def fleet(self) -> Fleet:
        """All machines now, in the order of the config; destroyed ones are not among them."""
        return self._roster.fleet

    def machine(self, machine_id: str) -> Machine:
        return self._roster.find(machine_id).machine

    def ailments(self) -> dict[str, str]:
        """Of each machine that is started but not healthy, by id: why its latest check did not pass."""
        return {
            slot.spec.id: slot.monitor.last_failure
            for slot in self._roster
            if slot.machine.state is MachineState.STARTED and not slot.machine.healthy and slot.monitor
        }

    def spec(self, machine_id: str) -> MachineSpec:
        return self._roster.find(machine_id).spec

    async def open(self) -> None:
        """Start every machine at once; returns when all are healthy. When one fails, none is left running."""
        try:
            await self._backend.watch(self._roster.standing, self._witness)
            await _all_or_first_failure(asyncio.create_task(self._bring_up(slot)) for slot in self._roster)
            for slot in self._roster:
                if slot.machine.state is MachineState.STOPPED and slot.ending and not self._spares(slot):
                    raise await self._explain_death(slot, slot.ending, "before all machines were healthy")
        except BaseException:
            await self._abandon()
            raise

    async def close(self) -> None:
        """Stop every machine, each as `stop` does, all at once."""
        try:
            await asyncio.gather(*(self._bring_down(slot) for slot in self._roster))
        finally:
            await self._abandon()

    async def reset(self) -> None:
        """The machines of the config as after `open`: started, healthy, not cordoned; and no others."""
        standing = {spec.id for spec in self._roster.standing}
        await asyncio.gather(*(self._remove(slot) for slot in self._roster if slot.spec.id not in standing))
        self._roster.arrange()
        self._random = random.Random(self._seed)
        await _all_or_first_failure(asyncio.create_task(self._bring_back(slot)) for slot in self._roster)

    async def start(self, machine_id: str) -> None:
        """Start or resume it; returns when it is healthy.

        Raises MachineFault when it ends before that, or is not healthy in time; in the latter case it stays
        started, as on Fly (F-5.18).
        """
        slot = self._roster.find_own(machine_id, "started")
        async with slot.lock:
            require("started", slot.machine)
            await self._run(slot)
        await self._until_healthy(slot)

    async def stop(self, machine_id: str) -> None:
        """Its kill signal, then after its kill timeout the end (F-5.37)."""
        slot = self._roster.find_own(machine_id, "stopped")
        async with slot.lock:
            require("stopped", slot.machine)
            before = slot.machine.state
            self._roster.change(slot, MachineState.STOPPING, reason="asked to stop")
        try:
            await self._backend.stop(machine_id)
        except (InputError, EnvironmentFault):
            self._take_back(slot, before)
            raise

    async def kill(self, machine_id: str) -> None:
        """The end, at once; also of one that takes its time to stop."""
        slot = self._roster.find_own(machine_id, "killed")
        async with slot.lock:
            require("killed", slot.machine)
        await self._backend.kill(machine_id)

    async def suspend(self, machine_id: str) -> None:
        """Freeze it; `start` resumes it."""
        slot = self._roster.find_own(machine_id, "suspended")
        async with slot.lock:
            require("suspended", slot.machine)
            self._roster.change(slot, MachineState.SUSPENDING, reason="asked to suspend")
            try:
                await self._backend.suspend(machine_id)
            except (InputError, EnvironmentFault):
                self._take_back(slot, MachineState.STARTED)
                raise
            if slot.machine.state is MachineState.SUSPENDING:
                self._roster.change(slot, MachineState.SUSPENDED)

    async def destroy(self, machine_id: str, *, force: bool = True) -> None:
        """End it and forget it; without `force` one that runs is refused, as by Fly's Machines API."""
        slot = self._roster.find_own(machine_id, "destroyed")
        async with slot.lock:
            require("destroyed" if force else "destroyed without force", slot.machine)
        await self._remove(slot)

    async def cordon(self, machine_id: str) -> None:
        """Deliver nothing new to it (F-5.13)."""
        self._set_cordon(machine_id, "cordoned")

    async def uncordon(self, machine_id: str) -> None:
        self._set_cordon(machine_id, "uncordoned")

    async def clone(self, machine_id: str, *, region: str | None = None) -> Machine:
        """Another machine like this one, healthy, with a new id and the next name of its region."""
        original = self._roster.find_own(machine_id, "cloned").spec
        slot = self._roster.add(clone_spec(original, region, self._roster.specs_ever, self._random))
        try:
            await self.start(slot.spec.id)
        except BaseException:
            await self._remove(slot)
            raise
        return slot.machine

    async def _bring_up(self, slot: Slot) -> None:
        if slot.spec.is_found:
            await self._greet(slot)
            return
        if not slot.is_external:
            await self.start(slot.spec.id)
            return
        slot.await_outcome()
        self._roster.change(slot, MachineState.STARTED, reason="runs outside flysim")
        self._witness.examine(slot)
        await self._until_healthy(slot)

    async def _greet(self, slot: Slot) -> None:
        """One that others run is to be healthy, and is woken for that; with patience it is left as it is."""
        never_ran = slot.outcome is None
        if never_ran:
            self._roster.change(slot, MachineState.STOPPED, reason="it does not run")
        if self._spares(slot):
            return
        if never_ran or slot.machine.state is MachineState.SUSPENDED:
            if slot.spec.is_taken:
                await self.start(slot.spec.id)
        else:
            await self._until_healthy(slot)

    def _spares(self, slot: Slot) -> bool:
        return self._is_patient and slot.spec.is_found

    def _take_back(self, slot: Slot, state: MachineState) -> None:
        """What was asked cannot be done on this backend: the machine goes on as it was."""
        if slot.machine.state not in (MachineState.STOPPING, MachineState.SUSPENDING):
            return
        slot.await_outcome()
        self._roster.change(slot, state, reason="its backend cannot do what was asked")
        if state is MachineState.STARTED:
            self._witness.examine(slot)

    async def _bring_down(self, slot: Slot) -> None:
        async with slot.lock:  # It may be about to start.
            if slot.machine.state in ALIVE and not slot.is_external and not slot.spec.is_taken:
                self._roster.change(slot, MachineState.STOPPING, reason="flysim ends")
        if slot.machine.state is MachineState.STOPPING:
            await self._backend.stop(slot.spec.id)

    async def _bring_back(self, slot: Slot) -> None:
        if slot.machine.cordoned:
            self._roster.change(slot, cordoned=False, reason="reset")
        is_there = slot.machine.state is MachineState.STARTED and slot.machine.healthy
        if not slot.is_external and not is_there:
            await self._backend.kill(slot.spec.id)
            await self.start(slot.spec.id)

    async def _run(self, slot: Slot) -> None:
        is_resumed = slot.machine.state is MachineState.SUSPENDED
        outcome = slot.begin_start()
        self._roster.change(slot, MachineState.STARTING, reason="asked to start")
        if is_resumed:
            await self._backend.resume(slot.spec.id)
        else:
            await self._launch(slot)
        if not outcome.done():  # It may be over already.
            self._roster.change(slot, MachineState.STARTED)
            self._witness.examine(slot)

    async def _launch(self, slot: Slot) -> None:
        try:
            placement = await self._backend.launch(slot.spec, self._witness, dns_address=self._dns_address)
            self._roster.change(slot, placement=placement)
            await self.sabotage.launched(slot)
        except BaseException as error:
            reason = str(error).partition("\n")[0] or "its start was given up"
            self._roster.change(slot, MachineState.FAILED, reason=reason)
            raise

    async def _until_healthy(self, slot: Slot) -> None:
        outcome = slot.outcome
        assert outcome is not None
        slot.stop_doubting()  # Whoever waits is told.
        try:
            ending = await asyncio.wait_for(asyncio.shield(outcome), slot.spec.start_timeout_seconds)
        except TimeoutError:
            raise not_healthy_in_time(slot, await self._backend.listening_addresses(slot.spec.id)) from None
        if ending is not None:
            raise await self._explain_death(slot, ending)

    async def _explain_death(
        self, slot: Slot, ending: Exit, when: str = "before it was healthy"
    ) -> MachineFault:
        port = find_port_in_use(slot)
        holder = await self._backend.find_impostor(slot.spec.id, port) if port else None
        return died_at_start(slot, ending, when, port_in_use=port, holder=holder)

    async def _remove(self, slot: Slot) -> None:
        self._roster.change(slot, MachineState.DESTROYING, reason="asked to destroy")
        await self._backend.kill(slot.spec.id)
        await self._backend.release(slot.spec.id)
        self._roster.remove(slot)

    async def _abandon(self) -> None:
        for slot in self._roster:
            slot.stop_examining()
        await self.sabotage.close()
        await self._backend.close()

    def _set_cordon(self, machine_id: str, deed: str) -> None:
        slot = self._roster.find(machine_id)
        require(deed, slot.machine)
        self._roster.change(slot, cordoned=deed == "cordoned")


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
