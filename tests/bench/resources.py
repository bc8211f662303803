"""Start-up time and memory of a running flysim."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.machines.port import free_port
from tests.bench.rates import BIN, ROOT, ROUNDS, running, until, wait_for
from tests.bench.row import Row
from tests.bench.websocket import EchoClient

WEBSOCKETS = int(os.environ.get("BENCH_WEBSOCKETS", "2000"))
MACHINES = int(os.environ.get("BENCH_MACHINES", "100"))


def measure(folder: Path) -> list[Row]:
    rounds = range(ROUNDS)
    app = [_until_one_app_is_healthy(folder) for _ in rounds]
    demo = [_until_ready(folder, _demo()) for _ in rounds]
    many = [_until_ready(folder, _many_machines()) for _ in rounds]
    alone = [_until_many_processes_listen(folder) for _ in rounds]
    return [
        Row("one sample app is healthy", "s", app),
        Row(
            "flysim up is ready, 3 sample apps, over one app alone",
            "s",
            [each - min(app) for each in demo],
            "<= 0.5",
        ),
        Row(f"flysim up is ready, {MACHINES} small machines", "s", many, "<= 6"),
        Row(f"the same {MACHINES} processes without flysim", "s", alone),
        Row("memory of flysim up, idle", "MB", [_idle_memory(folder) for _ in rounds], "<= 70"),
        Row(
            f"memory per open WebSocket, of {WEBSOCKETS:,}",
            "kB",
            [_memory_per_websocket(folder) for _ in rounds],
            "<= 100",
        ),
    ]


def _until_one_app_is_healthy(folder: Path) -> float:
    port = free_port()
    start = time.perf_counter()
    with running([sys.executable, "-m", "sample_app"], [], folder, {"PORT": str(port), "HOST": "127.0.0.1"}):
        wait_for(port)
        return time.perf_counter() - start


def _until_ready(folder: Path, config: str) -> float:
    start = time.perf_counter()
    with _up(folder, config) as (_, _):
        return time.perf_counter() - start


def _until_many_processes_listen(folder: Path) -> float:
    """The floor of a fleet's start: the same processes, started at once."""
    ports = [free_port() for _ in range(MACHINES)]
    start = time.perf_counter()
    processes = [
        subprocess.Popen(
            _small_app("127.0.0.1", str(port)), cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for port in ports
    ]
    try:
        for port in ports:
            wait_for(port)
        return time.perf_counter() - start
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _idle_memory(folder: Path) -> float:
    with _up(folder, _demo()) as (pid, _):
        return _resident_kb(pid) / 1000


def _memory_per_websocket(folder: Path) -> float:
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.websocket", str(port)], [], folder):
        wait_for(port)
        config = f'version = 1\n[edges]\ndfw = 0\n[control]\nport = 0\n[[apps.echo.machines]]\nregion = "dfw"\nurl = "http://127.0.0.1:{port}"\n'
        with _up(folder, config) as (pid, ready):
            edge = int(ready["edges"]["dfw"].rpartition(":")[2])
            return asyncio.run(_open_websockets(edge, lambda: _resident_kb(pid)))


async def _open_websockets(port: int, memory: Callable[[], float]) -> float:
    loop, before = asyncio.get_running_loop(), memory()
    clients = []
    for _ in range(WEBSOCKETS):
        _, client = await loop.create_connection(lambda: EchoClient("echo.fly.dev"), "127.0.0.1", port)
        client.running = False
        await client.open
        clients.append(client)
    await asyncio.sleep(0.5)
    used = (memory() - before) / WEBSOCKETS
    for client in clients:
        client.transport.close()
    return used


@contextmanager
def _up(folder: Path, config: str) -> Iterator[tuple[int, dict[str, dict[str, str]]]]:
    """A running `flysim up` that is ready: its process id and its ready file."""
    path, ready = folder / "up.toml", folder / "ready.json"
    path.write_text(config)
    ready.unlink(missing_ok=True)
    command = [str(BIN / "flysim"), "up", "--quiet", "-c", str(path), "--ready-file", str(ready)]
    with running(command, [], folder) as pid:
        until(ready.exists, "flysim up to be ready")
        yield pid, json.loads(ready.read_text())


def _demo() -> str:
    text = (ROOT / "flysim.toml").read_text().replace("8080", "0").replace("8081", "0")
    return text.replace("sample_app/fly.toml", str(ROOT / "sample_app/fly.toml")) + "\n[control]\nport = 0\n"


def _many_machines() -> str:
    command = json.dumps(_small_app("{host}", "{port}"))
    return f"""
version = 1
[edges]
ams = 0
[control]
port = 0
[apps.web]
command = {command}
machines = [{{ region = "ams", count = {MACHINES} }}]
"""


def _small_app(host: str, port: str) -> list[str]:
    return [
        sys.executable,
        "-S",
        "-E",
        str(ROOT / "simulator/testing/contract_app.py"),
        host,
        port,
        _BEHAVIOR,
    ]


_BEHAVIOR = json.dumps(
    {"lines": [], "exits_with": None, "listens": True, "status": 200, "ignores_kill_signal": False}
)


def _resident_kb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise RuntimeError("no VmRSS")
