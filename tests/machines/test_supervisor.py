"""Machine supervisor on the fake backend: states, health, the fleet, and the events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from simulator.clock import Clock
from simulator.config.model import Check, MachineSpec
from simulator.errors import EnvironmentFault, InputError, MachineFault
from simulator.events import (
    Bus,
    Event,
    FleetChanged,
    MachineHealthChanged,
    MachineLogged,
    MachineStateChanged,
)
from simulator.machines.fake import FakeApp, FakeBackend
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.model import App, MachineState
from simulator.testing import INTERNAL_PORT, eventually

AMS, DFW = "d8dd626f379508", "286533db064e58"
CREATED, STARTING, STARTED = MachineState.CREATED, MachineState.STARTING, MachineState.STARTED
STOPPING, STOPPED, SUSPENDED = MachineState.STOPPING, MachineState.STOPPED, MachineState.SUSPENDED
DESTROYED, FAILED = MachineState.DESTROYED, MachineState.FAILED


def spec(machine_id: str = AMS, name: str = "ams-1", command: str = "web", **changes: object) -> MachineSpec:
    arguments = (command, "{host}") if command else ()
    made = MachineSpec(machine_id, name, "chat", name.partition("-")[0], arguments)
    return replace(made, **{"internal_port": INTERNAL_PORT, "start_timeout_seconds": 5.0} | changes)  # type: ignore[arg-type]


@dataclass
class Harness:
    """Supervisors on a fake backend, and all events they publish."""

    backend: FakeBackend = field(default_factory=FakeBackend)
    bus: Bus = field(default_factory=Bus)
    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list)
    supervisors: list[MachineSupervisor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bus.subscribe(self.events.append)

    def supervisor(self, *specs: MachineSpec, seed: int = 0) -> MachineSupervisor:
        supervisor = MachineSupervisor([App("chat")], specs, self.backend, self.bus, self.clock, seed=seed)
        self.supervisors.append(supervisor)
        return supervisor

    async def open_supervisor(self, *specs: MachineSpec) -> MachineSupervisor:
        supervisor = self.supervisor(*(specs or (spec(), spec(DFW, "dfw-1"))))
        await supervisor.open()
        return supervisor

    def states(self, machine_id: str = AMS) -> list[MachineState]:
        changes = [
            event
            for event in self.events
            if isinstance(event, MachineStateChanged) and event.machine_id == machine_id
        ]
        assert all(one.after == next_one.before for one, next_one in pairwise(changes))
        return [change.after for change in changes]

    def last(self, kind: type[Event]) -> Event:
        return next(event for event in reversed(self.events) if isinstance(event, kind))


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    for supervisor in harness.supervisors:
        await supervisor.close()


def test_before_opening_every_machine_is_created_and_gets_no_requests(harness: Harness) -> None:
    supervisor = harness.supervisor(spec())

    assert supervisor.machine(AMS).state is CREATED
    assert not supervisor.machine(AMS).is_candidate


async def test_opening_starts_every_machine_and_keeps_the_order_of_the_config(
    harness: Harness,
) -> None:
    supervisor = await harness.open_supervisor()

    assert [machine.name for machine in supervisor.fleet.machines] == ["ams-1", "dfw-1"]
    assert all(machine.is_candidate for machine in supervisor.fleet.machines)
    assert harness.states() == [STARTING, STARTED]


async def test_the_fleet_knows_where_each_machine_listens(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    for machine in supervisor.fleet.machines:
        _, writer = await asyncio.open_connection(machine.host, machine.port)
        writer.close()
        assert machine.private_ip


async def test_every_change_publishes_the_new_fleet(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    fleets = [event.fleet for event in harness.events if isinstance(event, FleetChanged)]

    assert fleets[-1] == supervisor.fleet
    assert all(one != next_one for one, next_one in pairwise(fleets))


async def test_log_lines_are_published_with_their_machine(harness: Harness) -> None:
    await harness.open_supervisor()

    harness.backend.write_line(DFW, "CONNECTED TO /ws")

    event = harness.last(MachineLogged)
    assert isinstance(event, MachineLogged)
    assert (event.name, event.app, event.region, event.stream, event.line) == (
        "dfw-1",
        "chat",
        "dfw",
        "stdout",
        "CONNECTED TO /ws",
    )


async def test_machines_start_in_parallel(harness: Harness) -> None:
    """Each launch waits for the other: one by one, neither machine would be healthy."""
    both_run = asyncio.Barrier(2)
    launch = harness.backend.launch

    async def launch_together(*arguments: object, **options: object) -> object:
        await asyncio.wait_for(both_run.wait(), 5)
        return await launch(*arguments, **options)  # type: ignore[arg-type]

    harness.backend.launch = launch_together  # type: ignore[method-assign, assignment]

    assert len((await harness.open_supervisor()).fleet.machines) == 2


async def test_an_app_that_exits_at_start_is_reported_with_its_last_log_lines(harness: Harness) -> None:
    harness.backend.apps["broken"] = FakeApp(lines=("Booting", "KeyError: DATABASE_URL"), exits_with=1)
    supervisor = harness.supervisor(spec(), spec(DFW, "dfw-1", "broken"))

    with pytest.raises(MachineFault, match="machine dfw-1 of app chat exited with status 1") as fault:
        await supervisor.open()

    assert fault.value.exit_status == 3
    assert fault.value.log_tail == ("Booting", "KeyError: DATABASE_URL")
    assert {machine.state for machine in supervisor.fleet.machines} == {STOPPED}


async def test_only_the_last_log_lines_are_kept_for_the_error(harness: Harness) -> None:
    harness.backend.apps["chatty"] = FakeApp(lines=tuple(map(str, range(100))), exits_with=1)

    with pytest.raises(MachineFault) as fault:
        await harness.open_supervisor(spec(command="chatty"))

    assert fault.value.log_tail == tuple(map(str, range(80, 100)))


async def test_an_app_that_does_not_listen_in_time_is_reported_with_the_expected_address(
    harness: Harness,
) -> None:
    harness.backend.apps["silent"] = FakeApp(listens=False)
    supervisor = harness.supervisor(spec(command="silent", start_timeout_seconds=0.1))

    with pytest.raises(MachineFault, match=r"was not healthy within 0\.1 s: nothing listens on 127") as fault:
        await supervisor.open()

    assert fault.value.hint is not None
    assert (
        f"it does not listen on any port; make it listen on {supervisor.machine(AMS).address}"
        in fault.value.hint
    )


async def test_an_app_that_fails_its_check_is_reported_with_the_failure(harness: Harness) -> None:
    harness.backend.apps["failing"] = FakeApp(status=503)
    failing = spec(command="failing", start_timeout_seconds=0.2, checks=(Check("http", path="/up"),))

    with pytest.raises(MachineFault, match="GET /up returned 503, expected 2xx"):
        await harness.open_supervisor(failing)


async def test_a_missing_command_is_an_input_error_and_leaves_nothing_running(
    harness: Harness,
) -> None:
    supervisor = harness.supervisor(spec(), spec(DFW, "dfw-1", "no-such-program"))

    with pytest.raises(InputError, match="no-such-program"):
        await supervisor.open()

    assert supervisor.machine(AMS).state is STOPPED
    assert supervisor.machine(DFW).state is FAILED


async def test_an_unexpected_exit_is_published_at_once_with_its_reason(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    harness.backend.exit(AMS, 1)

    assert supervisor.machine(AMS).state is STOPPED
    assert not supervisor.fleet.machines[0].is_candidate
    event = harness.last(MachineStateChanged)
    assert isinstance(event, MachineStateChanged)
    assert (event.before, event.after, event.reason) == (STARTED, STOPPED, "exited with status 1")


async def test_a_restarted_machine_keeps_its_address(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    before = supervisor.machine(AMS)

    await supervisor.stop(AMS)
    stopped = supervisor.machine(AMS)
    await supervisor.start(AMS)

    assert (stopped.state, stopped.healthy) == (STOPPED, False)
    assert supervisor.machine(AMS) == before
    assert harness.states() == [STARTING, STARTED, STOPPING, STOPPED, STARTING, STARTED]


async def test_a_killed_machine_is_stopped(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    await supervisor.kill(AMS)

    assert supervisor.machine(AMS).state is STOPPED


async def test_a_machine_that_is_slow_to_stop_can_be_killed(harness: Harness) -> None:
    harness.backend.apps["stubborn"] = FakeApp(ignores_kill_signal=True)
    supervisor = await harness.open_supervisor(spec(command="stubborn", kill_timeout_seconds=60.0))
    stop = asyncio.create_task(supervisor.stop(AMS))
    await eventually(lambda: supervisor.machine(AMS).state is STOPPING, "stopping")

    await supervisor.kill(AMS)

    await asyncio.wait_for(stop, 5)
    assert supervisor.machine(AMS).state is STOPPED


async def test_a_suspended_machine_gets_no_requests_until_it_is_started(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    await supervisor.suspend(AMS)
    suspended = supervisor.machine(AMS)
    await supervisor.start(AMS)

    assert suspended.state is SUSPENDED
    assert not suspended.is_candidate
    assert supervisor.machine(AMS).is_candidate


async def test_a_destroyed_machine_is_no_longer_in_the_fleet(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    await supervisor.destroy(AMS)

    assert [machine.name for machine in supervisor.fleet.machines] == ["dfw-1"]
    assert harness.states()[-1] is DESTROYED
    with pytest.raises(InputError, match=f'no machine "{AMS}"'):
        supervisor.machine(AMS)


async def test_a_running_machine_is_destroyed_only_by_force(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    with pytest.raises(InputError, match="is started, so it cannot be destroyed without force"):
        await supervisor.destroy(AMS, force=False)
    await supervisor.stop(AMS)
    await supervisor.destroy(AMS, force=False)

    assert len(supervisor.fleet.machines) == 1


async def test_a_cordoned_machine_runs_but_gets_no_requests(harness: Harness) -> None:
    """F-5.13"""
    supervisor = await harness.open_supervisor()

    await supervisor.cordon(AMS)
    cordoned = supervisor.machine(AMS)
    await supervisor.uncordon(AMS)

    assert (cordoned.state, cordoned.cordoned, cordoned.is_candidate) == (STARTED, True, False)
    assert supervisor.machine(AMS).is_candidate


async def test_a_clone_is_healthy_and_has_an_id_and_the_next_name_of_its_region(harness: Harness) -> None:
    """F-7.3: 14 hex digits."""
    supervisor = await harness.open_supervisor()

    here, there = await supervisor.clone(AMS), await supervisor.clone(AMS, region="lhr")

    assert [here.name, there.name, there.region] == ["ams-2", "lhr-1", "lhr"]
    assert len(bytes.fromhex(here.id)) == 7
    assert here in supervisor.fleet.machines
    assert here.is_candidate


async def test_the_ids_of_clones_come_from_the_seed(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec())
    first = await supervisor.clone(AMS)

    await supervisor.reset()

    assert await supervisor.clone(AMS) == first


async def test_names_of_destroyed_machines_are_not_reused(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    gone = await supervisor.clone(AMS)
    await supervisor.destroy(gone.id)

    new = await supervisor.clone(AMS)

    assert (gone.name, new.name) == ("ams-2", "ams-3")
    assert gone.id != new.id


async def test_a_clone_that_exits_at_start_is_removed_from_the_fleet(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    harness.backend.apps["web"] = FakeApp(exits_with=1)

    with pytest.raises(MachineFault, match="ams-2 of app chat exited"):
        await supervisor.clone(AMS)

    assert [machine.name for machine in supervisor.fleet.machines] == ["ams-1", "dfw-1"]


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        (["start"], "machine ams-1 (d8dd626f379508) is started, so it cannot be started"),
        (["stop", "stop"], "machine ams-1 (d8dd626f379508) is stopped, so it cannot be stopped"),
        (["stop", "kill"], "is stopped, so it cannot be killed"),
        (["stop", "suspend"], "is stopped, so it cannot be suspended"),
        (["suspend", "suspend"], "is suspended, so it cannot be suspended"),
    ],
)
async def test_an_action_that_the_state_does_not_allow_is_refused_with_machine_and_state(
    harness: Harness, actions: list[str], text: str
) -> None:
    supervisor = await harness.open_supervisor()
    for action in actions[:-1]:
        await getattr(supervisor, action)(AMS)

    with pytest.raises(InputError) as refusal:
        await getattr(supervisor, actions[-1])(AMS)

    assert text in str(refusal.value)


async def test_an_unknown_machine_is_refused_with_a_list_of_the_known_ones(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()

    with pytest.raises(InputError, match=rf'no machine "x"\n.*{AMS} \(ams-1\), {DFW} \(dfw-1\)'):
        await supervisor.stop("x")


async def test_a_failing_check_makes_a_machine_unhealthy_and_leaves_it_running(harness: Harness) -> None:
    """F-5.17, F-5.18"""
    supervisor = await harness.open_supervisor(
        spec(checks=(Check("http", path="/up", interval_seconds=15.0),))
    )

    harness.backend.respond_with(AMS, 503)
    harness.clock.advance(15)
    await eventually(lambda: not supervisor.machine(AMS).healthy, "the failed check")

    assert supervisor.machine(AMS).state is STARTED
    assert not supervisor.machine(AMS).is_candidate
    event = harness.last(MachineHealthChanged)
    assert isinstance(event, MachineHealthChanged)
    assert (event.healthy, event.reason) == (False, "GET /up returned 503, expected 2xx")

    harness.backend.respond_with(AMS, 200)
    harness.clock.advance(15)
    await eventually(lambda: supervisor.machine(AMS).healthy, "the passed check")


async def test_a_check_of_the_internal_port_goes_to_the_allocated_port(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.machines.address.has_loopback_network", lambda: False)

    supervisor = await harness.open_supervisor(spec(internal_port=8080, checks=(Check("http", port=8080),)))

    assert supervisor.machine(AMS).port != 8080
    assert supervisor.machine(AMS).is_candidate


async def test_a_machine_that_is_not_healthy_in_time_keeps_running(harness: Harness) -> None:
    """F-5.18: never stopped for its health."""
    supervisor = await harness.open_supervisor(spec(start_timeout_seconds=0.2, checks=(Check("http"),)))
    await supervisor.stop(AMS)
    harness.backend.apps["web"] = FakeApp(status=503)

    with pytest.raises(MachineFault, match="was not healthy within"):
        await supervisor.start(AMS)
    assert (supervisor.machine(AMS).state, supervisor.machine(AMS).healthy) == (STARTED, False)

    harness.backend.respond_with(AMS, 200)
    await eventually(lambda: supervisor.machine(AMS).is_candidate, "its health")


async def test_a_machine_that_is_destroyed_while_it_starts_ends_the_start(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec(checks=(Check("http"),)))
    await supervisor.stop(AMS)
    harness.backend.apps["web"] = FakeApp(status=503)
    start = asyncio.create_task(supervisor.start(AMS))
    await eventually(lambda: supervisor.machine(AMS).state is STARTED, "its launch")

    await supervisor.destroy(AMS)

    with pytest.raises(MachineFault, match="was killed by SIGKILL before it was healthy"):
        await asyncio.wait_for(start, 5)


async def test_close_stops_every_machine_gracefully(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    await supervisor.suspend(DFW)

    await supervisor.close()

    assert harness.states(AMS)[-2:] == harness.states(DFW)[-2:] == [STOPPING, STOPPED]


async def test_cancelling_open_leaves_nothing_running(harness: Harness) -> None:
    harness.backend.apps["silent"] = FakeApp(listens=False)
    supervisor = harness.supervisor(spec(), spec(DFW, "dfw-1", "silent"))
    opening = asyncio.create_task(supervisor.open())
    await eventually(lambda: supervisor.machine(DFW).state is STARTED, "its launch")

    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert {machine.state for machine in supervisor.fleet.machines} == {STOPPED}


async def test_reset_restores_exactly_the_machines_of_the_config(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec(), spec(DFW, "dfw-1"), spec("4d891ee9b43e08", "dfw-2"))
    before = supervisor.fleet
    await supervisor.clone(AMS)
    await supervisor.destroy(AMS)
    await supervisor.stop(DFW)
    await supervisor.cordon("4d891ee9b43e08")

    await supervisor.reset()

    assert supervisor.fleet == before


async def test_reset_does_not_restart_healthy_machines(harness: Harness) -> None:
    supervisor = await harness.open_supervisor()
    changes = len(harness.states())

    await supervisor.reset()

    assert len(harness.states()) == changes


async def test_reset_restarts_an_unhealthy_machine(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec(checks=(Check("http", interval_seconds=15.0),)))
    harness.backend.respond_with(AMS, 503)
    harness.clock.advance(15)
    await eventually(lambda: not supervisor.machine(AMS).healthy, "the failed check")

    await supervisor.reset()

    assert supervisor.machine(AMS).is_candidate


@pytest.fixture
async def running_server() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_an_external_machine_gets_requests(harness: Harness, running_server: int) -> None:
    supervisor = await harness.open_supervisor(spec(command="", url=f"http://127.0.0.1:{running_server}"))

    assert supervisor.machine(AMS).address == f"127.0.0.1:{running_server}"
    assert supervisor.machine(AMS).is_candidate


@pytest.mark.parametrize("action", ["start", "stop", "kill", "suspend", "destroy", "clone"])
async def test_an_external_machine_cannot_be_controlled(
    harness: Harness, running_server: int, action: str
) -> None:
    supervisor = await harness.open_supervisor(spec(command="", url=f"http://127.0.0.1:{running_server}"))

    with pytest.raises(
        InputError, match=rf"runs at http://127.0.0.1:{running_server}, outside flysim, so it cannot"
    ):
        await getattr(supervisor, action)(AMS)


async def test_an_external_server_that_does_not_run_is_named(harness: Harness) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()

    with pytest.raises(EnvironmentFault, match=f"start the server at {url} first"):
        await harness.open_supervisor(spec(command="", url=url, start_timeout_seconds=0.1))


async def test_a_machine_whose_address_another_process_serves_is_not_healthy(harness: Harness) -> None:
    harness.backend.port_conflicts[AMS] = "machine dfw-1"

    with pytest.raises(MachineFault, match=r"machine dfw-1 responds on .* instead of this machine"):
        await harness.open_supervisor(spec(start_timeout_seconds=0.2))


async def test_a_clone_in_an_unknown_region_is_refused(harness: Harness) -> None:
    supervisor = await harness.open_supervisor(spec())

    with pytest.raises(InputError, match='there is no region "dwf"; did you mean "dfw"') as error:
        await supervisor.clone(AMS, region="dwf")

    assert error.value.expected is not None
    assert "ams, " in error.value.expected
