"""A Compose project's containers as the machines: found by the engine that runs them, or by name alone.

Where there is no engine, as inside a container of the project itself, flysim routes to what the network's name server
tells of, and leaves the containers to whoever runs them.
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
class Fleet:
    """What to start a simulator with."""

    config: Config
    backend: Backend | str = PROCESS
    is_patient: bool = False
    mode: str = ""
    """What is to be known of how the machines are found, if anything."""


def open_fleet(path: Path | None, compose: Path | None, backend: str, *, quiet: bool) -> Fleet:
    """The machines of a config, or with `compose` those of a Compose file. Raises SimulatorError."""
    if compose is None:
        config = read_config(path, backend, quiet=quiet)
        return Fleet(config, backend, is_patient=backend.startswith(f"{SWARM}:"))
    check_together(compose, backend)
    base = None if path is None else read_config(path, backend, quiet=quiet)
    return asyncio.run(_engine_fleet(compose, base)) if find_engine() else _lookup_fleet(compose, base)


def check_together(compose: Path, backend: str) -> None:
    """Raises InputError for a backend that has its own way to find machines."""
    if backend_name(backend) == SWARM:
        raise InputError(
            f"--compose {compose} and --backend {backend} both say where the machines are",
            expected="one of them",
        )


def find_engine() -> str | None:
    """Where a Docker engine is to be asked, if there is one within reach."""
    return os.environ.get("DOCKER_HOST") or (f"unix://{_SOCKET}" if _SOCKET.exists() else None)


async def _engine_fleet(compose: Path, base: Config | None) -> Fleet:
    from simulator.config.compose.reader import config_of_machines, read_compose
    from simulator.machines.docker import DockerBackend
    from simulator.machines.docker.engine import Engine
    from simulator.machines.docker.project import Project, own_project

    file = read_compose(compose, base)
    engine = await Engine.connect()
    try:
        own = await own_project(engine)
        project = Project(own or file.project, compose, file.services, base)
        # As a container of the project itself, flysim may well be the first to start.
        machines = await project.find_machines(engine, may_be_none=own is not None)
    finally:
        engine.close()
    config = config_of_machines(machines, file, base)
    backend = DockerBackend([app.app for app in config.apps], project=project)
    mode = (
        f"the machines are containers of the Compose project {project.name}, which the Docker engine tells of"
    )
    return Fleet(config, backend, is_patient=True, mode=mode)


@dataclass(frozen=True, slots=True)
class TakenProject:
    """The containers of a Compose project, to play scenarios on: each scenario's config says the rest."""

    file: ComposeFile
    containers: tuple[Any, ...]
    """What the engine says of each."""

    def adapt(self, config: Config) -> Config:
        """This fleet, with the project's machines for its own. Raises InputError."""
        from simulator.config.compose.reader import config_of_machines

        machines = self._project(config).read_all(self.containers)
        return config_of_machines(machines, self.file, config)

    def open(self, config: Config, *, realtime: bool, seed: int) -> Simulator:
        from simulator.machines.docker import DockerBackend
        from simulator.runtime import Simulator

        backend = DockerBackend([app.app for app in config.apps], project=self._project(config))
        return Simulator(config, realtime=realtime, seed=seed, free_ports=True, backend=backend)

    def _project(self, base: Config | None) -> Project:
        from simulator.machines.docker.project import Project

        return Project(self.file.project, self.file.path, self.file.services, base)


async def take_project(compose: Path) -> TakenProject:
    """Raises InputError for the file, EnvironmentFault without an engine or without containers."""
    from simulator.config.compose.reader import read_compose
    from simulator.machines.docker.engine import Engine

    file = read_compose(compose)
    engine = await Engine.connect()
    try:
        project = TakenProject(file, ())._project(None)
        containers = await project.find_containers(engine)
        project.read_all(containers)
    finally:
        engine.close()
    return TakenProject(file, tuple(containers))


def _lookup_fleet(compose: Path, base: Config | None) -> Fleet:
    from simulator.config.compose.reader import config_of_machines, read_compose
    from simulator.machines.lookup import LookupBackend

    file = read_compose(compose, base)
    if not file.machines:
        raise InputError(
            f"no service with fly.region says which machine it is: {', '.join(file.unnamed)}",
            path=compose,
            expected="the label fly.machine_id too, where there is no Docker engine to ask",
        )
    return Fleet(
        config_of_machines(file.machines, file, base),
        LookupBackend(
            file.unnamed,
            lambda service: console.warn(_unnamed(service)),
            lambda name: console.warn(_forgotten(name)),
        ),
        is_patient=True,
        mode=_mode(file),
    )


def _mode(file: ComposeFile) -> str:
    return (
        f"the machines are the containers of {file.path}, found by name: no Docker engine is within reach, so flysim "
        "routes to them and shows no logs of theirs, and does not start, stop or clone any"
    )


def _unnamed(service: str) -> str:
    return (
        f"containers of the service {service} run, and are not routed to: they have no fly.machine_id, and their host "
        "names are known to the engine only. With docker-compose.engine.yml flysim asks it: see docs/docker.md"
    )


def _forgotten(name: str) -> str:
    return (
        f"the name {name} leads nowhere any more, although the machine is there: an engine that leaves a swarm forgets "
        f"names. docker compose restart {name} brings it back for the other machines"
    )
