"""Which ports a container listens on, as far as it can be told from outside: for the text of a fault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simulator.machines.backend import Placement

_LISTENING = "0A"
_LOOPBACKS = ("0100007F", "00000000000000000000000001000000")
_DOCKER_RESOLVER = "0B00007F"


def listening_ports(api: Any, container_id: str) -> tuple[set[int], set[int]]:
    """Those open to others, and those on its own loopback address only; empty if it has no `cat`. Blocks."""
    from docker.errors import APIError

    try:
        made = api.exec_create(container_id, ["cat", "/proc/net/tcp", "/proc/net/tcp6"], stderr=False)
        table = api.exec_start(made).decode(errors="replace")
    except APIError:
        return set(), set()
    return parse_sockets(table)


def listening_words(
    placement: Placement, open_ports: Iterable[int], own_ports: Iterable[int]
) -> tuple[str, ...]:
    """Where it is reached from here, and where it would be from inside alone."""
    published = dict(placement.ports)
    reached = [
        f"{placement.host}:{placement.port_for(port)}"
        if port in published or not published
        else f"0.0.0.0:{port} of its container"
        for port in sorted(open_ports)
    ]
    return (*reached, *(f"127.0.0.1:{port} of its container" for port in sorted(own_ports)))


def parse_sockets(table: str) -> tuple[set[int], set[int]]:
    """Of the kernel's table of TCP sockets: addresses and states in hexadecimal digits."""
    open_ports: set[int] = set()
    own_ports: set[int] = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[3] != _LISTENING or ":" not in fields[1]:
            continue
        address, _, port = fields[1].partition(":")
        if address != _DOCKER_RESOLVER:
            (own_ports if address in _LOOPBACKS else open_ports).add(int(port, 16))
    return open_ports, own_ports - open_ports
