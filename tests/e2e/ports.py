"""Ports that are free now, for programs that cannot take one from the OS themselves."""

from __future__ import annotations

from simulator.machines.port import free_port


def free_ports(count: int) -> tuple[int, ...]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return tuple(ports)
