"""Containers of a Compose project, read as machines by their labels."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulator.config.compose.labels import REGION, machine_from_labels
from simulator.config.model import Config, MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Placement
from simulator.machines.docker import labels as label
from simulator.machines.docker.engine import LOOPBACK, Engine, EngineError

_DEFAULT_STOP_SIGNAL = "SIGTERM"
_DEFAULT_STOP_SECONDS = 10.0
_ANY_ADDRESS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Project:
    """A Compose project. `services`: in the order of the file; `base`: settings of the apps that labels do not have.

    `attrs` is a container as `docker inspect` shows it, everywhere in this module.
    """

    name: str
    path: Path
    services: tuple[str, ...] = ()
    base: Config | None = None

    def is_machine(self, labels: Mapping[str, str]) -> bool:
        """Whether a container with these labels is one of the project's machines."""
        is_machine = labels.get(label.PROJECT) == self.name and REGION in labels
        return is_machine and labels.get(label.ONE_OFF) != "True"

    async def find_containers(self, engine: Engine) -> list[Any]:
        """The `attrs` of each machine's container, in the order of the file."""
        filters = {"label": [f"{label.PROJECT}={self.name}", REGION]}
        listed = await engine.call(engine.api.containers, all=True, filters=filters)
        found = []
        for each in filter(lambda each: self.is_machine(each["Labels"]), listed):
            with suppress(EngineError):  # It has been removed since it was listed.
                found.append(await engine.call(engine.api.inspect_container, each["Id"]))
        return sorted(found, key=self._sort_key)

    async def find_machines(self, engine: Engine, *, allow_empty: bool = False) -> tuple[MachineSpec, ...]:
        """Raises EnvironmentFault if there are none, InputError for invalid labels."""
        return self.read_all(await self.find_containers(engine), allow_empty=allow_empty)

    def read_all(self, containers: Iterable[Any], *, allow_empty: bool = False) -> tuple[MachineSpec, ...]:
        """Like `find_machines`, for containers that have been found already."""
        specs: list[MachineSpec] = []
        names: dict[str, str] = {}
        for attrs in containers:
            spec, name = self.read(attrs, specs), container_name(attrs)
            if spec.id in names:
                raise InputError(
                    f"containers {names[spec.id]} and {name} have the same machine id {spec.id}",
                    path=self.path,
                    expected="a different fly.machine_id for each container; a scaled service has no fly.machine_id: "
                    "the hostname that Docker generates is then the id",
                )
            names[spec.id] = name
            specs.append(spec)
        if not specs and not allow_empty:
            raise EnvironmentFault(
                f"the Compose project {self.name} has no container with the label {REGION}",
                hint=f"docker compose -f {self.path} up -d --wait --no-deps {' '.join(self.services)}; if the project "
                "was started under another name (-p), set COMPOSE_PROJECT_NAME to it",
            )
        return tuple(specs)

    def read(self, attrs: Any, known: Iterable[MachineSpec]) -> MachineSpec:
        """The machine that a container represents. Raises InputError, which names the container."""
        config = attrs["Config"]
        pairs = (pair.partition("=") for pair in config.get("Env") or ())
        try:
            spec = machine_from_labels(
                config["Labels"],
                host_name=config["Hostname"],
                env={name: value for name, _, value in pairs},
                image=config["Image"],
                base=self.base,
                known=known,
            )
        except InputError as error:
            raise InputError(
                f"container {container_name(attrs)}: {error.problem}", path=self.path, expected=error.expected
            ) from error
        stop_seconds = config.get("StopTimeout")
        return replace(
            spec,
            is_adopted=True,
            kill_signal=config.get("StopSignal") or _DEFAULT_STOP_SIGNAL,
            kill_timeout_seconds=_DEFAULT_STOP_SECONDS if stop_seconds is None else stop_seconds,
        )

    def _sort_key(self, attrs: Any) -> tuple[int, str, int]:
        labels = attrs["Config"]["Labels"]
        service = labels.get(label.SERVICE, "")
        order = self.services.index(service) if service in self.services else len(self.services)
        return order, service, int(labels.get(label.NUMBER, "0"))


def container_name(attrs: Any) -> str:
    return str(attrs["Name"]).lstrip("/")


async def own_container(engine: Engine) -> Any | None:
    """The `attrs` of the container that flysim runs in, or None if it is not in a container of this engine."""
    if not os.path.exists("/.dockerenv"):  # noqa: ASYNC240, PTH110 - one call, which does not block
        return None
    try:
        return await engine.call(engine.api.inspect_container, socket.gethostname())
    except EngineError:
        return None


async def own_project(engine: Engine) -> str | None:
    """The Compose project of the container that flysim runs in."""
    attrs = await own_container(engine)
    return attrs["Config"]["Labels"].get(label.PROJECT) if attrs else None


async def own_networks(engine: Engine) -> frozenset[str]:
    """The networks of the container that flysim runs in."""
    attrs = await own_container(engine)
    return frozenset(attrs["NetworkSettings"]["Networks"] if attrs else ())


def locate(
    attrs: Any, ports: Sequence[int], published_host: str, own_networks: frozenset[str] = frozenset()
) -> Placement:
    """The address of a container's machine: in a network shared with flysim, otherwise at its published ports."""
    settings = attrs["NetworkSettings"]
    networks: Mapping[str, Any] = settings["Networks"]
    shared = [networks[name] for name in networks if name in own_networks]
    private_ip = next(iter(map(_address_of, [*shared, *networks.values()])), "")
    if shared:  # Fly's proxy connects by IPv4 (F-8.17).
        return Placement(str(shared[0].get("IPAddress") or private_ip), ports[0], _as_ipv6(private_ip))
    published = {port: found for port in ports if (found := _published(settings, port)) is not None}
    if ports[0] not in published:
        return Placement(private_ip or LOOPBACK, ports[0], _as_ipv6(private_ip))
    host = published[ports[0]][0]
    forwarded = tuple((port, public) for port, (_, public) in published.items())
    host = published_host if host in (*_ANY_ADDRESS, LOOPBACK) else host
    return Placement(host, forwarded[0][1], _as_ipv6(private_ip), forwarded)


def _published(settings: Any, port: int) -> tuple[str, int] | None:
    bindings = (settings.get("Ports") or {}).get(f"{port}/tcp") or ()
    return next(((each["HostIp"], int(each["HostPort"])) for each in bindings), None)


def _address_of(endpoint: Any) -> str:
    return str(endpoint.get("GlobalIPv6Address") or endpoint.get("IPAddress") or "")


def _as_ipv6(address: str) -> str:
    return f"::ffff:{address}" if address and ":" not in address else address
