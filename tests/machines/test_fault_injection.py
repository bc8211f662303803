"""What is done to machines behind the fleet's back, on the fake backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from simulator.errors import InputError, MachineFault, WrongStateError
from simulator.machines.fake import FakeBackend
from simulator.machines.supervisor import MachineRoom
from simulator.routing.model import MachineState
from tests.contract.harness import eventually
from tests.machines.test_supervisor import AMS, DFW, Stage, spec

HOUR = 3600.0


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    for room in stage.rooms:
        await room.close()


def sleeps(stage: Stage, machine_id: str) -> bool:
    return not stage.backend._machines[machine_id].is_awake.is_set()


async def begin_start(stage: Stage, room: MachineRoom) -> asyncio.Task[None]:
    """Until it is launched and held up."""
    starting = asyncio.create_task(room.start(AMS))
    await eventually(lambda: room.machine(AMS).state is MachineState.STARTED, "the launch")
    assert sleeps(stage, AMS)
    return starting


async def test_a_frozen_machine_is_silent_and_the_fleet_is_told_nothing(stage: Stage) -> None:
    room = await stage.open_room()
    before, told = room.fleet, len(stage.events)
    await room.sabotage.freeze(AMS)
    assert sleeps(stage, AMS)
    assert room.fleet == before
    assert len(stage.events) == told
    await room.sabotage.thaw(AMS)
    assert not sleeps(stage, AMS)


async def test_only_a_machine_that_runs_can_be_frozen(stage: Stage) -> None:
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    room = await stage.open_room(spec(), spec(DFW, "dfw-1", command="", url=url))
    await room.stop(AMS)
    with pytest.raises(WrongStateError, match=r"ams-1 .* is stopped, so it cannot be frozen"):
        await room.sabotage.freeze(AMS)
    with pytest.raises(InputError, match="outside flysim, so it cannot be frozen"):
        await room.sabotage.freeze(DFW)
    with pytest.raises(InputError, match="outside flysim, so it cannot be held up"):
        room.sabotage.hold_starts(DFW, 1.0)
    assert not await room.sabotage.isolate(DFW)
    listener.close()


async def test_thawing_wakes_no_machine_that_was_suspended_meanwhile(stage: Stage) -> None:
    room = await stage.open_room()
    await room.sabotage.freeze(AMS)
    await room.suspend(AMS)
    await room.sabotage.thaw(AMS)
    assert sleeps(stage, AMS)


async def test_a_new_launch_ends_a_freeze(stage: Stage) -> None:
    room = await stage.open_room()
    await room.sabotage.freeze(AMS)
    await room.kill(AMS)
    await room.start(AMS)
    assert not sleeps(stage, AMS)


async def test_what_is_undone_for_a_machine_that_is_gone_is_no_matter(stage: Stage) -> None:
    room = await stage.open_room()
    await room.destroy(AMS)
    await room.sabotage.thaw(AMS)
    await room.sabotage.release_starts(AMS)
    await room.sabotage.rejoin(AMS)


async def test_a_start_is_held_up_until_the_simulated_clock_has_come_so_far(stage: Stage) -> None:
    room = await stage.open_room()
    await room.stop(AMS)
    room.sabotage.hold_starts(AMS, HOUR)
    starting = await begin_start(stage, room)
    # The fake's kernel listens even so.
    await eventually(lambda: "held up by a fault" in room.ailments()[AMS], "a check that does not pass")
    assert not starting.done()
    stage.clock.advance(HOUR)
    await starting
    assert not sleeps(stage, AMS)


async def test_a_start_that_is_held_up_goes_on_when_the_fault_ends(stage: Stage) -> None:
    room = await stage.open_room()
    await room.stop(AMS)
    room.sabotage.hold_starts(AMS, HOUR)
    starting = await begin_start(stage, room)
    await room.sabotage.release_starts(AMS)
    await starting
    assert not sleeps(stage, AMS)
    await room.kill(AMS)
    await room.start(AMS)
    assert not sleeps(stage, AMS)


async def test_each_launch_is_held_up_for_its_own_time(stage: Stage) -> None:
    room = await stage.open_room()
    room.sabotage.hold_starts(AMS, HOUR)
    starts = []
    for _ in range(2):
        await room.kill(AMS)
        starts.append(await begin_start(stage, room))
        stage.clock.advance(HOUR / 2)
    stage.clock.advance(HOUR / 4)
    assert sleeps(stage, AMS)
    await room.suspend(AMS)
    stage.clock.advance(HOUR)
    await eventually(lambda: not room._roster.find(AMS).is_held, "the end of the time")
    assert sleeps(stage, AMS)  # it was suspended meanwhile
    assert room.machine(AMS).state is MachineState.SUSPENDED
    await room.kill(AMS)
    for starting in starts:  # Neither was healthy before its end.
        with pytest.raises(MachineFault):
            await starting


class _Networked(FakeBackend):
    """One that can take a machine off its network."""

    def __init__(self) -> None:
        super().__init__()
        self.off: list[str] = []

    async def isolate(self, machine_id: str) -> bool:
        self.off.append(machine_id)
        return True

    async def rejoin(self, machine_id: str) -> None:
        self.off.remove(machine_id)


async def test_a_machine_is_taken_off_the_network_where_the_backend_can() -> None:
    backend = _Networked()
    stage = Stage(backend=backend)
    room = await stage.open_room()
    assert await room.sabotage.isolate(AMS)
    assert backend.off == [AMS]
    await room.sabotage.rejoin(AMS)
    assert backend.off == []
    await room.close()


async def test_what_held_up_a_start_is_over_when_it_runs_by_other_means(stage: Stage) -> None:
    room = await stage.open_room()
    await room.stop(AMS)
    room.sabotage.hold_starts(AMS, HOUR)
    starting = await begin_start(stage, room)
    await room.suspend(AMS)
    await room.start(AMS)  # Resumed, which is no launch.
    assert not sleeps(stage, AMS)
    await room.kill(AMS)
    starting.cancel()

    starting = await begin_start(stage, room)
    await room.kill(AMS)
    await stage.backend.begin(room.spec(AMS))  # By others, whose launch nobody holds up.
    await eventually(lambda: room.machine(AMS).healthy, "the first check")
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_machine_that_has_moved_is_as_held_up_as_before(stage: Stage) -> None:
    """As one is that was cut off from its network, and has another address since."""
    room = await stage.open_room()
    await room.stop(AMS)
    room.sabotage.hold_starts(AMS, HOUR)
    starting = await begin_start(stage, room)
    room._witness.machine_began(AMS, room._roster.find(AMS).placement)
    stage.clock.advance(HOUR)
    await starting
    assert not sleeps(stage, AMS)


async def test_one_fault_that_ends_does_not_wake_what_another_one_holds(stage: Stage) -> None:
    room = await stage.open_room()
    await room.stop(AMS)
    room.sabotage.hold_starts(AMS, HOUR)
    for _ in range(2):
        starting = await begin_start(stage, room)
        await room.sabotage.freeze(AMS)
        await room.sabotage.thaw(AMS)
        assert sleeps(stage, AMS)  # Its time is not over.

        await room.sabotage.freeze(AMS)
        stage.clock.advance(HOUR)
        await eventually(lambda: room._roster.find(AMS).holding.done(), "the end of the time")  # type: ignore[union-attr]
        assert sleeps(stage, AMS)  # It is frozen.

        await room.sabotage.thaw(AMS)
        assert not sleeps(stage, AMS)
        await starting
        await room.stop(AMS)


class Frostless(FakeBackend):
    """It can suspend nothing; or it can, and tells so only once `may_tell` is set."""

    may_tell: asyncio.Event | None = None

    async def suspend(self, machine_id: str) -> None:
        if self.may_tell is None:
            raise InputError("machine cannot be suspended: there is no freezer")
        await super().suspend(machine_id)
        await self.may_tell.wait()


async def test_a_start_that_cannot_be_held_up_is_none() -> None:
    stage = Stage(backend=Frostless())
    room = await stage.open_room()
    await room.stop(AMS)
    room.sabotage.hold_starts(AMS, HOUR)
    with pytest.raises(InputError, match="there is no freezer"):
        await room.start(AMS)
    assert room.machine(AMS).state is MachineState.FAILED
    await room.sabotage.release_starts(AMS)
    await room.start(AMS)
    assert room.machine(AMS).state is MachineState.STARTED
    await room.close()


async def test_a_freeze_that_is_given_up_on_its_way_is_thawed() -> None:
    backend = Frostless()
    backend.may_tell = asyncio.Event()
    stage = Stage(backend=backend)
    room = await stage.open_room()
    freezing = asyncio.create_task(room.sabotage.freeze(AMS))
    await eventually(lambda: sleeps(stage, AMS), "it is frozen")
    freezing.cancel()
    await asyncio.sleep(0)
    backend.may_tell.set()
    with pytest.raises(asyncio.CancelledError):
        await freezing
    assert not sleeps(stage, AMS)
    await room.close()


async def test_where_nothing_can_be_frozen_that_is_said_before_anything_is_done() -> None:
    backend = FakeBackend()
    backend.freezes = False
    stage = Stage(backend=backend)
    room = await stage.open_room()
    with pytest.raises(
        InputError, match=r"ams-1 cannot be frozen: .* no way to freeze\s.*\n  expected: .*fail_first"
    ):
        await room.sabotage.freeze(AMS)
    with pytest.raises(InputError, match="ams-1 cannot be held up"):
        room.sabotage.hold_starts(AMS, 1.0)
    await room.close()
