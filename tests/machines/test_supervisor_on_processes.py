"""The machine room as users meet it: real programs, and what it says of those that do not do as they should."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.clock import Clock
from simulator.config.model import Check, MachineSpec
from simulator.errors import EnvironmentFault, MachineFault
from simulator.events import Bus, Event, MachineLogged
from simulator.machines.address import has_loopback_network
from simulator.machines.processes.backend import ProcessBackend
from simulator.machines.processes.listener import all_listeners
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.model import App
from tests.contract.harness import INTERNAL_PORT, eventually, machine_id, machine_spec

FILES = ("{python}", "-m", "http.server", "--bind", "{host}", "{port}")
FILES_PROGRAM = (
    "import http.server as h; "
    "h.HTTPServer(('{host}', int('{port}')), h.SimpleHTTPRequestHandler).serve_forever()"
)


def room_of(*specs: MachineSpec, bus: Bus | None = None) -> MachineSupervisor:
    return MachineSupervisor(
        [App("chat")], specs, ProcessBackend(), bus or Bus(), Clock(), dns_address="127.0.0.1:5353"
    )


async def fault_of(spec: MachineSpec) -> MachineFault:
    with pytest.raises(MachineFault) as fault:
        await room_of(spec).open()
    return fault.value


@pytest.mark.skipif(not has_loopback_network(), reason="127/8 is not all of this computer")
async def test_three_machines_listen_on_the_same_port(tmp_path: Path) -> None:
    check = Check("http", path="/")
    supervisor = room_of(*(replace(machine_spec(n, FILES), cwd=tmp_path, checks=(check,)) for n in (1, 2, 3)))

    await supervisor.open()
    try:
        assert {machine.port for machine in supervisor.fleet.machines} == {INTERNAL_PORT}
        assert len({machine.host for machine in supervisor.fleet.machines}) == 3
        assert all(machine.is_candidate for machine in supervisor.fleet.machines)
    finally:
        await supervisor.close()


async def test_a_machine_knows_itself_by_its_environment() -> None:
    """F-7.2, F-7.5, and a placeholder in a value."""
    told: list[Event] = []
    bus = Bus()
    bus.subscribe(told.append)
    program = "import os; print(*(os.environ[name] for name in ('FLY_MACHINE_ID', 'FLY_REGION', 'DNS')))"
    spec = replace(machine_spec(1, ("{python}", "-c", program)), env={"DNS": "{dns}"})

    with pytest.raises(MachineFault, match="exited with status 0 before it was healthy"):
        await room_of(spec, bus=bus).open()

    assert [event.line for event in told if isinstance(event, MachineLogged)] == [
        f"{machine_id(1)} ams 127.0.0.1:5353"
    ]


async def test_an_app_that_dies_at_start_has_its_traceback_in_the_fault() -> None:
    fault = await fault_of(machine_spec(1, ("{python}", "-c", "import os; os.environ['DATABASE_URL']")))

    assert "machine ams-1 of app chat exited with status 1" in str(fault)
    assert str(fault).splitlines()[-2] == "  | KeyError: 'DATABASE_URL'"


async def test_an_app_that_is_killed_at_start_names_the_signal() -> None:
    fault = await fault_of(machine_spec(1, ("{python}", "-c", "import os; os.abort()")))

    assert "was killed by SIGABRT before it was healthy, and wrote nothing" in str(fault)


async def test_an_app_that_listens_elsewhere_is_told_where_it_does_and_where_it_should() -> None:
    program = (
        "import socket, time; listener = socket.create_server(('127.0.0.1', 0));"
        "print('port', listener.getsockname()[1]); time.sleep(60)"
    )
    spec = machine_spec(1, (sys.executable, "-c", program))

    fault = await fault_of(replace(spec, start_timeout_seconds=1.0))

    port = fault.log_tail[0].removeprefix("port ")
    assert f"it listens on 127.0.0.1:{port}: let it listen on 127.0.0.1:" in str(fault)


WILDCARD = (
    "{python}",
    "-c",
    "import http.server as h; h.ThreadingHTTPServer(('0.0.0.0', int('{port}')), "
    "h.BaseHTTPRequestHandler).serve_forever()",
    "{host}",
)


@pytest.mark.skipif(not has_loopback_network(), reason="127/8 is not all of this computer")
async def test_a_machine_is_not_healthy_because_another_one_answers_at_its_address() -> None:
    """A wildcard listener answers at every loopback address; the others of the fleet die of it."""
    slow = tuple(word.replace("import", "import time; time.sleep(0.5); import") for word in WILDCARD)
    first, second = machine_spec(1, WILDCARD), machine_spec(2, slow)

    with pytest.raises(MachineFault) as fault:
        await room_of(first, second).open()

    assert "machine ams-2 of app chat exited with status 1 before it was healthy" in str(fault.value)
    assert "Address already in use" in "".join(fault.value.log_tail)
    assert "machine ams-1 listens on port" in str(fault.value)
    assert "{host} in command or env" in str(fault.value)
    assert "not 0.0.0.0" in str(fault.value)


@pytest.mark.skipif(not has_loopback_network(), reason="127/8 is not all of this computer")
async def test_a_machine_that_listens_on_every_address_leaves_no_room_for_a_clone() -> None:
    supervisor = room_of(machine_spec(1, WILDCARD))
    await supervisor.open()
    try:
        with pytest.raises(
            EnvironmentFault, match=r"machine ams-1 listens on port .* of every address"
        ) as fault:
            await supervisor.clone(machine_id(1))
    finally:
        await supervisor.close()

    assert "{host} in command or env, and not 0.0.0.0" in str(fault.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a listener is")
async def test_what_was_there_before_does_not_make_a_machine_healthy() -> None:
    specs = machine_spec(1, ("{python}", "-c", "import time; time.sleep(60)", "{host}"))
    supervisor = room_of(replace(specs, start_timeout_seconds=1.5))
    opening = asyncio.create_task(supervisor.open())
    await eventually(lambda: supervisor.fleet.machines[0].host != "127.0.0.1", "it has an address")
    # As if it had been there: the machine's own launch saw it, since the address book had given its address away.
    with socket.create_server(("0.0.0.0", INTERNAL_PORT)):
        process = supervisor._backend._processes[machine_id(1)]  # type: ignore[attr-defined]
        process._earlier = frozenset(all_listeners())

        with pytest.raises(MachineFault, match=r"answers at .* in its place"):
            await opening


async def test_a_port_written_into_the_app_is_told_with_who_has_it() -> None:
    program = (
        f"import http.server as h; h.HTTPServer(('127.0.0.1', {INTERNAL_PORT}), h.BaseHTTPRequestHandler)"
    )
    with socket.create_server(("127.0.0.1", INTERNAL_PORT)):
        fault = await fault_of(machine_spec(1, (sys.executable, "-c", program)))

    assert f"port {INTERNAL_PORT} is taken by" in str(fault)
    assert f"(pid {os.getpid()})" in str(fault)
    assert "listen on PORT, which is another for every machine" in str(fault)


async def test_a_machine_that_dies_while_others_still_start_is_a_fault() -> None:
    """It was healthy once, so only the end of the start can tell."""
    program = "import socket, time; s = socket.create_server(('{host}', int('{port}'))); s.accept(); time.sleep(0.3)"
    brief = ("{python}", "-c", program)
    slow = ("{python}", "-c", "import time; time.sleep(0.7)\n" + FILES_PROGRAM)

    with pytest.raises(MachineFault, match=r"ams-1 .* exited with status 0 before all machines were healthy"):
        await room_of(machine_spec(1, brief), machine_spec(2, slow)).open()


async def test_an_exit_while_it_runs_takes_a_machine_out(tmp_path: Path) -> None:
    supervisor = room_of(replace(machine_spec(1, FILES), cwd=tmp_path))
    await supervisor.open()
    try:
        await supervisor.kill(machine_id(1))
        await eventually(lambda: not supervisor.fleet.machines[0].is_candidate, "its end is known")
    finally:
        await supervisor.close()
