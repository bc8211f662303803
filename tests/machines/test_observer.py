"""External changes of machines, on the fake backend."""

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
from simulator.testing import eventually
from tests.machines.test_supervisor import AMS, DFW, Harness, spec

ADOPTED = spec(DFW, "dfw-1", is_adopted=True)
NEW = spec("4d891ee9b43e08", "dfw-2", is_adopted=True)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    for supervisor in harness.supervisors:
        await supervisor.close()


def observer_of(supervisor: MachineSupervisor) -> MachineObserver:
    return supervisor._observer


async def test_a_machine_that_already_runs_is_used_as_it_is(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(ADOPTED)

    assert supervisor.machine(DFW).is_candidate


async def test_an_added_machine_gets_requests_once_it_is_healthy(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec())

    await harness.backend.start_externally(NEW)
    await eventually(lambda: supervisor.machine(NEW.id).is_candidate, "its first check")

    assert [machine.name for machine in supervisor.fleet.machines] == ["ams-1", "dfw-2"]


async def test_a_machine_of_an_unknown_app_adds_the_app(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec())

    await harness.backend.start_externally(replace(NEW, app="shop"))
    await eventually(lambda: supervisor.machine(NEW.id).is_candidate, "its first check")

    assert list(supervisor.fleet.apps) == ["chat", "shop"]
    assert supervisor.fleet.candidates_by_distance("shop", "ams", 80) == ((supervisor.machine(NEW.id),),)


async def test_an_externally_paused_machine_gets_no_requests_until_it_is_resumed(
    harness: Harness,
) -> None:
    supervisor = await harness.open_supervisor(ADOPTED)

    observer_of(supervisor).machine_paused(DFW)
    paused = supervisor.machine(DFW)
    observer_of(supervisor).machine_unpaused(DFW)
    await eventually(lambda: supervisor.machine(DFW).is_candidate, "its check after the pause")

    assert paused.state is MachineState.SUSPENDED
    assert not paused.is_candidate


async def test_external_stops_and_starts_are_followed(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(ADOPTED)

    harness.backend.exit(DFW, 0)
    stopped = supervisor.machine(DFW).state
    await harness.backend.start_externally(ADOPTED)
    await eventually(lambda: supervisor.machine(DFW).is_candidate, "its check after the start")

    assert stopped is MachineState.STOPPED


async def test_an_externally_removed_machine_does_not_come_back(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec(), ADOPTED)

    harness.backend.exit(DFW, -9)
    observer_of(supervisor).machine_removed(DFW)
    await supervisor.reset()

    assert [machine.id for machine in supervisor.fleet.machines] == [AMS]


async def test_a_reset_keeps_externally_added_machines(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec())
    await harness.backend.start_externally(NEW)
    await eventually(lambda: supervisor.machine(NEW.id).is_candidate, "its first check")

    await supervisor.reset()

    assert [machine.id for machine in supervisor.fleet.machines] == [AMS, NEW.id]


async def test_a_reset_starts_an_adopted_machine_that_a_scenario_stopped(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(ADOPTED)
    await supervisor.stop(DFW)

    await supervisor.reset()

    assert supervisor.machine(DFW).is_candidate


async def test_close_leaves_adopted_machines_running(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(ADOPTED)

    await supervisor.close()

    assert MachineState.STOPPING not in harness.states(DFW)


async def test_an_unhealthy_adopted_machine_fails_the_start_unless_this_is_allowed(
    harness: Harness,
) -> None:
    unhealthy = replace(ADOPTED, command=("unhealthy", "{host}"), start_timeout_seconds=0.1)
    harness.backend.apps["unhealthy"] = FakeApp(listens=False)

    with pytest.raises(MachineFault, match=r"dfw-1 of app chat was not healthy within 0\.1 s"):
        await harness.open_supervisor(unhealthy)
    lenient = MachineSupervisor(
        [App("chat")], [unhealthy], harness.backend, harness.bus, harness.clock, allow_unhealthy=True
    )
    harness.supervisors.append(lenient)
    await lenient.open()

    assert lenient.machine(DFW).state is MachineState.STARTED
    assert not lenient.machine(DFW).healthy


async def test_a_looked_up_machine_cannot_be_stopped(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec(DFW, "dfw-1", lookup="dfw-1"))

    with pytest.raises(InputError, match="dfw-1 runs outside flysim, so it cannot be stopped"):
        await supervisor.stop(DFW)


async def test_reports_of_an_unknown_machine_are_ignored(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec())
    before, observer = supervisor.fleet, observer_of(supervisor)

    observer.machine_started(NEW.id, supervisor._registry.find(AMS).placement)
    observer.machine_paused(NEW.id)
    observer.machine_unpaused(NEW.id)
    observer.machine_exited(NEW.id, Exit(0))
    observer.machine_removed(NEW.id)

    assert supervisor.fleet is before


class ExitsAtOnce(FakeBackend):
    """A backend with a machine that exits just after it was found."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await super().watch(specs, observer)
        self.exit(DFW, 4)


async def test_an_adopted_machine_that_exits_during_the_start_is_not_restarted() -> None:
    harness = Harness(backend=ExitsAtOnce())
    with pytest.raises(MachineFault, match="dfw-1 of app chat exited with status 4 before it was healthy"):
        await harness.open_supervisor(ADOPTED)
    states = [each.after for each in harness.events if isinstance(each, MachineStateChanged)]
    assert MachineState.STARTING not in states


class Stopped(FakeBackend):
    """A backend with a machine that is stopped, and another that is paused."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await super().watch(tuple(each for each in specs if each.id != DFW), observer)
        observer.machine_paused(NEW.id)


async def test_a_stopped_or_paused_adopted_machine_is_started() -> None:
    harness = Harness(backend=Stopped())
    supervisor = await harness.open_supervisor(ADOPTED, NEW)
    assert all(machine.is_candidate for machine in supervisor.fleet.machines)
    await supervisor.close()


async def test_an_externally_started_machine_that_stays_unhealthy_is_logged_with_the_reason(
    harness: Harness,
) -> None:
    harness.backend.apps["silent"] = FakeApp(listens=False)
    supervisor = await harness.open_supervisor(spec())

    await harness.backend.start_externally(
        replace(NEW, command=("silent", "{host}"), start_timeout_seconds=0.1)
    )
    await eventually(lambda: problems(harness), "a log line")

    (problem,) = problems(harness)
    assert (problem.machine_id, problem.app, problem.region) == (NEW.id, "chat", "dfw")
    assert "dfw-2 of app chat was not healthy within 0.1 s: nothing listens on " in problem.message
    assert "hint: it does not listen on any port; make it listen on" in problem.message
    assert supervisor.machine(NEW.id).state is MachineState.STARTED


async def test_a_start_that_a_caller_waits_for_raises_and_is_not_logged(harness: Harness) -> None:
    harness.backend.apps["silent"] = FakeApp(listens=False)
    with pytest.raises(MachineFault, match=r"was not healthy within 0\.1 s"):
        await harness.open_supervisor(
            replace(ADOPTED, command=("silent", "{host}"), start_timeout_seconds=0.1)
        )
    assert problems(harness) == []


def problems(harness: Harness) -> list[ProxyLogged]:
    return [each for each in harness.events if isinstance(each, ProxyLogged)]
