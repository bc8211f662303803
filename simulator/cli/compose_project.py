"""Source of a command's fleet: a config, or a Compose project whose containers become the machines.

The containers are found through the Docker engine. Without access to an engine, for example inside a container of the
project, they are found by name through the network's name server, and flysim cannot start, stop or clone them.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.cli import console
from simulator.cli.fleet import read_config
from simulator.errors import InputError
from simulator.machines import PROCESS, SWARM, backend_name

if TYPE_CHECKING:
    from simulator.config import Config
    from simulator.config.compose.reader import ComposeFile
    from simulator.machines import Backend
    from simulator.machines.docker.project import Project
    from simulator.runtime import Simulator

_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True, slots=True)
class FleetSource:
    """A fleet to start a simulator with."""

    config: Config
    backend: Backend | str = PROCESS
    runs_outside: bool = False
    """Whether the machines run outside flysim. They may be missing or unhealthy when flysim starts."""
    mode: str = ""
    """A note for the user on how the machines are found. May be empty."""


def open_fleet(path: Path | None, compose: Path | None, backend: str, *, quiet: bool) -> FleetSource:
    """The fleet of a config, or of a Compose file if `compose` is given. Raises SimulatorError."""
    if compose is None:
        config = read_config(path, backend, quiet=quiet)
        return FleetSource(config, backend, runs_outside=backend.startswith(f"{SWARM}:"))
    check_compose_backend(compose, backend)
    base = None if path is None else read_config(path, backend, quiet=quiet)
    return asyncio.run(_engine_fleet(compose, base)) if find_engine() else _lookup_fleet(compose, base)


def check_compose_backend(compose: Path, backend: str) -> None:
    """Raises InputError for the swarm backend, which finds its machines in the swarm."""
    if backend_name(backend) == SWARM:
        raise InputError(
            f"--compose {compose} cannot be combined with --backend {backend}: both define the machines",
            expected="one of the two options",
        )


def find_engine() -> str | None:
    """The address of a Docker engine; None if DOCKER_HOST is not set and the default socket does not exist."""
    return os.environ.get("DOCKER_HOST") or (f"unix://{_SOCKET}" if _SOCKET.exists() else None)


async def _engine_fleet(compose: Path, base: Config | None) -> FleetSource:
    from simulator.config.compose.reader import config_from_machines, read_compose
    from simulator.machines.docker import DockerBackend
    from simulator.machines.docker.engine import Engine
    from simulator.machines.docker.project import Project, own_project

    file = read_compose(compose, base)
    engine = await Engine.connect()
    try:
        own = await own_project(engine)
        project = Project(own or file.project, compose, file.services, base)
        # In a container of the project, flysim may start before the machines.
        machines = await project.find_machines(engine, allow_empty=own is not None)
    finally:
        engine.close()
    config = config_from_machines(machines, file, base)
    backend = DockerBackend([app.app for app in config.apps], project=project)
    mode = (
        f"the machines are containers of the Compose project {project.name}, found through the Docker engine"
    )
    return FleetSource(config, backend, runs_outside=True, mode=mode)


@dataclass(frozen=True, slots=True)
class ComposeProject:
    """The containers of a Compose project as the machines of scenarios, whose configs have all other settings."""

    file: ComposeFile
    containers: tuple[Any, ...]
    """Each as the engine describes it."""

    def adapt(self, config: Config) -> Config:
        """The config with the project's machines instead of its own. Raises InputError."""
        from simulator.config.compose.reader import config_from_machines

        machines = self._project(config).read_all(self.containers)
        return config_from_machines(machines, self.file, config)

    def open(self, config: Config, *, realtime: bool, seed: int) -> Simulator:
        from simulator.machines.docker import DockerBackend
        from simulator.runtime import Simulator

        backend = DockerBackend([app.app for app in config.apps], project=self._project(config))
        return Simulator(config, realtime=realtime, seed=seed, free_ports=True, backend=backend)

    def _project(self, base: Config | None) -> Project:
        from simulator.machines.docker.project import Project

        return Project(self.file.project, self.file.path, self.file.services, base)


async def find_project(compose: Path) -> ComposeProject:
    """Raises InputError for an invalid Compose file, EnvironmentFault without an engine or containers."""
    from simulator.config.compose.reader import read_compose
    from simulator.machines.docker.engine import Engine

    file = read_compose(compose)
    engine = await Engine.connect()
    try:
        project = ComposeProject(file, ())._project(None)
        containers = await project.find_containers(engine)
        project.read_all(containers)
    finally:
        engine.close()
    return ComposeProject(file, tuple(containers))


def _lookup_fleet(compose: Path, base: Config | None) -> FleetSource:
    from simulator.config.compose.reader import config_from_machines, read_compose
    from simulator.machines.lookup import LookupBackend

    file = read_compose(compose, base)
    if not file.machines:
        raise InputError(
            f"services with the label fly.region have no label fly.machine_id: {', '.join(file.services_without_id)}",
            path=compose,
            expected="both labels on at least one service, because without a Docker engine flysim cannot find the ids",
        )
    return FleetSource(
        config_from_machines(file.machines, file, base),
        LookupBackend(
            file.services_without_id,
            lambda service: console.print_warning(_unnamed_text(service)),
            lambda name: console.print_warning(_unresolved_text(name)),
        ),
        runs_outside=True,
        mode=_lookup_mode(file),
    )


def _lookup_mode(file: ComposeFile) -> str:
    return (
        f"the machines are the containers of {file.path}, found by DNS: flysim has no access to a Docker engine, so it "
        "routes to them but shows no logs and does not start, stop or clone them"
    )


def _unnamed_text(service: str) -> str:
    return (
        f"flysim does not route to the containers of the service {service}: they have no fly.machine_id, and without "
        "the engine flysim cannot find their ids\n  hint: use docker-compose.engine.yml, see docs/docker.md"
    )


def _unresolved_text(name: str) -> str:
    return (
        f"the name {name} no longer resolves, although the machine runs: an engine that leaves a swarm loses "
        f"DNS names\n  hint: docker compose restart {name}"
    )
