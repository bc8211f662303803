"""Benchmark of flysim with all features, stock `mitmdump` and nginx: request rates, ratios, start-up time.

Each proxy runs on one core, the upstream server and the load generator on the others. Rounds alternate between the
proxies, so that other load on the computer affects all of them; the result is the median. Uses loopback only, and takes
less than two minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from simulator.machines.port import free_port
from simulator.retry import poll_blocking
from tests.bench import routing_decision
from tests.bench.websocket import echoes_per_second

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DFW, AMS = "286533db064e58", "d8dd626f379508"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
CONNECTIONS = 8
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def main() -> None:
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool, path=_path()) is None]
    if missing:
        sys.exit(
            f"make bench needs {' and '.join(missing)}; on Debian: apt-get install nginx-light wrk\n"
            "  nginx is the upstream server and one of the proxies, wrk generates the load"
        )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flysim-bench-")))
        bench = Bench(stack, folder)
        _print_table(bench.measure())
        _print_start_up(folder)
    routing_decision.main()


class Bench:
    """The servers of one run and their ports."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._ports = {
            name: free_port()
            for name in ("plain", "replay", "echo", "nginx", "mitm", "mitm-ws", "ams", "dfw")
        }
        self._folder = folder
        ports = self._ports
        _write_nginx(folder, ports)
        other_cores = _cores(others=True)
        start = lambda command, cores: stack.enter_context(_running(command, cores, folder))
        start([_which("nginx"), "-c", str(folder / "upstream.conf"), "-p", str(folder)], other_cores)
        start([_which("nginx"), "-c", str(folder / "proxy.conf"), "-p", str(folder)], _cores())
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
                _cores(),
            )
        config = folder / "flysim.toml"
        config.write_text(_flysim_config(ports))
        start([str(BIN / "flysim"), "up", "--quiet", "-c", str(config)], _cores())
        for port in ports.values():
            _wait_for(port)

    def measure(self) -> dict[str, dict[str, float]]:
        """Workload -> proxy -> median rate per second."""
        ports = self._ports
        http: Callable[[int, str], float] = lambda port, host: _requests_per_second(port, host)
        echo: Callable[[int, str], float] = lambda port, host: asyncio.run(
            echoes_per_second(port, host, clients=CONNECTIONS, seconds=SECONDS)
        )
        workloads = {
            "plain": {
                "nginx": lambda: http(ports["nginx"], "plain"),
                "mitmdump": lambda: http(ports["mitm"], "plain"),
                "flysim": lambda: http(ports["dfw"], "web.fly.dev"),
            },
            "one replay": {"flysim": lambda: http(ports["ams"], "web.fly.dev")},
            "websocket echo": {
                "nginx": lambda: echo(ports["nginx"], "echo"),
                "mitmdump": lambda: echo(ports["mitm-ws"], "echo"),
                "flysim": lambda: echo(ports["dfw"], "echo.fly.dev"),
            },
        }
        rates: dict[str, dict[str, list[float]]] = {
            w: {p: [] for p in proxies} for w, proxies in workloads.items()
        }
        for round_number in range(ROUNDS):
            print(f"round {round_number + 1} of {ROUNDS} …", file=sys.stderr)
            for workload, proxies in workloads.items():
                for proxy, run in proxies.items():
                    rates[workload][proxy].append(run())
        return {w: {p: statistics.median(r) for p, r in proxies.items()} for w, proxies in rates.items()}


def _print_table(rates: dict[str, dict[str, float]]) -> None:
    stock = {w: rates[w].get("mitmdump", rates["plain"]["mitmdump"]) for w in rates}
    targets = {"plain": 1.8, "one replay": 1.4, "websocket echo": 1.7}
    print(f"\n{'':16}{'nginx':>12}{'mitmdump':>12}{'flysim':>12}{'ratio':>9}{'target':>10}")
    for workload, proxies in rates.items():
        cells = "".join(
            f"{proxies[p]:>10,.0f}/s" if p in proxies else f"{'–':>12}"
            for p in ("nginx", "mitmdump", "flysim")
        )
        print(f"{workload:16}{cells}{proxies['flysim'] / stock[workload]:>9.2f}{targets[workload]:>10}")
    print("ratio: flysim to stock mitmdump; for one replay, to mitmdump's plain rate. One core per proxy.\n")


def _print_start_up(folder: Path) -> None:
    """Compare the start-up time of the demo with that of one sample app."""
    one_app = min(_time_until_healthy(folder) for _ in range(3))
    demo = min(_time_until_ready(folder) for _ in range(3))
    print(
        f"one sample app is healthy after {one_app:.2f} s, flysim up with three of them is ready after {demo:.2f} s,"
    )
    print(f"which is {demo - one_app:.2f} s more (target: at most 1.5 s)")


def _time_until_healthy(folder: Path) -> float:
    port = free_port()
    start = time.perf_counter()
    environment = {"PORT": str(port), "HOST": "127.0.0.1"}
    with _running([sys.executable, "-m", "sample_app"], [], folder, environment):
        _wait_for(port)
        return time.perf_counter() - start


def _time_until_ready(folder: Path) -> float:
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    config = folder / "demo.toml"
    text = (ROOT / "flysim.toml").read_text().replace("8080", "0").replace("8081", "0")
    config.write_text(
        text.replace("sample_app/fly.toml", str(ROOT / "sample_app/fly.toml")) + "\n[control]\nport = 0\n"
    )
    start = time.perf_counter()
    with _running(
        [str(BIN / "flysim"), "up", "--quiet", "-c", str(config), "--ready-file", str(ready)], [], folder
    ):
        _until(ready.exists, "flysim up to be ready")
        elapsed = time.perf_counter() - start
        json.loads(ready.read_text())
        return elapsed


def _requests_per_second(port: int, host: str) -> float:
    command = [
        _which("wrk"),
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS:g}s",
        "-H",
        f"Host: {host}",
        f"http://127.0.0.1:{port}/",
    ]
    output = subprocess.run(
        _on_cores(command, _cores(others=True)), capture_output=True, text=True, check=True
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


def _flysim_config(ports: dict[str, int]) -> str:
    return f"""
version = 1
[edges]
ams = {ports["ams"]}
dfw = {ports["dfw"]}
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
[[apps.echo.machines]]
region = "dfw"
url = "http://127.0.0.1:{ports["echo"]}"
"""


@contextmanager
def _running(
    command: list[str], cores: list[int], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    env = {**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)}
    with (folder / "servers.log").open("ab") as log:
        process = subprocess.Popen(_on_cores(command, cores), stdout=log, stderr=log, env=env, cwd=folder)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cores(*, others: bool = False) -> list[int]:
    """The last core for a proxy, the others for the upstream server and the load generator."""
    return (CORES[:-1] if others else CORES[-1:]) if len(CORES) > 1 else []


def _on_cores(command: list[str], cores: list[int]) -> list[str]:
    taskset = shutil.which("taskset")
    return [taskset, "-c", ",".join(map(str, cores)), *command] if taskset and cores else command


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _which(tool: str) -> str:
    found = shutil.which(tool, path=_path())
    assert found, tool
    return found


def _wait_for(port: int) -> None:
    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _until(accepts, f"port {port}")


def _until(condition: Callable[[], bool], what: str) -> None:
    if not poll_blocking(lambda: condition() or None, timeout_seconds=20, interval_seconds=0.005):
        sys.exit(f"timed out after 20 s waiting for {what}")


if __name__ == "__main__":
    main()
