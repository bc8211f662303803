"""What a thousand machines cost flysim: a real `flysim up`, on an engine that lists as many tasks as are wanted.

The engine is a small server on a socket of its own, which says of each machine what a real one was recorded to say
(`tests/machines/swarm/recorded`); one small server answers for all machines. Run: python -m tests.bench.swarm 1000
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
    answers: dict[str, bytes]
    asked: int = 0


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        path = re.sub(r"^/v[0-9.]+|\?.*", "", self.path)
        self.server.asked += path == "/tasks"
        if path.endswith("/logs"):
            threading.Event().wait()
        body = self.server.answers.get(path, b"OK")
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "flysim"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Machine(socketserver.StreamRequestHandler):
    """Stands for all of them."""

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
    machines = Machines(("127.0.0.1", 0), Machine)
    services = services_of(load_config(config))
    tasks = [task for service in services for task in tasks_of(service, machines.server_address[1])]
    engine = Engine(str(folder / "engine.sock"), Answering)
    listed = json.dumps(tasks).encode()
    node = recorded("nodes")[0]["ID"]
    told = [
        {"ID": f"service-{each.name}", "Spec": {"Name": each.name, "Labels": {"fly.region": "x"}}}
        for each in services
    ]
    engine.answers = {
        "/version": json.dumps({"ApiVersion": "1.41"}).encode(),
        "/info": json.dumps({"Swarm": {"NodeID": node, "LocalNodeState": "active", "ControlAvailable": True}}).encode(),
        "/tasks": listed,
        "/nodes": json.dumps(recorded("nodes")).encode(),
        "/services": json.dumps(told).encode(),
    }  # fmt: skip
    serve(machines)
    serve(engine)
    print(f"{count} machines in {len(services)} services; the list of tasks has {len(listed) / 1e6:.1f} MB")
    watch(folder, config, engine)


def watch(folder: Path, config: Path, engine: Engine) -> None:
    ready, begun = folder / "ready.json", time.monotonic()
    process = subprocess.Popen(
        [*FLYSIM, "up", "-q", "-c", str(config), "--backend", "swarm:fleet", "--ready-file", str(ready)],
        env={**os.environ, "DOCKER_HOST": f"unix://{folder / 'engine.sock'}"},
        stdout=subprocess.DEVNULL,
    )
    while not ready.exists():
        assert process.poll() is None, "flysim has ended"
        time.sleep(0.01)
    print(f"ready, all healthy, after {time.monotonic() - begun:.1f} s")
    seen = psutil.Process(process.pid)
    before, asked, begun = seen.cpu_times(), engine.asked, time.monotonic()
    time.sleep(WATCHED_SECONDS)
    after, seconds = seen.cpu_times(), time.monotonic() - begun
    used = after.user + after.system - before.user - before.system
    looks = engine.asked - asked
    share, each = 100 * used / seconds, 1000 * used / looks
    print(f"{looks / seconds:.2f} looks a second, {share:.0f} % of a core, {each:.0f} ms each")
    print(f"memory {seen.memory_info().rss / 2**20:.0f} MiB, {seen.num_threads()} threads")
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
