"""Request rates of flysim with all features, stock `mitmdump` and nginx, and their ratios.

Each proxy runs on one core, the upstream server and the load generator on the others. Rounds alternate between the
proxies, so that other load on the computer affects all of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from simulator.machines.port import free_port
from simulator.retry import poll_blocking
from tests.bench.row import Row
from tests.bench.websocket import echoes_per_second

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DFW, AMS = "286533db064e58", "d8dd626f379508"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
CONNECTIONS = 8
FLEETS = (3, 10, 100)
"""Sizes of the fleets that are measured, in machines."""
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


class Bench:
    """The servers of one run and their ports."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._ports = {
            name: free_port()
            for name in (
                *("plain", "replay", "echo", "nginx", "mitm", "mitm-ws"),
                *(f"{edge}-{machines}" for machines in FLEETS for edge in ("ams", "dfw")),
            )
        }
        self._folder = folder
        ports = self._ports
        _write_nginx(folder, ports)
        other_cores = cores(others=True)
        start = lambda command, chosen: stack.enter_context(running(command, chosen, folder))
        start([which("nginx"), "-c", str(folder / "upstream.conf"), "-p", str(folder)], other_cores)
        start([which("nginx"), "-c", str(folder / "proxy.conf"), "-p", str(folder)], cores())
        start([sys.executable, "-m", "tests.bench.websocket", str(ports["echo"])], other_cores)
        for name, upstream in (("mitm", "plain"), ("mitm-ws", "echo")):
            mode = f"reverse:http://127.0.0.1:{ports[upstream]}"
            start(
                [
                    str(BIN / "mitmdump"),
                    "-q",
                    "--mode",
                    mode,
                    "-p",
                    str(ports[name]),
                    "--set",
                    f"confdir={folder}",
                ],
                cores(),
            )
        for machines in FLEETS:
            config = folder / f"{machines}.toml"
            config.write_text(_flysim_config(ports, machines))
            start([str(BIN / "flysim"), "up", "--quiet", "-c", str(config)], cores())
        for port in ports.values():
            wait_for(port)

    def measure(self) -> list[Row]:
        """The ratios of each round, and the rates behind them."""
        ports = self._ports
        rates: dict[str, list[float]] = {}
        ratios: dict[str, list[float]] = {}
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS} …", file=sys.stderr)
            stock = requests_per_second(ports["mitm"], "plain")
            echo = self._echoes("mitm-ws")
            measured = {
                "nginx, plain": requests_per_second(ports["nginx"], "plain"),
                "mitmdump, plain": stock,
                "nginx, WebSocket echo": self._echoes("nginx"),
                "mitmdump, WebSocket echo": echo,
            }
            for machines in FLEETS:
                plain = requests_per_second(ports[f"dfw-{machines}"], "web.fly.dev")
                replay = requests_per_second(ports[f"ams-{machines}"], "web.fly.dev")
                measured[f"flysim, plain, {machines} machines"] = plain
                measured[f"flysim, one replay, {machines} machines"] = replay
                ratios.setdefault(f"plain, {machines} machines", []).append(plain / stock)
                ratios.setdefault(f"one replay, {machines} machines", []).append(replay / stock)
            measured["flysim, WebSocket echo"] = self._echoes(f"dfw-{FLEETS[0]}", "echo.fly.dev")
            ratios.setdefault("WebSocket echo", []).append(measured["flysim, WebSocket echo"] / echo)
            for name, rate in measured.items():
                rates.setdefault(name, []).append(rate)
        targets = {f"plain, {FLEETS[0]} machines": ">= 3.5", f"one replay, {FLEETS[0]} machines": ">= 2.4"}
        return [
            *(Row(name, "x mitmdump", values, targets.get(name, "")) for name, values in ratios.items()),
            *(Row(name, "/s", values) for name, values in rates.items()),
        ]

    def _echoes(self, name: str, host: str = "echo") -> float:
        return asyncio.run(echoes_per_second(self._ports[name], host, clients=CONNECTIONS, seconds=SECONDS))


def requests_per_second(port: int, host: str) -> float:
    command = [
        which("wrk"),
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS:g}s",
        "-H",
        f"Host: {host}",
        f"http://127.0.0.1:{port}/",
    ]
    output = subprocess.run(
        on_cores(command, cores(others=True)), capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"wrk reported errors:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate, output
    return float(rate[1])


def _write_nginx(folder: Path, ports: dict[str, int]) -> None:
    common = f"""
        daemon off; worker_processes 1; pid {folder}/%s.pid; error_log {folder}/%s.log;
        events {{ worker_connections 1024; }}
        http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
          proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          %s }}"""
    upstream = f"""
        server {{ listen 127.0.0.1:{ports["plain"]} backlog=1024;
                  location / {{ default_type text/plain; return 200 "hello from the machine"; }} }}
        server {{ listen 127.0.0.1:{ports["replay"]} backlog=1024;
                  location / {{ add_header fly-replay instance={DFW} always;
                                default_type text/plain; return 307; }} }}"""
    proxy = f"""
        upstream plain {{ server 127.0.0.1:{ports["plain"]}; keepalive 16; }}
        upstream echo {{ server 127.0.0.1:{ports["echo"]}; }}
        server {{ listen 127.0.0.1:{ports["nginx"]} backlog=1024;
                  location / {{ proxy_pass http://plain; proxy_http_version 1.1; proxy_set_header Connection ""; }}
                  location /ws {{ proxy_pass http://echo; proxy_http_version 1.1;
                                  proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection Upgrade; }} }}"""
    for name, body in (("upstream", upstream), ("proxy", proxy)):
        (folder / f"{name}.conf").write_text(common % (name, name, body))


def _flysim_config(ports: dict[str, int], machines: int) -> str:
    """A fleet with one machine in Amsterdam, which replays, and the others in Dallas."""
    return f"""
version = 1
[edges]
ams = {ports[f"ams-{machines}"]}
dfw = {ports[f"dfw-{machines}"]}
[control]
port = 0
[[apps.web.machines]]
region = "ams"
id = "{AMS}"
url = "http://127.0.0.1:{ports["replay"]}"
[[apps.web.machines]]
region = "dfw"
id = "{DFW}"
url = "http://127.0.0.1:{ports["plain"]}"
{machines_in_dallas(machines - 2, ports["plain"])}
[[apps.echo.machines]]
region = "dfw"
url = "http://127.0.0.1:{ports["echo"]}"
"""


def machines_in_dallas(count: int, port: int) -> str:
    return f'[[apps.web.machines]]\nregion = "dfw"\nurl = "http://127.0.0.1:{port}"\n' * count


@contextmanager
def running(
    command: list[str], chosen: list[int], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a command on the chosen cores; none: on all of them. Yields its process id."""
    env = {**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)}
    with (folder / "servers.log").open("ab") as log:
        process = subprocess.Popen(on_cores(command, chosen), stdout=log, stderr=log, env=env, cwd=folder)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cores(*, others: bool = False) -> list[int]:
    """The last core for a proxy, the others for the upstream server and the load generator."""
    return (CORES[:-1] if others else CORES[-1:]) if len(CORES) > 1 else []


def on_cores(command: list[str], chosen: list[int]) -> list[str]:
    taskset = shutil.which("taskset")
    return [taskset, "-c", ",".join(map(str, chosen)), *command] if taskset and chosen else command


def path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def which(tool: str) -> str:
    found = shutil.which(tool, path=path())
    assert found, tool
    return found


def wait_for(port: int) -> None:
    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(accepts, f"port {port}")


def until(condition: Callable[[], bool], what: str) -> None:
    if not poll_blocking(lambda: condition() or None, timeout_seconds=20, interval_seconds=0.005):
        sys.exit(f"timed out after 20 s waiting for {what}")
