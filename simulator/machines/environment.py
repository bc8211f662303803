"""Environment variables (`FLY_*`) of a machine, and placeholders in its command.

Pure functions of the machine's spec and placement. A machine inherits the caller's environment, except for the
variables of another machine or another flysim (`FLY_*`, `FLYSIM_*`, `PRIMARY_REGION`).
Source: Fly's runtime environment, F-7.1 to F-7.17.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import IPv6Address

from simulator.config.model import PLACEHOLDERS, MachineSpec
from simulator.machines.backend import Placement

IMAGE_REGISTRY = "registry.invalid"
"""The registry in FLY_IMAGE_REF for a machine without an image: a name that never resolves."""

_PLACEHOLDER = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")
_NOT_INHERITED = re.compile(r"FLY_|FLYSIM_|PRIMARY_REGION$")
_ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def machine_command(
    spec: MachineSpec, placement: Placement, *, dns_address: str, python: str = sys.executable
) -> tuple[str, ...]:
    """The command with its placeholders replaced."""
    return tuple(_fill_in(word, spec, placement, dns_address, python) for word in spec.command)


def machine_environment(
    spec: MachineSpec,
    placement: Placement,
    *,
    dns_address: str,
    inherited: Mapping[str, str],
    python: str = sys.executable,
) -> dict[str, str]:
    """All variables of the machine's main process; `inherited` is the environment of the caller."""
    environment = {name: value for name, value in inherited.items() if not _NOT_INHERITED.match(name)}
    # Otherwise Python buffers 8 KiB before it writes to a pipe.
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment |= {
        name: _fill_in(value, spec, placement, dns_address, python) for name, value in spec.env.items()
    }
    # F-7.12, F-7.15: the value in fly.toml is used, not the one in [env].
    environment.pop("PRIMARY_REGION", None)
    return environment | fly_variables(spec, placement)


def fly_variables(spec: MachineSpec, placement: Placement) -> dict[str, str]:
    """The variables that Fly sets, and PORT, the port that the app must listen on."""
    variables = {
        "FLY_APP_NAME": spec.app,
        "FLY_MACHINE_ID": spec.id,
        "FLY_ALLOC_ID": spec.id,  # F-7.4
        "FLY_REGION": spec.region,
        "FLY_PUBLIC_IP": _public_ip(spec),
        "FLY_IMAGE_REF": spec.image or f"{IMAGE_REGISTRY}/{spec.app}:deployment-{_ulid(spec.app)}",
        "FLY_MACHINE_VERSION": _ulid(repr(spec)),  # F-7.8: it changes with the configuration.
        "FLY_PRIVATE_IP": placement.private_ip,
        "FLY_PROCESS_GROUP": spec.group,
        "FLY_VM_MEMORY_MB": str(spec.memory_mb),
        "PORT": str(placement.port),
    }
    if spec.primary_region:
        variables["PRIMARY_REGION"] = spec.primary_region
    return variables


def _fill_in(text: str, spec: MachineSpec, placement: Placement, dns_address: str, python: str) -> str:
    values = {
        "host": placement.host,
        "port": str(placement.port),
        "machine_id": spec.id,
        "region": spec.region,
        "dns": dns_address,
        "python": python,
    }
    # Not str.format: a command may contain JSON or shell braces, which stay unchanged.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _public_ip(spec: MachineSpec) -> str:
    """An IPv6 address with the prefix for documentation, which no network routes (F-7.6)."""
    suffix = int.from_bytes(sha256(spec.id.encode()).digest()[:8])
    return str(IPv6Address((0x2001_0DB8 << 96) | suffix))


def _ulid(seed: str) -> str:
    """26 characters, like Fly's, derived from `seed`; the first three put its timestamp in this decade."""
    number = int.from_bytes(sha256(seed.encode()).digest())
    return "01J" + "".join(_ULID_DIGITS[(number >> (5 * place)) % 32] for place in range(23))
