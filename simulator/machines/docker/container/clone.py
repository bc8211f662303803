"""Another container like one that flysim did not make: the same image, networks and confinement, a new identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.config.model import MachineSpec
from simulator.machines.docker import labels as label

_OF_ONE_MACHINE = "FLY_"
_KEPT = (
    "Dns",
    "DnsOptions",
    "ReadonlyRootfs",
    "Tmpfs",
    "CapDrop",
    "SecurityOpt",
    "Memory",
    "NanoCpus",
    "PidsLimit",
    "Init",
)
"""What of the original's host configuration is the clone's, too."""


def create_clone(
    api: Any,
    original: Any,
    spec: MachineSpec,
    *,
    name: str,
    labels: Mapping[str, str],
    variables: Mapping[str, str],
    publish: Mapping[int, tuple[str, int]],
) -> str:
    """Its id. `original` is what the engine says of that. Blocks."""
    config, networks = original["Config"], list(original["NetworkSettings"]["Networks"])
    pairs = (pair.partition("=") for pair in config["Env"] or () if not pair.startswith(_OF_ONE_MACHINE))
    kept = {name: value if sign else None for name, sign, value in pairs}  # None: not to be set
    host_config = api.create_host_config(port_bindings=dict(publish))
    host_config |= {key: original["HostConfig"].get(key) for key in _KEPT}
    endpoints = {networks[0]: api.create_endpoint_config()} if networks else {}
    made = api.create_container(
        config["Image"],
        config["Cmd"],
        entrypoint=config["Entrypoint"],
        name=name,
        hostname=spec.id,
        user=config["User"],
        working_dir=config["WorkingDir"],
        environment={**kept, **variables},
        labels={**labels, **_of_project(config.get("Labels") or {})},
        ports=list(publish),
        stop_signal=config.get("StopSignal"),
        networking_config=api.create_networking_config(endpoints),
        host_config=host_config,
    )
    for network in networks[1:]:
        api.connect_container_to_network(made["Id"], network)
    return str(made["Id"])


def _of_project(labels: Mapping[str, str]) -> dict[str, str]:
    """As `docker compose run` would label it: seen by Compose, and counted as a container of the service by nobody."""
    kept = {key: labels[key] for key in (label.PROJECT, label.SERVICE) if key in labels}
    return {**kept, label.ONE_OFF: "True"} if kept else {}
