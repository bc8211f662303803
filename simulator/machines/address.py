"""Address allocation for machines: each gets its own loopback address, or its own port on 127.0.0.1.

Addresses are derived from the machine, so every run gets the same ones; if one is in use, the next candidate is tried.
The ports are below the kernel's range for outgoing connections, so that no connection takes the port of a stopped
machine. On Linux, a lease (a name in the abstract socket namespace, which its process releases when it ends) keeps two
runs that start at the same time from choosing the same address.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv6Address

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.backend import Placement
from simulator.machines.port import port_in_use_error

SHARED_HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class _Allocation:
    placement: Placement
    lease: socket.socket | None


class _InUseError(Exception):
    """Another machine or process uses this address."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is in use")
        self.host, self.port = host, port


class AddressBook:
    """Allocates an address for each machine, and keeps it until `release`."""

    def __init__(self) -> None:
        self._allocations: dict[str, _Allocation] = {}

    def take(self, spec: MachineSpec) -> Placement:
        """Raises EnvironmentFault, which names the process that uses the port, if no address is free."""
        allocation = self._allocations.get(spec.id)
        if allocation is None:
            allocation = self._allocations[spec.id] = self._find(spec)
        return allocation.placement

    def take_port(self, spec: MachineSpec, internal_port: int) -> int:
        """A port on 127.0.0.1 that is forwarded to `internal_port` of the machine. Raises EnvironmentFault."""
        own = replace(spec, id=f"{spec.id}/{internal_port}", command=(), env={})
        return self.take(own).port

    def release(self, machine_id: str) -> None:
        for key in [each for each in self._allocations if each.startswith(f"{machine_id}/")]:
            self.release(key)
        allocation = self._allocations.pop(machine_id, None)
        if allocation is not None and allocation.lease is not None:
            allocation.lease.close()

    def close(self) -> None:
        for key in tuple(self._allocations):
            self.release(key)

    def _find(self, spec: MachineSpec) -> _Allocation:
        from simulator.retry import retry_on_blocking  # Not at the top: `flysim --help` loads this module.

        own = spec.has_own_address and has_loopback_network()
        candidates = _candidates(spec, own=own)
        try:
            return retry_on_blocking(_InUseError, attempts=ATTEMPTS)(
                lambda: self._try(spec, *next(candidates), own=own)
            )
        except _InUseError as error:
            raise port_in_use_error(
                error.host,
                error.port,
                wanted_by=f"machine {spec.name}",
                hint="set another `internal_port` in the app's fly.toml",
            ) from error

    def _try(self, spec: MachineSpec, host: str, port: int, *, own: bool) -> _Allocation:
        """Raises _InUseError."""
        taken = {allocation.placement.address for allocation in self._allocations.values()}
        if f"{host}:{port}" in taken or not is_free(host, port):
            raise _InUseError(host, port)
        try:
            lease = _lease(host, port)
        except OSError as error:  # Another run has allocated it, and its machine does not listen yet.
            raise _InUseError(host, port) from error
        return _Allocation(Placement(host, port, _private_ip(spec, host, own=own)), lease)


def _candidates(spec: MachineSpec, *, own: bool) -> Iterator[tuple[str, int]]:
    for attempt in range(ATTEMPTS):
        number = int.from_bytes(sha256(f"{spec.cwd}|{spec.app}|{spec.id}|{attempt}".encode()).digest())
        if own:
            yield loopback_host(number), spec.internal_port
        else:
            yield SHARED_HOST, PORTS[number % len(PORTS)]


def loopback_host(number: int) -> str:
    """One of the four million addresses of 127.64.0.0/10, which no other software is known to use."""
    number, last = divmod(number, 254)
    number, third = divmod(number, 256)
    return f"127.{64 + number % 64}.{third}.{last + 1}"


def has_loopback_network() -> bool:
    """Whether all of 127/8 is local, as on Linux; macOS has only 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.64.0.1", 0))
        except OSError:
            return False
    return True


def is_free(host: str, port: int) -> bool:
    """Whether an app can listen there. Raises EnvironmentFault if the port is privileged."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise EnvironmentFault(
                f"no machine can listen on port {port}: only root may use it",
                hint="set `internal_port` to a port above 1023 in the app's fly.toml",
            ) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def _lease(host: str, port: int) -> socket.socket | None:
    """Raises OSError if another process has leased this address."""
    if sys.platform != "linux":
        return None
    # A machine's own address is leased for all ports: `.internal` names would be ambiguous otherwise.
    name = f"\0flysim/{host}:{port}" if host == SHARED_HOST else f"\0flysim/{host}"
    lease = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lease.bind(name)
    except OSError:
        lease.close()
        raise
    return lease


def _private_ip(spec: MachineSpec, host: str, *, own: bool) -> str:
    """The machine's 6PN address (F-8.16).

    flysim's choice: a machine's own address is written as IPv4-mapped IPv6, so that clients can connect to the AAAA
    answers for `.internal` names. An address alone does not identify a machine that shares 127.0.0.1, so such a
    machine gets a unique address in Fly's format, which is not routable.
    """
    return f"::ffff:{host}" if own else private_address(1, spec)


def private_address(network: int, spec: MachineSpec) -> str:
    """An address in Fly's format: fdaa, then 32 bits each for network, host and machine (F-8.16).

    The upper half of the host's bits is 0, because Docker assigns only the last 64 bits of an address.
    """
    host = int.from_bytes(sha256(spec.region.encode()).digest()[:2])
    machine = int.from_bytes(sha256(spec.id.encode()).digest()[:4])
    return str(IPv6Address((0xFDAA << 112) | (network << 80) | (host << 48) | (machine << 16) | 2))
