"""Benchmark of `flysim up` with a thousand machines, on a fake Docker engine that lists any number of swarm tasks.

The engine is a small server on a Unix socket. It returns recorded responses of a real engine
(`tests/machines/swarm/recorded`) for each machine. One small server responds for all machines. Run:
python -m tests.bench.swarm 1000
"""

from __future__ import annotations

import copy
import json
import os
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import psutil

from simulator.config import load_config
from simulator.machines.swarm import FleetService, services_of
from tests.machines.swarm.recorded_engine import recorded

REGIONS = ("ams", "arn", "bom", "cdg", "dfw", "ewr", "fra", "gru", "iad", "jnb")
FLYSIM = (sys.executable, "-m", "simulator")
WATCHED_SECONDS = 20.0
ROW = 100


def write_config(folder: Path, count: int) -> Path:
    rows = "".join(
        f'[[apps.chat.machines]]\nregion = "{REGIONS[nth % len(REGIONS)]}"\ncount = {min(ROW, count - nth * ROW)}\n'
        for nth in range(-(-count // ROW))
    )
    path = folder / "flysim.toml"
    head = 'version = 1\nedges = { ams = 0 }\ncontrol = { port = 0 }\n[apps.chat]\nimage = "chat:1"\n'
    path.write_text(head + rows)
    return path


def tasks_of(service: FleetService, port: int) -> list[dict[str, Any]]:
    model = recorded("fleet")[0]
    found = []
    for slot, spec in enumerate(service.specs, 1):
        task = copy.deepcopy(model)
        task |= {"ID": f"task-{spec.id}", "ServiceID": f"service-{service.name}", "Slot": slot}
        container = task["Spec"]["ContainerSpec"]
        container["Labels"] |= {
            "fly.app": spec.app,
            "fly.region": spec.region,
            "fly.machine_id": service.spec.id,
        }
        container["Env"] = [each for each in container["Env"] if not each.startswith("FLY_PRIVATE_IP")]
        for each in task["Status"]["PortStatus"]["Ports"]:
            each["PublishedPort"] = port
        found.append(task)
    return found


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    responses: dict[str, bytes]
    task_polls: int = 0


class EngineHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        path = re.sub(r"^/v[0-9.]+|\?.*", "", self.path)
        self.server.task_polls += path == "/tasks"
        if path.endswith("/logs"):
            threading.Event().wait()
        body = self.server.responses.get(path, b"OK")
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "flysim"

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class MachineHandler(socketserver.StreamRequestHandler):
    """Responds to every request with 200."""

    def handle(self) -> None:
        while (line := self.rfile.readline()) and line.strip():
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Machines(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024


def serve(server: socketserver.BaseServer) -> None:
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="flysim-bench-"))
    config = write_config(folder, count)
    machines = Machines(("127.0.0.1", 0), MachineHandler)
    services = services_of(load_config(config))
    tasks = [task for service in services for task in tasks_of(service, machines.server_address[1])]
    engine = Engine(str(folder / "engine.sock"), EngineHandler)
    listed_tasks = json.dumps(tasks).encode()
    node = recorded("nodes")[0]["ID"]
    listed_services = [
        {"ID": f"service-{each.name}", "Spec": {"Name": each.name, "Labels": {"fly.region": "x"}}}
        for each in services
    ]
    engine.responses = {
        "/version": json.dumps({"ApiVersion": "1.41"}).encode(),
        "/info": json.dumps({"Swarm": {"NodeID": node, "LocalNodeState": "active", "ControlAvailable": True}}).encode(),
        "/tasks": listed_tasks,
        "/nodes": json.dumps(recorded("nodes")).encode(),
        "/services": json.dumps(listed_services).encode(),
    }  # fmt: skip
    serve(machines)
    serve(engine)
    print(f"{count} machines in {len(services)} services; the task list has {len(listed_tasks) / 1e6:.1f} MB")
    watch(folder, config, engine)


def watch(folder: Path, config: Path, engine: Engine) -> None:
    ready, started = folder / "ready.json", time.monotonic()
    process = subprocess.Popen(
        [*FLYSIM, "up", "-q", "-c", str(config), "--backend", "swarm:fleet", "--ready-file", str(ready)],
        env={**os.environ, "DOCKER_HOST": f"unix://{folder / 'engine.sock'}"},
        stdout=subprocess.DEVNULL,
    )
    while not ready.exists():
        assert process.poll() is None, "flysim has exited"
        time.sleep(0.01)
    print(f"all machines healthy after {time.monotonic() - started:.1f} s")
    flysim = psutil.Process(process.pid)
    before, polls_before, started = flysim.cpu_times(), engine.task_polls, time.monotonic()
    time.sleep(WATCHED_SECONDS)
    after, seconds = flysim.cpu_times(), time.monotonic() - started
    used = after.user + after.system - before.user - before.system
    polls = engine.task_polls - polls_before
    share, each = 100 * used / seconds, 1000 * used / polls
    print(f"{polls / seconds:.2f} polls per second, {share:.0f} % of a core, {each:.0f} ms per poll")
    print(f"memory {flysim.memory_info().rss / 2**20:.0f} MiB, {flysim.num_threads()} threads")
    edge = json.loads(ready.read_text())["edges"]["ams"]
    with httpx.Client() as client:
        times = []
        for _ in range(300):
            sent = time.perf_counter()
            client.get(edge).raise_for_status()
            times.append(time.perf_counter() - sent)
    times.sort()
    print(
        f"a request takes {1000 * times[150]:.1f} ms at the median, {1000 * times[297]:.1f} ms at the 99th percentile"
    )
    process.terminate()
    process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
