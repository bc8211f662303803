"""The simulator as a whole, on real processes: start, cleanup and reset."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from simulator.config import Config, load_config
from simulator.errors import EnvironmentFault, InputError, MachineFault
from simulator.events import Event, MachineLogged, ProxyLogged
from simulator.machines.port import free_ports
from simulator.retry import poll
from simulator.routing.model import MachineState
from simulator.runtime import Simulator

DEADLINE_SECONDS = 20.0
SETTLE_SECONDS = 1.0
APP = """
import http.server, os, sys

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "14")
        self.end_headers()
        self.wfile.write(os.environ["FLY_MACHINE_ID"].encode())

    def log_message(self, *words):
        print(*words[1:], flush=True)

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
"""
NEVER_LISTENS = "import time; print('up', flush=True); time.sleep(600)"
EXITS = "print('no database here'); raise SystemExit(7)"
QUERIES_DNS = """
import os, socket
host, port = os.environ["NAMES"].split(":")
labels = b"".join(bytes([len(part)]) + part for part in (b"regions", b"web", b"internal"))
query = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0" + labels + b"\\0\\0\\x10\\0\\x01"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(5)
    asking.connect((host, int(port)))
    asking.send(query)
    print("answered" if b"\\x12\\x34" == asking.recv(4096)[:2] else "not ours", flush=True)
"""


def config_of(
    folder: Path, *, app: str = APP, ams: int = 0, control: int = 0, env: str = "", more: str = ""
) -> Config:
    """Two machines of one app, `ams-1` and `dfw-1`, with an edge in front of each."""
    (folder / "app.py").write_text(app)
    path = folder / "flysim.toml"
    path.write_text(
        f"version = 1\n[edges]\nams = {ams}\ndfw = 0\n[control]\nport = {control}\n"
        f'[apps.web]\ncommand = ["{{python}}", "app.py"]\nenv = {{{env}}}\n'
        '[[apps.web.machines]]\nregion = "ams"\n[[apps.web.machines]]\nregion = "dfw"\n' + more
    )
    return load_config(path)


def left_behind(folder: Path) -> str:
    """The machines of a folder, the listening sockets and the tasks that are left; empty if none."""
    me = psutil.Process()
    machines = [child for child in me.children(recursive=True) if _runs_in(child, folder)]
    listening = [each.laddr for each in me.net_connections() if each.status == psutil.CONN_LISTEN]
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return "\n".join(str(each) for each in [*machines, *listening, *tasks])


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder
    except psutil.Error:
        return False


@asynccontextmanager
async def nothing_left(folder: Path) -> AsyncIterator[None]:
    before = left_behind(folder)
    async with asyncio.timeout(DEADLINE_SECONDS):
        yield
    # A canceled task ends a moment later.
    await poll(
        lambda: True if left_behind(folder) == before else None,
        timeout_seconds=SETTLE_SECONDS,
        interval_seconds=0,
    )
    assert left_behind(folder) == before


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


async def first(simulator: Simulator, matches: Callable[[Event], bool]) -> Event:
    """The next event that matches."""
    found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def receive(event: Event) -> None:
        if matches(event) and not found.done():
            found.set_result(event)

    unsubscribe = simulator.bus.subscribe(receive)
    try:
        return await found
    finally:
        unsubscribe()


async def test_ready_lists_addresses_that_respond(tmp_path: Path) -> None:
    async with nothing_left(tmp_path), Simulator(config_of(tmp_path)) as simulator:
        ready = json.loads(json.dumps(simulator.ready()))
        assert list(ready["edges"]) == ["ams", "dfw"]
        assert ready["dashboard"] == ready["control"] + "/"
        assert [machine["name"] for machine in ready["machines"]] == ["ams-1", "dfw-1"]
        assert {machine["state"] for machine in ready["machines"]} == {"started"}
        for machine in ready["machines"]:
            assert (await get(ready["edges"][machine["region"]])).text == machine["id"]
            assert (await get(f"http://{machine['address']}")).text == machine["id"]
        assert (await get(f"{ready['control']}/_flysim/ready")).json() == ready


async def test_a_simulator_can_be_started_again_at_once_on_the_same_ports(tmp_path: Path) -> None:
    ams, control = free_ports(2)
    config = config_of(tmp_path, ams=ams, control=control)
    for _ in range(2):
        async with nothing_left(tmp_path), Simulator(config) as simulator:
            assert simulator.edges["ams"] == f"http://127.0.0.1:{ams}"
            assert simulator.control_url == f"http://127.0.0.1:{control}"
            assert (await get(simulator.edges["ams"])).status_code == 200


async def test_free_ports_override_the_ports_of_the_config(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = config_of(tmp_path, ams=taken.getsockname()[1])
        async with nothing_left(tmp_path), Simulator(config, free_ports=True) as simulator:
            assert (await get(simulator.edges["ams"])).status_code == 200


@pytest.mark.parametrize(("what", "wanted_by"), [("ams", "edge ams"), ("control", "the control API")])
async def test_a_port_in_use_is_reported_with_its_process_before_any_machine_starts(
    tmp_path: Path, what: str, wanted_by: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        simulator = Simulator(config_of(tmp_path, **{what: port}))
        events: list[Event] = []
        simulator.bus.subscribe(events.append)
        async with nothing_left(tmp_path):
            with pytest.raises(EnvironmentFault) as caught:
                await simulator.__aenter__()
        assert f"{wanted_by} cannot listen on 127.0.0.1:{port}: port {port} is in use by" in str(caught.value)
        assert f"(pid {psutil.Process().pid})" in str(caught.value)
        assert not events


async def test_a_machine_that_exits_at_start_stops_all_others(tmp_path: Path) -> None:
    more = '[apps.bad]\ncommand = ["{python}", "bad.py"]\n[[apps.bad.machines]]\nregion = "lhr"\n'
    (tmp_path / "bad.py").write_text(EXITS)
    async with nothing_left(tmp_path):
        with pytest.raises(MachineFault) as caught:
            await Simulator(config_of(tmp_path, more=more)).__aenter__()
    assert "exited with status 7 before it was healthy" in str(caught.value)
    assert "no database here" in str(caught.value)


class _NoProxy:
    """A proxy that fails to start, after the machines began to start."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.addresses: dict[str, tuple[str, int]] = {}

    async def start(self) -> None:
        raise EnvironmentFault("the proxy failed")

    async def stop(self) -> None:
        pass


async def test_a_proxy_that_fails_to_start_stops_the_machines(tmp_path: Path) -> None:
    async with nothing_left(tmp_path):
        with pytest.raises(EnvironmentFault, match="the proxy failed"):
            await Simulator(config_of(tmp_path), make_proxy=_NoProxy).__aenter__()


class _SlowProxy(_NoProxy):
    """A proxy that takes a few iterations of the event loop to start."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.calls: list[str] = []
        _SlowProxy.latest = self

    async def start(self) -> None:
        self.calls.append("starting")
        for _ in range(10):
            await asyncio.sleep(0)
        self.calls.append("started")

    async def stop(self) -> None:
        self.calls.append("stopped")

    latest: _SlowProxy | None = None

    @classmethod
    def find_started(cls) -> _SlowProxy | None:
        return cls.latest if cls.latest and cls.latest.calls else None


async def test_a_part_whose_start_is_canceled_is_stopped_after_its_start(
    tmp_path: Path,
) -> None:
    """asyncio's start_server leaks its listening socket when it is canceled at the wrong moment."""
    async with nothing_left(tmp_path):
        starting = asyncio.create_task(Simulator(config_of(tmp_path), make_proxy=_SlowProxy).__aenter__())
        await poll(_SlowProxy.find_started, interval_seconds=0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert _SlowProxy.latest.calls == ["starting", "started", "stopped"]


async def test_a_control_port_that_is_in_use_by_then_stops_machines_and_edges(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    simulator = Simulator(config_of(tmp_path, control=port))
    async with nothing_left(tmp_path):
        starting = asyncio.create_task(simulator.__aenter__())
        await first(simulator, lambda event: True)  # The check of the ports is over by then.
        with socket.create_server(("127.0.0.1", port)), pytest.raises(EnvironmentFault, match=str(port)):
            await starting


async def test_a_canceled_start_leaves_nothing_running(tmp_path: Path) -> None:
    simulator = Simulator(config_of(tmp_path, app=NEVER_LISTENS))
    async with nothing_left(tmp_path):
        starting = asyncio.create_task(simulator.__aenter__())
        await first(simulator, lambda event: isinstance(event, MachineLogged))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert {machine.state for machine in simulator.fleet.machines} == {MachineState.STOPPED}


async def test_a_machine_with_dns_in_its_env_reaches_the_name_server_at_start(tmp_path: Path) -> None:
    """F-8.1: `.internal` names resolve from the start of a machine."""
    config = config_of(tmp_path, app=QUERIES_DNS + APP, env='NAMES = "{dns}"')
    async with nothing_left(tmp_path), Simulator(config) as simulator:
        for machine in simulator.fleet.machines:
            assert [line.line for line in simulator.journal.log_of(machine.id)] == ["answered"]


async def test_reset_restores_the_fleet_and_clears_the_journal(tmp_path: Path) -> None:
    async with nothing_left(tmp_path), Simulator(config_of(tmp_path)) as simulator:
        before = simulator.ready()
        ams, dfw = simulator.fleet.machines
        await simulator.clone_machine(ams.id, region="lhr")
        await simulator.stop_machine(ams.id)
        await simulator.cordon(dfw.id)
        await get(simulator.edges["dfw"])
        simulator.clock.advance(3600)
        assert simulator.journal.traces()
        assert simulator.journal.log()
        await simulator.reset()
        assert simulator.ready() == before
        assert all(machine.healthy and not machine.cordoned for machine in simulator.fleet.machines)
        assert simulator.journal.traces() == ()
        assert simulator.clock.now() < time.time() + 60
        assert (await get(simulator.edges["dfw"])).text == dfw.id


async def test_every_action_changes_the_fleet_at_once(tmp_path: Path) -> None:
    async with nothing_left(tmp_path), Simulator(config_of(tmp_path)) as simulator:
        machine_id = simulator.find_machine("dfw-1").id

        def state() -> MachineState:
            return simulator.find_machine("dfw-1").state

        await simulator.suspend_machine(machine_id)
        assert state() is MachineState.SUSPENDED
        await simulator.start_machine(machine_id)
        assert state() is MachineState.STARTED
        await simulator.kill_machine(machine_id)
        assert state() is MachineState.STOPPED
        await simulator.cordon(machine_id)
        assert simulator.find_machine("dfw-1").cordoned
        await simulator.uncordon(machine_id)
        assert not simulator.find_machine("dfw-1").cordoned
        assert simulator.spec_of(machine_id)
        await simulator.destroy_machine(machine_id)
        assert simulator.fleet.find(machine_id) is None
        assert simulator.spec_of(machine_id) is None


def test_a_machine_is_found_by_id_name_or_app_and_name(tmp_path: Path) -> None:
    more = '[[apps.other.machines]]\nregion = "ams"\nurl = "http://127.0.0.1:9"\n'
    simulator = Simulator(config_of(tmp_path, more=more))
    dfw = simulator.find_machine("dfw-1")
    assert simulator.find_machine(dfw.id) == simulator.find_machine("web/dfw-1") == dfw
    assert simulator.find_machine("other/ams-1").app == "other"
    with pytest.raises(InputError, match="'ams-1' names several machines") as several:
        simulator.find_machine("ams-1")
    assert "web/ams-1" in str(several.value)
    assert "other/ams-1" in str(several.value)
    with pytest.raises(InputError, match="there is no machine 'lhr-1'") as none:
        simulator.find_machine("lhr-1")
    assert f"web/dfw-1 ({dfw.id})" in str(none.value)


@pytest.mark.asyncio_errors
async def test_a_bug_that_only_asyncio_logs_is_one_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail() -> None:
        raise LookupError("in a task")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lines: list[ProxyLogged] = []
    async with nothing_left(tmp_path), Simulator(config_of(tmp_path)) as simulator:
        simulator.bus.subscribe(lambda event: lines.append(event) if isinstance(event, ProxyLogged) else None)
        for _ in range(3):
            await asyncio.wait([asyncio.create_task(fail())])
            gc.collect()  # asyncio logs the exception when the task is deleted
        logged = (await get(f"{simulator.control_url}/_flysim/logs")).json()
    (line,) = lines
    assert line.message.startswith("flysim hit a bug: LookupError: in a task; report: ")
    assert Path(line.message.partition("report: ")[2]).is_file()
    assert [each["message"] for each in logged if each["type"] == "ProxyLogged"] == [line.message]
    assert "Traceback" not in capfd.readouterr().err
