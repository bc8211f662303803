"""What others do to machines, on the fake backend: the fleet follows at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from simulator.config.model import MachineSpec
from simulator.errors import InputError, MachineFault
from simulator.events import MachineStateChanged, ProxyLogged
from simulator.machines.backend import Exit, Observer
from simulator.machines.fake import FakeApp, FakeBackend
from simulator.machines.observer import MachineObserver
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.model import App, MachineState
from tests.contract.harness import eventually
from tests.machines.test_supervisor import AMS, DFW, Harness, spec

TAKEN = spec(DFW, "dfw-1", is_taken=True)
NEW = spec("4d891ee9b43e08", "dfw-2", is_taken=True)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    for supervisor in harness.rooms:
        await supervisor.close()


def witness_of(supervisor: MachineSupervisor) -> MachineObserver:
    return supervisor._observer


async def test_a_machine_that_runs_already_is_taken_as_it_is(harness: Harness) -> None:
    supervisor = await harness.open_room(TAKEN)

    assert supervisor.machine(DFW).is_candidate


async def test_a_machine_that_joins_is_routed_to_once_it_is_healthy(harness: Harness) -> None:
    supervisor = await harness.open_room(spec())

    await harness.backend.begin(NEW)
    await eventually(lambda: supervisor.machine(NEW.id).is_candidate, "its first check")

    assert [machine.name for machine in supervisor.fleet.machines] == ["ams-1", "dfw-2"]


async def test_with_a_machine_of_an_app_that_nobody_knew_the_app_comes_too(harness: Harness) -> None:
    supervisor = await harness.open_room(spec())

    await harness.backend.begin(replace(NEW, app="shop"))
    await eventually(lambda: supervisor.machine(NEW.id).is_candidate, "its first check")

    assert list(supervisor.fleet.apps) == ["chat", "shop"]
    assert supervisor.fleet.candidates_by_distance("shop", "ams", 80) == ((supervisor.machine(NEW.id),),)


async def test_a_machine_that_is_paused_and_resumed_by_others_takes_nothing_meanwhile(
    harness: Harness,
) -> None:
    supervisor = await harness.open_room(TAKEN)

    witness_of(supervisor).machine_froze(DFW)
    paused = supervisor.machine(DFW)
    witness_of(supervisor).machine_thawed(DFW)
    await eventually(lambda: supervisor.machine(DFW).is_candidate, "its check after the pause")

    assert paused.state is MachineState.SUSPENDED
    assert not paused.is_candidate


async def test_a_machine_that_is_stopped_and_started_by_others_is_followed(harness: Harness) -> None:
    supervisor = await harness.open_room(TAKEN)

    harness.backend.exit(DFW, 0)
    stopped = supervisor.machine(DFW).state
    await harness.backend.begin(TAKEN)
    await eventually(lambda: supervisor.machine(DFW).is_candidate, "its check after the start")

    assert stopped is MachineState.STOPPED


async def test_a_machine_that_is_removed_by_others_is_gone_for_good(harness: Harness) -> None:
    supervisor = await harness.open_room(spec(), TAKEN)

    harness.backend.exit(DFW, -9)
    witness_of(supervisor).machine_left(DFW)
    await supervisor.reset()

    assert [machine.id for machine in supervisor.fleet.machines] == [AMS]


async def test_a_reset_keeps_the_machines_that_others_added(harness: Harness) -> None:
    supervisor = await harness.open_room(spec())
    await harness.backend.begin(NEW)
    await eventually(lambda: supervisor.machine(NEW.id).is_candidate, "its first check")

    await supervisor.reset()

    assert [machine.id for machine in supervisor.fleet.machines] == [AMS, NEW.id]


async def test_a_reset_starts_a_taken_machine_that_a_scenario_stopped(harness: Harness) -> None:
    supervisor = await harness.open_room(TAKEN)
    await supervisor.stop(DFW)

    await supervisor.reset()

    assert supervisor.machine(DFW).is_candidate


async def test_the_end_leaves_taken_machines_to_their_owner(harness: Harness) -> None:
    supervisor = await harness.open_room(TAKEN)

    await supervisor.close()

    assert MachineState.STOPPING not in harness.states(DFW)


async def test_a_taken_machine_that_is_ill_fails_the_start_unless_it_is_waited_for_patiently(
    harness: Harness,
) -> None:
    ill = replace(TAKEN, command=("ill", "{host}"), start_timeout_seconds=0.1)
    harness.backend.apps["ill"] = FakeApp(listens=False)

    with pytest.raises(MachineFault, match=r"dfw-1 of app chat was not healthy within 0\.1 s"):
        await harness.open_room(ill)
    patient = MachineSupervisor(
        [App("chat")], [ill], harness.backend, harness.bus, harness.clock, is_patient=True
    )
    harness.rooms.append(patient)
    await patient.open()

    assert patient.machine(DFW).state is MachineState.STARTED
    assert not patient.machine(DFW).healthy


async def test_a_machine_that_is_only_looked_up_may_not_be_stopped_from_here(harness: Harness) -> None:
    supervisor = await harness.open_room(spec(DFW, "dfw-1", lookup="dfw-1"))

    with pytest.raises(InputError, match="dfw-1 runs outside flysim, so it cannot be stopped"):
        await supervisor.stop(DFW)


async def test_what_is_told_of_a_machine_that_nobody_knows_changes_nothing(harness: Harness) -> None:
    supervisor = await harness.open_room(spec())
    before, witness = supervisor.fleet, witness_of(supervisor)

    witness.machine_began(NEW.id, supervisor._registry.find(AMS).placement)
    witness.machine_froze(NEW.id)
    witness.machine_thawed(NEW.id)
    witness.machine_exited(NEW.id, Exit(0))
    witness.machine_left(NEW.id)

    assert supervisor.fleet is before


class Mortal(FakeBackend):
    """One of its machines ends just after it has begun."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await super().watch(specs, observer)
        self.exit(DFW, 4)


async def test_one_that_died_before_it_was_looked_at_is_not_started_anew() -> None:
    harness = Harness(backend=Mortal())
    with pytest.raises(MachineFault, match="dfw-1 of app chat exited with status 4 before it was healthy"):
        await harness.open_room(TAKEN)
    states = [each.after for each in harness.events if isinstance(each, MachineStateChanged)]
    assert MachineState.STARTING not in states


class Resting(FakeBackend):
    """Somebody has stopped one of its machines, and paused another."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await super().watch(tuple(each for each in specs if each.id != DFW), observer)
        observer.machine_froze(NEW.id)


async def test_one_that_others_have_stopped_or_paused_is_woken() -> None:
    harness = Harness(backend=Resting())
    supervisor = await harness.open_room(TAKEN, NEW)
    assert all(machine.is_candidate for machine in supervisor.fleet.machines)
    await supervisor.close()


async def test_why_a_machine_of_others_does_not_get_well_is_told(harness: Harness) -> None:
    harness.backend.apps["deaf"] = FakeApp(listens=False)
    supervisor = await harness.open_room(spec())

    await harness.backend.begin(replace(NEW, command=("deaf", "{host}"), start_timeout_seconds=0.1))
    await eventually(lambda: problems(harness), "the word")

    (problem,) = problems(harness)
    assert (problem.machine_id, problem.app, problem.region) == (NEW.id, "chat", "dfw")
    assert "dfw-2 of app chat was not healthy within 0.1 s: nothing listens on " in problem.message
    assert "hint: it listens nowhere: let it listen on" in problem.message
    assert supervisor.machine(NEW.id).state is MachineState.STARTED


async def test_who_waits_for_a_machine_is_told_and_nobody_else(harness: Harness) -> None:
    harness.backend.apps["deaf"] = FakeApp(listens=False)
    with pytest.raises(MachineFault, match=r"was not healthy within 0\.1 s"):
        await harness.open_room(replace(TAKEN, command=("deaf", "{host}"), start_timeout_seconds=0.1))
    assert problems(harness) == []


def problems(harness: Harness) -> list[ProxyLogged]:
    return [each for each in harness.events if isinstance(each, ProxyLogged)]
