"""Clone of a container that flysim did not create: same image, networks and limits, new identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.config.model import MachineSpec
from simulator.machines.docker import labels as label

_MACHINE_PREFIX = "FLY_"
"""Variables with this prefix describe one machine and are not copied."""
_COPIED_HOST_CONFIG = (
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
    """Return the id of the new container. `original`: as `docker inspect` shows it. Blocks."""
    config, networks = original["Config"], list(original["NetworkSettings"]["Networks"])
    pairs = (pair.partition("=") for pair in config["Env"] or () if not pair.startswith(_MACHINE_PREFIX))
    copied = {name: value if sign else None for name, sign, value in pairs}  # None: explicitly unset.
    host_config = api.create_host_config(port_bindings=dict(publish))
    host_config |= {key: original["HostConfig"].get(key) for key in _COPIED_HOST_CONFIG}
    endpoints = {networks[0]: api.create_endpoint_config()} if networks else {}
    created = api.create_container(
        config["Image"],
        config["Cmd"],
        entrypoint=config["Entrypoint"],
        name=name,
        hostname=spec.id,
        user=config["User"],
        working_dir=config["WorkingDir"],
        environment={**copied, **variables},
        labels={**labels, **_project_labels(config.get("Labels") or {})},
        ports=list(publish),
        stop_signal=config.get("StopSignal"),
        networking_config=api.create_networking_config(endpoints),
        host_config=host_config,
    )
    for network in networks[1:]:
        api.connect_container_to_network(created["Id"], network)
    return str(created["Id"])


def _project_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """As `docker compose run` sets them: Compose lists the container but does not count it as a replica."""
    copied = {key: labels[key] for key in (label.PROJECT, label.SERVICE) if key in labels}
    return {**copied, label.ONE_OFF: "True"} if copied else {}
