"""The containers of a Compose project, taken as the machines that their labels say they are."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulator.config.compose.labels import REGION, machine_of_labels
from simulator.config.model import Config, MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Placement
from simulator.machines.docker import labels as label
from simulator.machines.docker.engine import LOOPBACK, Engine, Refusal

_DEFAULT_STOP_SIGNAL = "SIGTERM"
_DEFAULT_STOP_SECONDS = 10.0
_ANY = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Project:
    """A Compose project by its name. `services` is their order, `base` what is known of the apps beside the labels."""

    name: str
    path: Path
    services: tuple[str, ...] = ()
    base: Config | None = None

    def is_machine(self, labels: Mapping[str, str]) -> bool:
        """Whether a container with these labels is one of the project's machines."""
        is_machine = labels.get(label.PROJECT) == self.name and REGION in labels
        return is_machine and labels.get(label.ONE_OFF) != "True"

    async def find_containers(self, engine: Engine) -> list[Any]:
        """What the engine says of each machine's container, in the order of the file."""
        wanted = {"label": [f"{label.PROJECT}={self.name}", REGION]}
        listed = await engine.do(engine.api.containers, all=True, filters=wanted)
        found = []
        for each in filter(lambda each: self.is_machine(each["Labels"]), listed):
            with suppress(Refusal):  # it has gone since
                found.append(await engine.do(engine.api.inspect_container, each["Id"]))
        return sorted(found, key=self._place_in_order)

    async def find_machines(self, engine: Engine, *, may_be_none: bool = False) -> tuple[MachineSpec, ...]:
        """Raises EnvironmentFault when there is none, InputError for labels that are wrong."""
        return self.read_all(await self.find_containers(engine), may_be_none=may_be_none)

    def read_all(self, containers: Iterable[Any], *, may_be_none: bool = False) -> tuple[MachineSpec, ...]:
        """As `find_machines`, of containers that have been found."""
        specs: list[MachineSpec] = []
        names: dict[str, str] = {}
        for described in containers:
            spec, name = self.read(described, specs), name_of(described)
            if spec.id in names:
                raise InputError(
                    f"the containers {names[spec.id]} and {name} are both machine {spec.id}",
                    path=self.path,
                    expected="another fly.machine_id for each, or none in a service that is scaled: "
                    "then the host name that Docker makes is the id",
                )
            names[spec.id] = name
            specs.append(spec)
        if not specs and not may_be_none:
            raise EnvironmentFault(
                f"the Compose project {self.name} has no container with the label {REGION}",
                hint=f"docker compose -f {self.path} up -d --wait --no-deps {' '.join(self.services)}; a project that "
                "Compose was given another name for, by -p, needs COMPOSE_PROJECT_NAME here",
            )
        return tuple(specs)

    def read(self, described: Any, known: Iterable[MachineSpec]) -> MachineSpec:
        """The machine that a container is. Raises InputError, which names the container."""
        config = described["Config"]
        pairs = (pair.partition("=") for pair in config.get("Env") or ())
        try:
            spec = machine_of_labels(
                config["Labels"],
                host_name=config["Hostname"],
                env={name: value for name, _, value in pairs},
                image=config["Image"],
                base=self.base,
                known=known,
            )
        except InputError as error:
            raise InputError(
                f"container {name_of(described)}: {error.problem}", path=self.path, expected=error.expected
            ) from error
        stop_seconds = config.get("StopTimeout")
        return replace(
            spec,
            is_taken=True,
            kill_signal=config.get("StopSignal") or _DEFAULT_STOP_SIGNAL,
            kill_timeout_seconds=_DEFAULT_STOP_SECONDS if stop_seconds is None else stop_seconds,
        )

    def _place_in_order(self, described: Any) -> tuple[int, str, int]:
        labels = described["Config"]["Labels"]
        service = labels.get(label.SERVICE, "")
        order = self.services.index(service) if service in self.services else len(self.services)
        return order, service, int(labels.get(label.NUMBER, "0"))


def name_of(described: Any) -> str:
    return str(described["Name"]).lstrip("/")


async def own_container(engine: Engine) -> Any | None:
    """What the engine says of the container that flysim itself runs in, if it does in one of this engine."""
    if not os.path.exists("/.dockerenv"):  # noqa: ASYNC240, PTH110 - at once, and once
        return None
    try:
        return await engine.do(engine.api.inspect_container, socket.gethostname())
    except Refusal:
        return None


async def own_project(engine: Engine) -> str | None:
    """The Compose project that flysim itself is a container of."""
    described = await own_container(engine)
    return described["Config"]["Labels"].get(label.PROJECT) if described else None


async def own_networks(engine: Engine) -> frozenset[str]:
    """The networks that flysim itself is in."""
    described = await own_container(engine)
    return frozenset(described["NetworkSettings"]["Networks"] if described else ())


def locate(
    described: Any, ports: Sequence[int], published_host: str, ours: frozenset[str] = frozenset()
) -> Placement:
    """Where a container's machine is reached: in a network that we share, else where it publishes its ports."""
    settings = described["NetworkSettings"]
    networks: Mapping[str, Any] = settings["Networks"]
    shared = [networks[name] for name in networks if name in ours]
    private_ip = next(iter(map(_address_of, [*shared, *networks.values()])), "")
    if shared:  # The proxy comes by IPv4 (F-8.17).
        return Placement(str(shared[0].get("IPAddress") or private_ip), ports[0], _as_ipv6(private_ip))
    published = {port: found for port in ports if (found := _published(settings, port)) is not None}
    if ports[0] not in published:
        return Placement(private_ip or LOOPBACK, ports[0], _as_ipv6(private_ip))
    host = published[ports[0]][0]
    forwarded = tuple((port, there) for port, (_, there) in published.items())
    host = published_host if host in (*_ANY, LOOPBACK) else host
    return Placement(host, forwarded[0][1], _as_ipv6(private_ip), forwarded)


def _published(settings: Any, port: int) -> tuple[str, int] | None:
    bindings = (settings.get("Ports") or {}).get(f"{port}/tcp") or ()
    return next(((each["HostIp"], int(each["HostPort"])) for each in bindings), None)


def _address_of(endpoint: Any) -> str:
    return str(endpoint.get("GlobalIPv6Address") or endpoint.get("IPAddress") or "")


def _as_ipv6(address: str) -> str:
    return f"::ffff:{address}" if address and ":" not in address else address
