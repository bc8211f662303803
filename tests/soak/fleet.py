"""The child process of a soak run: `flysim up` with its configuration, control API, commands and resources."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from simulator.retry import poll
from tests.asyncio_errors import find_errors
from tests.soak.plan import Plan, PlannedFault

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 30.0
REPLAY_ERROR_SECONDS = 1.0

_FLY_TOML = """\
app = "web"
[http_service]
internal_port = 8080
auto_stop_machines = "off"
[[http_service.checks]]
path = "/healthz"
interval = "1s"
timeout = "1s"
"""
_GRPC_TOML = """\
app = "grpc"
[http_service]
internal_port = 8080
auto_stop_machines = "off"
[http_service.http_options]
h2_backend = true
"""
_SETTINGS = {
    "web": 'fly_toml = "web.toml"\n',
    "grpc": 'fly_toml = "grpc.toml"\n',
    "lab": 'network = "lab"\n',
    "vault": 'org = "other"\n',
}


def write_config(folder: Path, plan: Plan) -> Path:
    """A flysim.toml with the machines of the plan: apps with and without fly.toml, two organizations, two networks."""
    (folder / "web.toml").write_text(_FLY_TOML)
    (folder / "grpc.toml").write_text(_GRPC_TOML)
    (folder / "machines").mkdir()
    command = [
        sys.executable,
        "-P",
        str(Path(__file__).with_name("app.py")),
        "{host}",
        "{port}",
        str(folder / "machines"),
    ]
    text = "version = 1\nedges = { ams = 0, dfw = 0 }\ncontrol = { port = 0 }\n"
    text += f"\n[proxy]\nreplay_error_seconds = {REPLAY_ERROR_SECONDS}\n"
    for app in dict.fromkeys(machine.app for machine in plan.machines):
        text += f"\n[apps.{app}]\ncommand = {json.dumps(command)}\n{_SETTINGS.get(app, '')}"
        for machine in plan.machines:
            if machine.app == app:
                text += f'[[apps.{app}.machines]]\nregion = "{machine.region}"\nid = "{machine.id}"\n'
    path = folder / "flysim.toml"
    path.write_text(text)
    return path


class Fleet:
    """A running `flysim up`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        ready: dict[str, Any],
        log: Path,
        commands: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        api: httpx.AsyncClient,
    ) -> None:
        self.process = process
        self.edges: dict[str, str] = ready["edges"]
        self.log = log
        self._commands = commands
        self._lock = asyncio.Lock()
        self._api = api
        self._statistics = psutil.Process(process.pid)

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path, plan: Plan) -> AsyncIterator[Self]:
        """Kills flysim at the end if it still runs."""
        ready, log = folder / "ready.json", folder / "flysim.log"
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.soak.up", str(theirs.fileno())]
        command += ["-c", str(write_config(folder, plan)), "--ready-file", str(ready)]
        with log.open("wb") as output, theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 (it starts in milliseconds)
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()]
            )
        try:
            if not await poll(
                lambda: ready.exists() or process.poll() is not None or None, timeout_seconds=START_SECONDS
            ):
                raise RuntimeError(f"flysim is not ready after {START_SECONDS:g} s\n{log.read_text()}")
            if process.poll() is not None:
                raise RuntimeError(f"flysim did not start\n{log.read_text()}")
            addresses = json.loads(ready.read_text())
            commands = await asyncio.open_connection(sock=ours)
            async with httpx.AsyncClient(base_url=addresses["control"], timeout=60) as api:
                yield cls(process, addresses, log, commands, api)
            commands[1].close()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    # Faults.

    async def inject(self, fault: PlannedFault) -> list[str]:
        """Start a fault. Returns the ids of the machines that it concerns; empty: all."""
        machines = [machine.id for machine in fault.machines]
        if fault.values:
            await self._command({"inject": fault.values})
        elif fault.kind == "kill":
            await self._post(f"/_flysim/machines/{machines[0]}/kill")
        elif fault.kind == "clone":
            clone = await self._post(f"/_flysim/machines/{machines[0]}/clone")
            return [clone["id"]]
        else:
            await self._post(f"{_machine_path(fault)}/{fault.kind}")
        return machines

    async def heal(self, fault: PlannedFault, machines: list[str]) -> None:
        if fault.values:
            await self._command({"heal": fault.values})
        elif fault.kind == "clone":
            await self._request(
                "DELETE", f"/v1/apps/{fault.machines[0].app}/machines/{machines[0]}?force=true"
            )
        elif fault.kind == "cordon":
            await self._post(f"{_machine_path(fault)}/uncordon")
        else:
            await self._post(f"{_machine_path(fault)}/start")

    async def states(self) -> dict[str, str]:
        """The state of each machine; `unhealthy` if it is started and fails its check."""
        status = await self._request("GET", "/_flysim/status")
        return {
            machine["id"]: machine["state"]
            if machine["healthy"] or machine["state"] != "started"
            else "unhealthy"
            for machine in status["machines"]
        }

    async def _post(self, path: str) -> Any:
        return await self._request("POST", path)

    async def _request(self, method: str, path: str) -> Any:
        response = await self._api.request(method, path)
        if response.status_code >= 300:
            raise FaultError(response.text)
        return response.json()

    async def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        reader, writer = self._commands
        async with self._lock:
            writer.write(json.dumps(command).encode() + b"\n")
            reply: dict[str, Any] = json.loads(await reader.readline())
        if "error" in reply:
            raise FaultError(reply["error"])
        return reply

    # Resources and output.

    async def sample(self) -> dict[str, Any]:
        """Memory, descriptors, child processes and asyncio tasks of flysim itself."""
        with self._statistics.oneshot():
            memory = self._statistics.memory_info().rss / 2**20
            fds = self._statistics.num_fds()
        children = len(self._statistics.children(recursive=True))
        tasks = (await self._command({"count": True}))["tasks"]
        return {
            "rss_mb": round(memory, 2),
            "fds": fds,
            "children": children,
            "tasks": tasks,
        }

    async def stop(self) -> tuple[int, list[str]]:
        """Stop flysim with Ctrl-C. Returns its exit status, and the processes that it left behind."""
        children = self._statistics.children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        status = await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        _, left = await asyncio.to_thread(psutil.wait_procs, children, 3)
        return status, [f"{child.pid} {' '.join(child.cmdline())}" for child in left]

    def find_errors(self) -> list[str]:
        """The lines of flysim's output that no run should have."""
        output = self.log.read_text(errors="replace")
        return [
            *(
                line
                for line in output.splitlines()
                if "Traceback (most recent call last)" in line or "internal error" in line
            ),
            *find_errors(output),
        ]


class FaultError(Exception):
    """flysim refused to start or end a fault, for example because the machine is restarting."""


def _machine_path(fault: PlannedFault) -> str:
    machine = fault.machines[0]
    return f"/v1/apps/{machine.app}/machines/{machine.id}"
