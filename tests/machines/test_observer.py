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
from simulator.machines.observer import Witness
from simulator.machines.supervisor import MachineRoom
from simulator.routing.model import App, MachineState
from tests.contract.harness import eventually
from tests.machines.test_supervisor import AMS, DFW, Stage, spec

TAKEN = spec(DFW, "dfw-1", is_taken=True)
NEW = spec("4d891ee9b43e08", "dfw-2", is_taken=True)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    for room in stage.rooms:
        await room.close()


def witness_of(room: MachineRoom) -> Witness:
    return room._witness


async def test_a_machine_that_runs_already_is_taken_as_it_is(stage: Stage) -> None:
    room = await stage.open_room(TAKEN)

    assert room.machine(DFW).is_candidate


async def test_a_machine_that_joins_is_routed_to_once_it_is_healthy(stage: Stage) -> None:
    room = await stage.open_room(spec())

    await stage.backend.begin(NEW)
    await eventually(lambda: room.machine(NEW.id).is_candidate, "its first check")

    assert [machine.name for machine in room.fleet.machines] == ["ams-1", "dfw-2"]


async def test_with_a_machine_of_an_app_that_nobody_knew_the_app_comes_too(stage: Stage) -> None:
    room = await stage.open_room(spec())

    await stage.backend.begin(replace(NEW, app="shop"))
    await eventually(lambda: room.machine(NEW.id).is_candidate, "its first check")

    assert list(room.fleet.apps) == ["chat", "shop"]
    assert room.fleet.candidates_by_distance("shop", "ams", 80) == ((room.machine(NEW.id),),)


async def test_a_machine_that_is_paused_and_resumed_by_others_takes_nothing_meanwhile(stage: Stage) -> None:
    room = await stage.open_room(TAKEN)

    witness_of(room).machine_froze(DFW)
    paused = room.machine(DFW)
    witness_of(room).machine_thawed(DFW)
    await eventually(lambda: room.machine(DFW).is_candidate, "its check after the pause")

    assert paused.state is MachineState.SUSPENDED
    assert not paused.is_candidate


async def test_a_machine_that_is_stopped_and_started_by_others_is_followed(stage: Stage) -> None:
    room = await stage.open_room(TAKEN)

    stage.backend.exit(DFW, 0)
    stopped = room.machine(DFW).state
    await stage.backend.begin(TAKEN)
    await eventually(lambda: room.machine(DFW).is_candidate, "its check after the start")

    assert stopped is MachineState.STOPPED


async def test_a_machine_that_is_removed_by_others_is_gone_for_good(stage: Stage) -> None:
    room = await stage.open_room(spec(), TAKEN)

    stage.backend.exit(DFW, -9)
    witness_of(room).machine_left(DFW)
    await room.reset()

    assert [machine.id for machine in room.fleet.machines] == [AMS]


async def test_a_reset_keeps_the_machines_that_others_added(stage: Stage) -> None:
    room = await stage.open_room(spec())
    await stage.backend.begin(NEW)
    await eventually(lambda: room.machine(NEW.id).is_candidate, "its first check")

    await room.reset()

    assert [machine.id for machine in room.fleet.machines] == [AMS, NEW.id]


async def test_a_reset_starts_a_taken_machine_that_a_scenario_stopped(stage: Stage) -> None:
    room = await stage.open_room(TAKEN)
    await room.stop(DFW)

    await room.reset()

    assert room.machine(DFW).is_candidate


async def test_the_end_leaves_taken_machines_to_their_owner(stage: Stage) -> None:
    room = await stage.open_room(TAKEN)

    await room.close()

    assert MachineState.STOPPING not in stage.states(DFW)


async def test_a_taken_machine_that_is_ill_fails_the_start_unless_it_is_waited_for_patiently(
    stage: Stage,
) -> None:
    ill = replace(TAKEN, command=("ill", "{host}"), start_timeout_seconds=0.1)
    stage.backend.apps["ill"] = FakeApp(listens=False)

    with pytest.raises(MachineFault, match=r"dfw-1 of app chat was not healthy within 0\.1 s"):
        await stage.open_room(ill)
    patient = MachineRoom([App("chat")], [ill], stage.backend, stage.bus, stage.clock, is_patient=True)
    stage.rooms.append(patient)
    await patient.open()

    assert patient.machine(DFW).state is MachineState.STARTED
    assert not patient.machine(DFW).healthy


async def test_a_machine_that_is_only_looked_up_may_not_be_stopped_from_here(stage: Stage) -> None:
    room = await stage.open_room(spec(DFW, "dfw-1", lookup="dfw-1"))

    with pytest.raises(InputError, match="dfw-1 runs outside flysim, so it cannot be stopped"):
        await room.stop(DFW)


async def test_what_is_told_of_a_machine_that_nobody_knows_changes_nothing(stage: Stage) -> None:
    room = await stage.open_room(spec())
    before, witness = room.fleet, witness_of(room)

    witness.machine_began(NEW.id, room._roster.find(AMS).placement)
    witness.machine_froze(NEW.id)
    witness.machine_thawed(NEW.id)
    witness.machine_exited(NEW.id, Exit(0))
    witness.machine_left(NEW.id)

    assert room.fleet is before


class Mortal(FakeBackend):
    """One of its machines ends just after it has begun."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await super().watch(specs, observer)
        self.exit(DFW, 4)


async def test_one_that_died_before_it_was_looked_at_is_not_started_anew() -> None:
    stage = Stage(backend=Mortal())
    with pytest.raises(MachineFault, match="dfw-1 of app chat exited with status 4 before it was healthy"):
        await stage.open_room(TAKEN)
    states = [each.after for each in stage.events if isinstance(each, MachineStateChanged)]
    assert MachineState.STARTING not in states


class Resting(FakeBackend):
    """Somebody has stopped one of its machines, and paused another."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await super().watch(tuple(each for each in specs if each.id != DFW), observer)
        observer.machine_froze(NEW.id)


async def test_one_that_others_have_stopped_or_paused_is_woken() -> None:
    stage = Stage(backend=Resting())
    room = await stage.open_room(TAKEN, NEW)
    assert all(machine.is_candidate for machine in room.fleet.machines)
    await room.close()


async def test_why_a_machine_of_others_does_not_get_well_is_told(stage: Stage) -> None:
    stage.backend.apps["deaf"] = FakeApp(listens=False)
    room = await stage.open_room(spec())

    await stage.backend.begin(replace(NEW, command=("deaf", "{host}"), start_timeout_seconds=0.1))
    await eventually(lambda: problems(stage), "the word")

    (problem,) = problems(stage)
    assert (problem.machine_id, problem.app, problem.region) == (NEW.id, "chat", "dfw")
    assert "dfw-2 of app chat was not healthy within 0.1 s: nothing listens on " in problem.message
    assert "mend: it listens nowhere: let it listen on" in problem.message
    assert room.machine(NEW.id).state is MachineState.STARTED


async def test_who_waits_for_a_machine_is_told_and_nobody_else(stage: Stage) -> None:
    stage.backend.apps["deaf"] = FakeApp(listens=False)
    with pytest.raises(MachineFault, match=r"was not healthy within 0\.1 s"):
        await stage.open_room(replace(TAKEN, command=("deaf", "{host}"), start_timeout_seconds=0.1))
    assert problems(stage) == []


def problems(stage: Stage) -> list[ProxyLogged]:
    return [each for each in stage.events if isinstance(each, ProxyLogged)]
