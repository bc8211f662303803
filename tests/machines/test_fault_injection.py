"""What is done to machines behind the fleet's back, on the fake backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from simulator.errors import InputError, MachineFault, WrongStateError
from simulator.machines.fake import FakeBackend
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.model import MachineState
from tests.contract.harness import eventually
from tests.machines.test_supervisor import AMS, DFW, Harness, spec

HOUR = 3600.0


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    for supervisor in harness.rooms:
        await supervisor.close()


def sleeps(harness: Harness, machine_id: str) -> bool:
    return not harness.backend._machines[machine_id].is_awake.is_set()


async def begin_start(harness: Harness, supervisor: MachineSupervisor) -> asyncio.Task[None]:
    """Until it is launched and held up."""
    starting = asyncio.create_task(supervisor.start(AMS))
    await eventually(lambda: supervisor.machine(AMS).state is MachineState.STARTED, "the launch")
    assert sleeps(harness, AMS)
    return starting


async def test_a_frozen_machine_is_silent_and_the_fleet_is_told_nothing(harness: Harness) -> None:
    supervisor = await harness.open_room()
    before, told = supervisor.fleet, len(harness.events)
    await supervisor.fault_injector.freeze(AMS)
    assert sleeps(harness, AMS)
    assert supervisor.fleet == before
    assert len(harness.events) == told
    await supervisor.fault_injector.thaw(AMS)
    assert not sleeps(harness, AMS)


async def test_only_a_machine_that_runs_can_be_frozen(harness: Harness) -> None:
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    supervisor = await harness.open_room(spec(), spec(DFW, "dfw-1", command="", url=url))
    await supervisor.stop(AMS)
    with pytest.raises(WrongStateError, match=r"ams-1 .* is stopped, so it cannot be frozen"):
        await supervisor.fault_injector.freeze(AMS)
    with pytest.raises(InputError, match="outside flysim, so it cannot be frozen"):
        await supervisor.fault_injector.freeze(DFW)
    with pytest.raises(InputError, match="outside flysim, so it cannot be held up"):
        supervisor.fault_injector.hold_starts(DFW, 1.0)
    assert not await supervisor.fault_injector.isolate(DFW)
    listener.close()


async def test_thawing_wakes_no_machine_that_was_suspended_meanwhile(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.fault_injector.freeze(AMS)
    await supervisor.suspend(AMS)
    await supervisor.fault_injector.thaw(AMS)
    assert sleeps(harness, AMS)


async def test_a_new_launch_ends_a_freeze(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.fault_injector.freeze(AMS)
    await supervisor.kill(AMS)
    await supervisor.start(AMS)
    assert not sleeps(harness, AMS)


async def test_what_is_undone_for_a_machine_that_is_gone_is_no_matter(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.destroy(AMS)
    await supervisor.fault_injector.thaw(AMS)
    await supervisor.fault_injector.release_starts(AMS)
    await supervisor.fault_injector.rejoin(AMS)


async def test_a_start_is_held_up_until_the_simulated_clock_has_come_so_far(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.stop(AMS)
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    # The fake's kernel listens even so.
    await eventually(
        lambda: "held up by a fault" in supervisor.health_problems()[AMS], "a check that does not pass"
    )
    assert not starting.done()
    harness.clock.advance(HOUR)
    await starting
    assert not sleeps(harness, AMS)


async def test_a_start_that_is_held_up_goes_on_when_the_fault_ends(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.stop(AMS)
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    await supervisor.fault_injector.release_starts(AMS)
    await starting
    assert not sleeps(harness, AMS)
    await supervisor.kill(AMS)
    await supervisor.start(AMS)
    assert not sleeps(harness, AMS)


async def test_each_launch_is_held_up_for_its_own_time(harness: Harness) -> None:
    supervisor = await harness.open_room()
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    starts = []
    for _ in range(2):
        await supervisor.kill(AMS)
        starts.append(await begin_start(harness, supervisor))
        harness.clock.advance(HOUR / 2)
    harness.clock.advance(HOUR / 4)
    assert sleeps(harness, AMS)
    await supervisor.suspend(AMS)
    harness.clock.advance(HOUR)
    await eventually(lambda: not supervisor._registry.find(AMS).is_held, "the end of the time")
    assert sleeps(harness, AMS)  # it was suspended meanwhile
    assert supervisor.machine(AMS).state is MachineState.SUSPENDED
    await supervisor.kill(AMS)
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
    harness = Harness(backend=backend)
    supervisor = await harness.open_room()
    assert await supervisor.fault_injector.isolate(AMS)
    assert backend.off == [AMS]
    await supervisor.fault_injector.rejoin(AMS)
    assert backend.off == []
    await supervisor.close()


async def test_what_held_up_a_start_is_over_when_it_runs_by_other_means(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.stop(AMS)
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    await supervisor.suspend(AMS)
    await supervisor.start(AMS)  # Resumed, which is no launch.
    assert not sleeps(harness, AMS)
    await supervisor.kill(AMS)
    starting.cancel()

    starting = await begin_start(harness, supervisor)
    await supervisor.kill(AMS)
    await harness.backend.begin(supervisor.spec(AMS))  # By others, whose launch nobody holds up.
    await eventually(lambda: supervisor.machine(AMS).healthy, "the first check")
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_machine_that_has_moved_is_as_held_up_as_before(harness: Harness) -> None:
    """As one is that was cut off from its network, and has another address since."""
    supervisor = await harness.open_room()
    await supervisor.stop(AMS)
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    supervisor._observer.machine_began(AMS, supervisor._registry.find(AMS).placement)
    harness.clock.advance(HOUR)
    await starting
    assert not sleeps(harness, AMS)


async def test_one_fault_that_ends_does_not_wake_what_another_one_holds(harness: Harness) -> None:
    supervisor = await harness.open_room()
    await supervisor.stop(AMS)
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    for _ in range(2):
        starting = await begin_start(harness, supervisor)
        await supervisor.fault_injector.freeze(AMS)
        await supervisor.fault_injector.thaw(AMS)
        assert sleeps(harness, AMS)  # Its time is not over.

        await supervisor.fault_injector.freeze(AMS)
        harness.clock.advance(HOUR)
        await eventually(lambda: supervisor._registry.find(AMS).holding.done(), "the end of the time")  # type: ignore[union-attr]
        assert sleeps(harness, AMS)  # It is frozen.

        await supervisor.fault_injector.thaw(AMS)
        assert not sleeps(harness, AMS)
        await starting
        await supervisor.stop(AMS)


class Frostless(FakeBackend):
    """It can suspend nothing; or it can, and tells so only once `may_tell` is set."""

    may_tell: asyncio.Event | None = None

    async def suspend(self, machine_id: str) -> None:
        if self.may_tell is None:
            raise InputError("machine cannot be suspended: there is no freezer")
        await super().suspend(machine_id)
        await self.may_tell.wait()


async def test_a_start_that_cannot_be_held_up_is_none() -> None:
    harness = Harness(backend=Frostless())
    supervisor = await harness.open_room()
    await supervisor.stop(AMS)
    supervisor.fault_injector.hold_starts(AMS, HOUR)
    with pytest.raises(InputError, match="there is no freezer"):
        await supervisor.start(AMS)
    assert supervisor.machine(AMS).state is MachineState.FAILED
    await supervisor.fault_injector.release_starts(AMS)
    await supervisor.start(AMS)
    assert supervisor.machine(AMS).state is MachineState.STARTED
    await supervisor.close()


async def test_a_freeze_that_is_given_up_on_its_way_is_thawed() -> None:
    backend = Frostless()
    backend.may_tell = asyncio.Event()
    harness = Harness(backend=backend)
    supervisor = await harness.open_room()
    freezing = asyncio.create_task(supervisor.fault_injector.freeze(AMS))
    await eventually(lambda: sleeps(harness, AMS), "it is frozen")
    freezing.cancel()
    await asyncio.sleep(0)
    backend.may_tell.set()
    with pytest.raises(asyncio.CancelledError):
        await freezing
    assert not sleeps(harness, AMS)
    await supervisor.close()


async def test_where_nothing_can_be_frozen_that_is_said_before_anything_is_done() -> None:
    backend = FakeBackend()
    backend.freezes = False
    harness = Harness(backend=backend)
    supervisor = await harness.open_room()
    with pytest.raises(
        InputError, match=r"ams-1 cannot be frozen: .* no way to freeze\s.*\n  expected: .*fail_first"
    ):
        await supervisor.fault_injector.freeze(AMS)
    with pytest.raises(InputError, match="ams-1 cannot be held up"):
        supervisor.fault_injector.hold_starts(AMS, 1.0)
    await supervisor.close()
