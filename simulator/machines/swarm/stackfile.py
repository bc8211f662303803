"""Stack file for `docker stack deploy`: a pure function of the fleet.

Every machine publishes its ports on its own node (`mode: host`), each at a free port of that node. So flysim's edges
reach each machine directly, without Swarm's load balancer. Network aliases provide the names of Fly's private network
that Swarm's name server supports: A records of `<app>.internal`, `<region>.<app>.internal`,
`<group>.process.<app>.internal` and, for a machine with a service of its own, `<id>.vm.<app>.internal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import yaml

from simulator.config.compose.labels import APP, MACHINE_ID, PORT, REGION
from simulator.config.model import MachineSpec
from simulator.machines.backend import Placement
from simulator.machines.docker.image.images import PYTHON
from simulator.machines.environment import machine_environment
from simulator.machines.swarm import task_labels as label
from simulator.machines.swarm.fleet_service import FleetService

ANY_ADDRESS = "0.0.0.0"
RESOLVER = "127.0.0.11:53"
"""Docker's name server in every container: the value of {dns}."""
_DEFAULT_NETWORK_MACHINES = 200
_WIDE_SUBNET = "10.224.0.0"

_HEADER = """\
# {count} of {apps}, for Docker Swarm. Rendered by `flysim stack`. It contains no secrets except those in env.
#   docker stack deploy --compose-file THIS-FILE NAME     deploys or updates the stack
#   flysim up --backend swarm:NAME                        runs Fly's proxy in front of it
#   docker stack rm NAME                                  removes it
"""


def render_stack(
    services: tuple[FleetService, ...], *, placed: bool = False, labels: Mapping[str, str] | None = None
) -> str:
    """`placed`: run each machine on a node whose label fly.region is its region. `labels`: for all objects."""
    count = sum(len(service.specs) for service in services)
    document = {
        "version": "3.8",
        "services": {each.name: _service(each, placed, labels or {}) for each in services},
        "networks": {"default": {**_network(count), **({"labels": dict(labels)} if labels else {})}},
    }
    apps = ", ".join(dict.fromkeys(service.spec.app for service in services))
    head = _HEADER.format(count=f"{count} machine{'s' if count != 1 else ''}", apps=apps or "no app")
    return head + yaml.safe_dump(_escape_dollars(document), sort_keys=False, allow_unicode=True, width=100)


def _service(service: FleetService, placed: bool, extra: Mapping[str, str]) -> dict[str, Any]:
    spec = _escape_braces(service.spec)
    placement = Placement(ANY_ADDRESS, spec.internal_port, private_ip(spec))
    labels = {**_labels(spec), **extra}
    return {
        "image": spec.image,
        **({"command": list(spec.image_command)} if spec.image_command else {}),
        "init": True,  # As on Fly, the app is not process 1, so default signal handlers work.
        "hostname": spec.id,  # F-7.3
        "environment": _environment(spec, placement, replace(service.specs[0], is_adopted=True).version),
        "labels": labels,
        "ports": [{"target": port, "mode": "host", "protocol": "tcp"} for port in _ports(spec)],
        "stop_signal": spec.kill_signal,
        "stop_grace_period": f"{round(spec.kill_timeout_seconds * 1000)}ms",
        "healthcheck": {
            "disable": True
        },  # Fly ignores the image's health check; Swarm would kill tasks that fail it.
        "networks": {"default": {"aliases": _names(spec)}},
        "deploy": _deploy(service, labels, placed),
    }


def _deploy(service: FleetService, labels: dict[str, str], placed: bool) -> dict[str, Any]:
    constraints = [f"node.labels.{REGION} == {service.spec.region}"]
    return {
        "endpoint_mode": "dnsrr",
        "replicas": len(service.specs),
        "labels": labels,
        "restart_policy": {"condition": "none"},  # A machine that exits stays stopped until it is started.
        "resources": {"limits": {"memory": f"{service.spec.memory_mb}M"}},
        **({"placement": {"constraints": constraints}} if placed else {}),
    }


def _labels(spec: MachineSpec) -> dict[str, str]:
    return {
        REGION: spec.region,
        APP: spec.app,
        MACHINE_ID: spec.id,
        PORT: str(spec.internal_port),
    }


def _environment(spec: MachineSpec, placement: Placement, version: str) -> dict[str, str]:
    environment = machine_environment(spec, placement, dns_address=RESOLVER, inherited={}, python=PYTHON)
    return environment | {"FLY_PUBLIC_IP": _public_ip(spec), "FLY_MACHINE_VERSION": version}


def _names(spec: MachineSpec) -> list[str]:
    app = f"{spec.app}.internal"
    own = [] if label.is_shared(spec.id) else [f"{spec.id}.vm.{app}"]
    return [app, f"{spec.region}.{app}", f"{spec.group}.process.{app}", *own]


def _escape_braces(spec: MachineSpec) -> MachineSpec:
    """Keep Swarm from expanding braces in the app's own variables as templates."""
    return replace(spec, env={name: value.replace("{{", '{{"{{"}}') for name, value in spec.env.items()})


def _ports(spec: MachineSpec) -> tuple[int, ...]:
    """Without `internal_port` if the machine is a worker that does not listen; its checks' ports stay."""
    own = () if spec.listens else (spec.internal_port,)
    return tuple(port for port in spec.all_ports if port not in own)


def private_ip(spec: MachineSpec) -> str:
    """A unique address in the format of Fly's 6PN (F-8.16). Not routable: overlay networks have IPv4 only."""
    return f"fdaa:0:1:{_hash_groups(spec.region)}:{_hash_groups(_id_prefix(spec))}:{_last_group(spec)}"


def _public_ip(spec: MachineSpec) -> str:
    """From the documentation prefix, which is not routable (F-7.6)."""
    return f"2001:db8:0:0:1:{_hash_groups(_id_prefix(spec))}:{_last_group(spec)}"


def _id_prefix(spec: MachineSpec) -> str:
    return spec.id.removesuffix(label.SLOT)


def _last_group(spec: MachineSpec) -> str:
    return "{{.Task.Slot}}" if label.is_shared(spec.id) else "2"


def _hash_groups(text: str) -> str:
    """32 bits of a hash, as two groups of an IPv6 address."""
    digits = sha256(text.encode()).digest()
    return f"{int.from_bytes(digits[:2]):x}:{int.from_bytes(digits[2:4]):x}"


def _network(count: int) -> dict[str, Any]:
    """Swarm's default subnet has 254 addresses. Replacements of tasks and every node use some of them as well."""
    if count <= _DEFAULT_NETWORK_MACHINES:
        return {"driver": "overlay"}
    bits = (2 * count).bit_length()
    return {"driver": "overlay", "ipam": {"config": [{"subnet": f"{_WIDE_SUBNET}/{32 - bits}"}]}}


def _escape_dollars(value: Any) -> Any:
    """Keep `docker stack deploy` from expanding $NAME with its own environment."""
    if isinstance(value, dict):
        return {key: _escape_dollars(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escape_dollars(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
