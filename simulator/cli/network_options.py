"""Values of `--listen`, `--dns-port` and `--published`: where flysim listens, and its ports outside a container."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.network_position import NetworkPosition


def read_network_position(
    listen: str, dns_port: int | None, published: list[str], *, beside_machines: bool
) -> NetworkPosition:
    """`beside_machines`: whether the machines may be in the same network as flysim. Raises InputError."""
    from simulator.network_position import ANY, NetworkPosition, addresses_of, find_private_ip

    if listen != ANY and not _is_address(listen):
        raise InputError(f"--listen is {listen!r}", expected=f"an IP address of this computer, or {ANY}")
    return NetworkPosition(
        hosts=addresses_of(listen),
        dns_port=dns_port,
        private_ip=find_private_ip() if beside_machines and listen == ANY else None,
        published=dict(_read_published(text) for text in published),
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read_published(text: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9]{1,5}):([0-9]{1,5})", text)
    if match is None:
        raise InputError(
            f"--published is {text!r}",
            expected="a port of flysim and the port it is published as, such as 8080:18080",
        )
    return int(match[1]), int(match[2])
