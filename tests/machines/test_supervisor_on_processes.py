"""Machine supervisor on real processes, and the error messages for apps that fail to start."""

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
from simulator.testing import INTERNAL_PORT, eventually, machine_id, machine_spec

FILES = ("{python}", "-m", "http.server", "--bind", "{host}", "{port}")
FILES_PROGRAM = (
    "import http.server as h; "
    "h.HTTPServer(('{host}', int('{port}')), h.SimpleHTTPRequestHandler).serve_forever()"
)


def supervisor_on_processes(*specs: MachineSpec, bus: Bus | None = None) -> MachineSupervisor:
    return MachineSupervisor(
        [App("chat")], specs, ProcessBackend(), bus or Bus(), Clock(), dns_address="127.0.0.1:5353"
    )


async def fault_of(spec: MachineSpec) -> MachineFault:
    with pytest.raises(MachineFault) as fault:
        await supervisor_on_processes(spec).open()
    return fault.value


@pytest.mark.skipif(not has_loopback_network(), reason="not all of 127/8 is local")
async def test_three_machines_listen_on_the_same_port(tmp_path: Path) -> None:
    check = Check("http", path="/")
    supervisor = supervisor_on_processes(
        *(replace(machine_spec(n, FILES), cwd=tmp_path, checks=(check,)) for n in (1, 2, 3))
    )

    await supervisor.open()
    try:
        assert {machine.port for machine in supervisor.fleet.machines} == {INTERNAL_PORT}
        assert len({machine.host for machine in supervisor.fleet.machines}) == 3
        assert all(machine.is_candidate for machine in supervisor.fleet.machines)
    finally:
        await supervisor.close()


async def test_the_environment_of_a_process_describes_its_machine() -> None:
    """F-7.2, F-7.5, and a placeholder in a value."""
    events: list[Event] = []
    bus = Bus()
    bus.subscribe(events.append)
    program = "import os; print(*(os.environ[name] for name in ('FLY_MACHINE_ID', 'FLY_REGION', 'DNS')))"
    spec = replace(machine_spec(1, ("{python}", "-c", program)), env={"DNS": "{dns}"})

    with pytest.raises(MachineFault, match="exited with status 0 before it was healthy"):
        await supervisor_on_processes(spec, bus=bus).open()

    assert [event.line for event in events if isinstance(event, MachineLogged)] == [
        f"{machine_id(1)} ams 127.0.0.1:5353"
    ]


async def test_the_error_for_an_app_that_exits_at_start_contains_its_traceback() -> None:
    fault = await fault_of(machine_spec(1, ("{python}", "-c", "import os; os.environ['DATABASE_URL']")))

    assert "machine ams-1 of app chat exited with status 1" in str(fault)
    assert str(fault).splitlines()[-2] == "  | KeyError: 'DATABASE_URL'"


async def test_the_error_for_an_app_that_is_killed_at_start_names_the_signal() -> None:
    fault = await fault_of(machine_spec(1, ("{python}", "-c", "import os; os.abort()")))

    assert "was killed by SIGABRT before it was healthy, without any output" in str(fault)


async def test_the_error_for_an_app_on_another_port_names_both_addresses() -> None:
    program = (
        "import socket, time; listener = socket.create_server(('127.0.0.1', 0));"
        "print('port', listener.getsockname()[1]); time.sleep(60)"
    )
    spec = machine_spec(1, (sys.executable, "-c", program))

    fault = await fault_of(replace(spec, start_timeout_seconds=1.0))

    port = fault.log_tail[0].removeprefix("port ")
    assert f"it listens on 127.0.0.1:{port}; make it listen on 127.0.0.1:" in str(fault)


WILDCARD = (
    "{python}",
    "-c",
    "import http.server as h; h.ThreadingHTTPServer(('0.0.0.0', int('{port}')), "
    "h.BaseHTTPRequestHandler).serve_forever()",
    "{host}",
)


@pytest.mark.skipif(not has_loopback_network(), reason="not all of 127/8 is local")
async def test_a_machine_is_not_healthy_if_another_machine_answers_on_its_address() -> None:
    """A wildcard listener answers on every loopback address, so the other machines cannot bind theirs."""
    slow = tuple(word.replace("import", "import time; time.sleep(0.5); import") for word in WILDCARD)
    first, second = machine_spec(1, WILDCARD), machine_spec(2, slow)

    with pytest.raises(MachineFault) as fault:
        await supervisor_on_processes(first, second).open()

    assert "machine ams-2 of app chat exited with status 1 before it was healthy" in str(fault.value)
    assert "Address already in use" in "".join(fault.value.log_tail)
    assert "machine ams-1 listens on port" in str(fault.value)
    assert "{host} in `command` or `env`" in str(fault.value)
    assert "on all addresses (0.0.0.0)" in str(fault.value)


@pytest.mark.skipif(not has_loopback_network(), reason="not all of 127/8 is local")
async def test_a_machine_that_listens_on_all_addresses_prevents_a_clone() -> None:
    supervisor = supervisor_on_processes(machine_spec(1, WILDCARD))
    await supervisor.open()
    try:
        with pytest.raises(
            EnvironmentFault, match=r"port .* is in use by machine ams-1, which listens on all addresses"
        ) as fault:
            await supervisor.clone(machine_id(1))
    finally:
        await supervisor.close()

    assert "{host} in `command` or `env`" in str(fault.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the processes of listeners")
async def test_an_earlier_listener_does_not_make_a_machine_healthy() -> None:
    specs = machine_spec(1, ("{python}", "-c", "import time; time.sleep(60)", "{host}"))
    supervisor = supervisor_on_processes(replace(specs, start_timeout_seconds=1.5))
    opening = asyncio.create_task(supervisor.open())
    await eventually(lambda: supervisor.fleet.machines[0].host != "127.0.0.1", "its address")
    # As if it had listened before the launch: the address was allocated already.
    with socket.create_server(("0.0.0.0", INTERNAL_PORT)):
        process = supervisor._backend._processes[machine_id(1)]  # type: ignore[attr-defined]
        process._listeners_before = frozenset(all_listeners())

        with pytest.raises(MachineFault, match=r"responds on .* instead of this machine"):
            await opening


async def test_a_hard_coded_port_in_use_is_reported_with_its_process() -> None:
    program = (
        f"import http.server as h; h.HTTPServer(('127.0.0.1', {INTERNAL_PORT}), h.BaseHTTPRequestHandler)"
    )
    with socket.create_server(("127.0.0.1", INTERNAL_PORT)):
        fault = await fault_of(machine_spec(1, (sys.executable, "-c", program)))

    assert f"port {INTERNAL_PORT} is in use by" in str(fault)
    assert f"(pid {os.getpid()})" in str(fault)
    assert "listen on the port in PORT, which differs for each machine" in str(fault)


async def test_a_machine_that_exits_while_others_start_fails_the_start() -> None:
    """It was healthy once, so only a check at the end of the start detects it."""
    program = "import socket, time; s = socket.create_server(('{host}', int('{port}'))); s.accept(); time.sleep(0.3)"
    short_lived = ("{python}", "-c", program)
    slow = ("{python}", "-c", "import time; time.sleep(0.7)\n" + FILES_PROGRAM)

    with pytest.raises(MachineFault, match=r"ams-1 .* exited with status 0 before all machines were healthy"):
        await supervisor_on_processes(machine_spec(1, short_lived), machine_spec(2, slow)).open()


async def test_a_machine_that_exits_gets_no_more_requests(tmp_path: Path) -> None:
    supervisor = supervisor_on_processes(replace(machine_spec(1, FILES), cwd=tmp_path))
    await supervisor.open()
    try:
        await supervisor.kill(machine_id(1))
        await eventually(lambda: not supervisor.fleet.machines[0].is_candidate, "its exit")
    finally:
        await supervisor.close()
