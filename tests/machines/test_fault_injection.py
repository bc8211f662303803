"""Fault injection for machines, on the fake backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from simulator.errors import InputError, MachineFault, WrongStateError
from simulator.machines.fake import FakeBackend
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.model import MachineState
from simulator.testing import eventually
from tests.machines.test_supervisor import AMS, DFW, Harness, spec

HOUR = 3600.0


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    for supervisor in harness.supervisors:
        await supervisor.close()


def is_suspended(harness: Harness, machine_id: str) -> bool:
    return not harness.backend._machines[machine_id].is_awake.is_set()


async def begin_start(harness: Harness, supervisor: MachineSupervisor) -> asyncio.Task[None]:
    """Start a machine, and return once it is launched and suspended."""
    starting = asyncio.create_task(supervisor.start(AMS))
    await eventually(lambda: supervisor.machine(AMS).state is MachineState.STARTED, "the launch")
    assert is_suspended(harness, AMS)
    return starting


async def test_a_frozen_machine_does_not_respond_and_the_fleet_is_not_informed(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    before, published = supervisor.fleet, len(harness.events)
    await supervisor.fault_injector.freeze(AMS)
    assert is_suspended(harness, AMS)
    assert supervisor.fleet == before
    assert len(harness.events) == published
    await supervisor.fault_injector.thaw(AMS)
    assert not is_suspended(harness, AMS)


async def test_only_a_running_machine_can_be_frozen(harness: Harness) -> None:
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    supervisor = await harness.open_supervisor(spec(), spec(DFW, "dfw-1", command="", url=url))
    await supervisor.stop(AMS)
    with pytest.raises(WrongStateError, match=r"ams-1 .* is stopped, so it cannot be frozen"):
        await supervisor.fault_injector.freeze(AMS)
    with pytest.raises(InputError, match="outside flysim, so it cannot be frozen"):
        await supervisor.fault_injector.freeze(DFW)
    with pytest.raises(InputError, match="outside flysim, so it cannot be delayed"):
        supervisor.fault_injector.delay_starts(DFW, 1.0)
    assert not await supervisor.fault_injector.isolate(DFW)
    listener.close()


async def test_thawing_does_not_resume_a_machine_that_was_suspended_in_the_meantime(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.fault_injector.freeze(AMS)
    await supervisor.suspend(AMS)
    await supervisor.fault_injector.thaw(AMS)
    assert is_suspended(harness, AMS)


async def test_a_new_launch_ends_a_freeze(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.fault_injector.freeze(AMS)
    await supervisor.kill(AMS)
    await supervisor.start(AMS)
    assert not is_suspended(harness, AMS)


async def test_ending_a_fault_of_a_destroyed_machine_does_nothing(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.destroy(AMS)
    await supervisor.fault_injector.thaw(AMS)
    await supervisor.fault_injector.end_start_delay(AMS)
    await supervisor.fault_injector.rejoin(AMS)


async def test_a_start_is_delayed_on_the_simulated_clock(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.stop(AMS)
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    # The fake listens even while it is suspended.
    await eventually(
        lambda: "a fault delays its start" in supervisor.health_problems()[AMS], "a failed check"
    )
    assert not starting.done()
    harness.clock.advance(HOUR)
    await starting
    assert not is_suspended(harness, AMS)


async def test_a_delayed_start_continues_when_the_fault_ends(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.stop(AMS)
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    await supervisor.fault_injector.end_start_delay(AMS)
    await starting
    assert not is_suspended(harness, AMS)
    await supervisor.kill(AMS)
    await supervisor.start(AMS)
    assert not is_suspended(harness, AMS)


async def test_each_launch_is_delayed_separately(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    starts = []
    for _ in range(2):
        await supervisor.kill(AMS)
        starts.append(await begin_start(harness, supervisor))
        harness.clock.advance(HOUR / 2)
    harness.clock.advance(HOUR / 4)
    assert is_suspended(harness, AMS)
    await supervisor.suspend(AMS)
    harness.clock.advance(HOUR)
    await eventually(lambda: not supervisor._registry.find(AMS).is_start_delayed, "the end of the delay")
    assert is_suspended(harness, AMS)  # it was suspended in the meantime
    assert supervisor.machine(AMS).state is MachineState.SUSPENDED
    await supervisor.kill(AMS)
    for starting in starts:  # Neither was healthy before its exit.
        with pytest.raises(MachineFault):
            await starting


class _Networked(FakeBackend):
    """A backend that can isolate a machine."""

    def __init__(self) -> None:
        super().__init__()
        self.isolated: list[str] = []

    async def isolate(self, machine_id: str) -> bool:
        self.isolated.append(machine_id)
        return True

    async def rejoin(self, machine_id: str) -> None:
        self.isolated.remove(machine_id)


async def test_a_machine_is_isolated_where_the_backend_can() -> None:
    backend = _Networked()
    harness = Harness(backend=backend)
    supervisor = await harness.open_supervisor()
    assert await supervisor.fault_injector.isolate(AMS)
    assert backend.isolated == [AMS]
    await supervisor.fault_injector.rejoin(AMS)
    assert backend.isolated == []
    await supervisor.close()


async def test_a_delay_ends_when_the_machine_is_resumed_or_started_externally(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.stop(AMS)
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    await supervisor.suspend(AMS)
    await supervisor.start(AMS)  # Resuming is not a launch.
    assert not is_suspended(harness, AMS)
    await supervisor.kill(AMS)
    starting.cancel()

    starting = await begin_start(harness, supervisor)
    await supervisor.kill(AMS)
    await harness.backend.start_externally(supervisor.spec(AMS))  # External launches are not delayed.
    await eventually(lambda: supervisor.machine(AMS).healthy, "the first check")
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_machine_that_moves_during_a_delayed_start_stays_delayed(harness: Harness) -> None:
    """For example a machine that was isolated and got another address when it rejoined."""
    supervisor = await harness.open_supervisor()
    await supervisor.stop(AMS)
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    starting = await begin_start(harness, supervisor)
    supervisor._observer.machine_started(AMS, supervisor._registry.find(AMS).placement)
    harness.clock.advance(HOUR)
    await starting
    assert not is_suspended(harness, AMS)


async def test_ending_one_fault_does_not_resume_a_machine_that_another_fault_stops(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.stop(AMS)
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    for _ in range(2):
        starting = await begin_start(harness, supervisor)
        await supervisor.fault_injector.freeze(AMS)
        await supervisor.fault_injector.thaw(AMS)
        assert is_suspended(harness, AMS)  # Its delay is not over.

        await supervisor.fault_injector.freeze(AMS)
        harness.clock.advance(HOUR)
        await eventually(lambda: supervisor._registry.find(AMS).delay_task.done(), "the end of the delay")  # type: ignore[union-attr]
        assert is_suspended(harness, AMS)  # It is frozen.

        await supervisor.fault_injector.thaw(AMS)
        assert not is_suspended(harness, AMS)
        await starting
        await supervisor.stop(AMS)


class CannotSuspend(FakeBackend):
    """A backend that cannot suspend; or it can, but returns only once `may_return` is set."""

    may_return: asyncio.Event | None = None

    async def suspend(self, machine_id: str) -> None:
        if self.may_return is None:
            raise InputError("machine cannot be suspended here")
        await super().suspend(machine_id)
        await self.may_return.wait()


async def test_a_start_that_cannot_be_delayed_fails() -> None:
    harness = Harness(backend=CannotSuspend())
    supervisor = await harness.open_supervisor()
    await supervisor.stop(AMS)
    supervisor.fault_injector.delay_starts(AMS, HOUR)
    with pytest.raises(InputError, match="cannot be suspended here"):
        await supervisor.start(AMS)
    assert supervisor.machine(AMS).state is MachineState.FAILED
    await supervisor.fault_injector.end_start_delay(AMS)
    await supervisor.start(AMS)
    assert supervisor.machine(AMS).state is MachineState.STARTED
    await supervisor.close()


async def test_a_canceled_freeze_is_undone() -> None:
    backend = CannotSuspend()
    backend.may_return = asyncio.Event()
    harness = Harness(backend=backend)
    supervisor = await harness.open_supervisor()
    freezing = asyncio.create_task(supervisor.fault_injector.freeze(AMS))
    await eventually(lambda: is_suspended(harness, AMS), "it is frozen")
    freezing.cancel()
    await asyncio.sleep(0)
    backend.may_return.set()
    with pytest.raises(asyncio.CancelledError):
        await freezing
    assert not is_suspended(harness, AMS)
    await supervisor.close()


async def test_a_backend_that_cannot_suspend_refuses_the_faults_at_once() -> None:
    backend = FakeBackend()
    backend.can_suspend = False
    harness = Harness(backend=backend)
    supervisor = await harness.open_supervisor()
    with pytest.raises(
        InputError, match=r"ams-1 cannot be frozen: .* cannot freeze machines\s.*expected: .*fail_first"
    ):
        await supervisor.fault_injector.freeze(AMS)
    with pytest.raises(InputError, match="ams-1 cannot be delayed"):
        supervisor.fault_injector.delay_starts(AMS, 1.0)
    await supervisor.close()
