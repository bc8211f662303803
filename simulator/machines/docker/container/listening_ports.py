"""Listening ports of a container, read from its /proc/net/tcp, for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simulator.machines.backend import Placement

_LISTENING = "0A"
_LOOPBACKS = ("0100007F", "00000000000000000000000001000000")
_DOCKER_RESOLVER = "0B00007F"


def listening_ports(api: Any, container_id: str) -> tuple[set[int], set[int]]:
    """Ports open to other hosts, and ports on loopback only. Empty if the container has no `cat`. Blocks."""
    from docker.errors import APIError

    try:
        created = api.exec_create(container_id, ["cat", "/proc/net/tcp", "/proc/net/tcp6"], stderr=False)
        table = api.exec_start(created).decode(errors="replace")
    except APIError:
        return set(), set()
    return parse_sockets(table)


def format_addresses(
    placement: Placement, open_ports: Iterable[int], loopback_ports: Iterable[int]
) -> tuple[str, ...]:
    """Published ports as the host sees them, all others as seen inside the container."""
    published = dict(placement.ports)
    reached = [
        f"{placement.host}:{placement.port_for(port)}"
        if port in published or not published
        else f"0.0.0.0:{port} of its container"
        for port in sorted(open_ports)
    ]
    return (*reached, *(f"127.0.0.1:{port} of its container" for port in sorted(loopback_ports)))


def parse_sockets(table: str) -> tuple[set[int], set[int]]:
    """Parse the kernel's table of TCP sockets; addresses and states are hexadecimal. See `listening_ports`."""
    open_ports: set[int] = set()
    loopback_ports: set[int] = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[3] != _LISTENING or ":" not in fields[1]:
            continue
        address, _, port = fields[1].partition(":")
        if address != _DOCKER_RESOLVER:
            (loopback_ports if address in _LOOPBACKS else open_ports).add(int(port, 16))
    return open_ports, loopback_ports - open_ports
