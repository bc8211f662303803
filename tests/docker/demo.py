"""The demo of docker-compose.yml as a project of its own, with other names, ports and networks."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from simulator.machines.port import free_ports
from simulator.retry import poll_blocking

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0
BUILD_SECONDS = 600.0
LABEL = "label=com.docker.compose.project="


@dataclass
class Demo:
    """One Compose project, and its flysim."""

    project: str
    variables: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)

    def compose(self, *arguments: str, seconds: float = DEADLINE_SECONDS, check: bool = True) -> str:
        """The standard output of `docker compose`."""
        return self._run(
            "docker", "compose", "-p", self.project, *arguments, seconds=seconds, check=check
        ).stdout

    def execute(self, service: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside a container."""
        command = ("docker", "compose", "-p", self.project, "exec", "-T", service, *arguments)
        return self._run(*command, seconds=DEADLINE_SECONDS, check=check)

    def run_python(self, service: str, program: str) -> Any:
        """Run a Python program with dnspython on a machine, and parse its output as JSON."""
        return json.loads(self.execute(service, "python", "-c", program).stdout)

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.compose("ps", "-aq", service).strip()
        (attrs,) = json.loads(self._run("docker", "inspect", container).stdout)
        return dict(attrs)

    @contextmanager
    def one_off(self, service: str, *arguments: str) -> Iterator[None]:
        """A container of `docker compose run`, which `docker compose down` does not remove."""
        container = self.compose("run", "--no-deps", "--detach", service, *arguments).strip()
        try:
            yield
        finally:
            self._run("docker", "rm", "--force", container)

    def remaining(self) -> list[str]:
        """Containers, networks and volumes of the project."""
        kinds = (("ps", "-a"), ("network", "ls"), ("volume", "ls"))
        lists = [
            self._run("docker", *kind, "-q", "--filter", f"{LABEL}{self.project}").stdout for kind in kinds
        ]
        return "".join(lists).split()

    @cached_property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.ports['AMS']}", trust_env=False, timeout=20)

    def get(self, path: str) -> Any:
        """From the control API."""
        return self.client.get(f"{self.control_url}{path}", headers=self._bearer).raise_for_status().json()

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """flysim's events from now on, from the control API."""
        url = f"{self.control_url}/_flysim/events"
        with self.client.stream("GET", url, headers=self._bearer) as response:
            lines = response.raise_for_status().iter_lines()
            yield (json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:"))

    def healthy_since(self, start: float) -> dict[str, float]:
        """Host name -> when the engine first reported the container as healthy since then."""
        span = (f"--since={start}", f"--until={time.time()}")
        wanted = ("--filter=event=health_status", f"--filter={LABEL}{self.project}", "--format={{json .}}")
        times: dict[str, float] = {}
        for line in self._run("docker", "events", *span, *wanted).stdout.splitlines():
            event = json.loads(line)
            if event["status"] == "health_status: healthy":
                times.setdefault(event["id"][:12], event["timeNano"] / 1e9)
        return times

    def advance(self, time: str) -> None:
        """Advance flysim's simulated clock."""
        url = f"{self.control_url}/_flysim/clock"
        self.client.post(url, json={"advance": time}, headers=self._bearer).raise_for_status()

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['CONTROL']}"

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.variables['FLYSIM_CONTROL_TOKEN']}"}

    def machines(self) -> dict[str, dict[str, Any]]:
        """Name -> machine, as flysim reports them."""
        return {machine["name"]: machine for machine in self.get("/_flysim/status")["machines"]}

    def is_routed_to(self, name: str) -> bool:
        machine = self.machines()[name]
        return bool(machine["state"] == "started" and machine["healthy"])

    def _run(
        self, *command: str, seconds: float = DEADLINE_SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
        return result


@contextmanager
def demo_up(*, wait: bool = True, overlay: bool = False) -> Iterator[Demo]:
    """The running demo, removed after the block. `overlay`: with docker-compose.engine.yml."""
    third, second = secrets.randbelow(254) + 1, secrets.randbelow(40) + 210
    project = f"flysim-test-{secrets.token_hex(4)}"
    ports = dict(zip(("AMS", "DFW", "CONTROL"), free_ports(3), strict=True))
    variables = {
        "FLYSIM_TAG": project,
        "FLYSIM_NET4": f"10.{second}.{third}",
        "FLYSIM_NET6": f"fdaa:0:{second:02x}{third:02x}",
        "FLYSIM_CONTROL_TOKEN": secrets.token_hex(16),
        **{f"FLYSIM_PORT_{name}": str(port) for name, port in ports.items()},
    }
    if overlay:
        variables["COMPOSE_FILE"] = os.pathsep.join(("docker-compose.yml", "docker-compose.engine.yml"))
    demo = Demo(project, variables, ports)
    try:
        demo.compose("build", "--quiet", seconds=BUILD_SECONDS)
        demo.compose("up", "-d", *(["--wait"] if wait else []))
        yield demo
    finally:
        demo.compose("down", "--volumes", "--timeout", "5", check=False)
        for image in ("flysim", "flysim-sample-app"):
            demo._run("docker", "image", "rm", f"{image}:{project}", check=False)


def eventually(condition: Callable[[], bool], what: str) -> None:
    is_met = poll_blocking(
        lambda: condition() or None, timeout_seconds=DEADLINE_SECONDS, interval_seconds=0.02
    )
    assert is_met, f"not within {DEADLINE_SECONDS:g} s: {what}"
