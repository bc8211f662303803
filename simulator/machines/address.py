"""Where machines listen: a loopback address of its own for each, or a port of its own on 127.0.0.1.

Addresses are derived from the machine, so they are the same run after run; where one is in use, the next is
tried. The ports lie below those that the kernel gives to outgoing connections, so that none of these can take a
stopped machine's port. On Linux, a lease (a name in the abstract socket namespace, which dies with its process)
keeps two runs that start at once from taking the same address.
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
from simulator.machines.port import port_taken

SHARED_HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class _Holding:
    placement: Placement
    lease: socket.socket | None


class _InUseError(Exception):
    """An address that a machine cannot have, because another one or another process has it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is in use")
        self.host, self.port = host, port


class AddressBook:
    """Gives each machine an address and keeps it for that machine until it is given back."""

    def __init__(self) -> None:
        self._holdings: dict[str, _Holding] = {}

    def take(self, spec: MachineSpec) -> Placement:
        """Raises EnvironmentFault, naming who holds the port, when there is no free one."""
        holding = self._holdings.get(spec.id)
        if holding is None:
            holding = self._holdings[spec.id] = self._find(spec)
        return holding.placement

    def take_port(self, spec: MachineSpec, internal_port: int) -> int:
        """A port on 127.0.0.1 that stands for one of the machine's own. Raises EnvironmentFault."""
        own = replace(spec, id=f"{spec.id}/{internal_port}", command=(), env={})
        return self.take(own).port

    def give_back(self, machine_id: str) -> None:
        for key in [each for each in self._holdings if each.startswith(f"{machine_id}/")]:
            self.give_back(key)
        holding = self._holdings.pop(machine_id, None)
        if holding is not None and holding.lease is not None:
            holding.lease.close()

    def close(self) -> None:
        for key in tuple(self._holdings):
            self.give_back(key)

    def _find(self, spec: MachineSpec) -> _Holding:
        from simulator.retry import retry_on_blocking  # Not at the top: `flysim --help` loads this module.

        own = spec.has_own_address and has_loopback_network()
        candidates = _candidates(spec, own=own)
        try:
            return retry_on_blocking(_InUseError, attempts=ATTEMPTS)(
                lambda: self._try(spec, *next(candidates), own=own)
            )
        except _InUseError as error:
            raise port_taken(
                error.host,
                error.port,
                wanted_by=f"machine {spec.name}",
                hint="give the app another `internal_port` in its fly.toml",
            ) from error

    def _try(self, spec: MachineSpec, host: str, port: int, *, own: bool) -> _Holding:
        """Raises _InUseError."""
        taken = {holding.placement.address for holding in self._holdings.values()}
        if f"{host}:{port}" in taken or not is_free(host, port):
            raise _InUseError(host, port)
        try:
            lease = _lease(host, port)
        except OSError as error:  # Another run has it, and its machine does not listen yet.
            raise _InUseError(host, port) from error
        return _Holding(Placement(host, port, _private_ip(spec, host, own=own)), lease)


def _candidates(spec: MachineSpec, *, own: bool) -> Iterator[tuple[str, int]]:
    for attempt in range(ATTEMPTS):
        number = int.from_bytes(sha256(f"{spec.cwd}|{spec.app}|{spec.id}|{attempt}".encode()).digest())
        if own:
            yield loopback_host(number), spec.internal_port
        else:
            yield SHARED_HOST, PORTS[number % len(PORTS)]


def loopback_host(number: int) -> str:
    """One of the four million addresses of 127.64.0.0/10, which nothing else is known to use."""
    number, last = divmod(number, 254)
    number, third = divmod(number, 256)
    return f"127.{64 + number % 64}.{third}.{last + 1}"


def has_loopback_network() -> bool:
    """Whether all of 127/8 is this computer, as on Linux; macOS has 127.0.0.1 alone."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.64.0.1", 0))
        except OSError:
            return False
    return True


def is_free(host: str, port: int) -> bool:
    """Whether an app could listen there. Raises EnvironmentFault where it never may."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise EnvironmentFault(
                f"port {port} may be used by root only, so no machine can listen there",
                hint="give the app an `internal_port` above 1023 in its fly.toml",
            ) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def _lease(host: str, port: int) -> socket.socket | None:
    """Raises OSError when another process has this address."""
    if sys.platform != "linux":
        return None
    # An address of its own is one machine's whatever the port: names would be ambiguous otherwise.
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

    A choice of ours: an address of its own is written as IPv4-mapped IPv6, so that the AAAA answers for
    `.internal` names can be connected to. A machine that shares 127.0.0.1 cannot be told by an address alone,
    so its is made as Fly's are, is unique, and leads nowhere.
    """
    return f"::ffff:{host}" if own else private_address(1, spec)


def private_address(network: int, spec: MachineSpec) -> str:
    """As Fly's: fdaa, then 32 bits each of network, host and machine (F-8.16).

    Of the host's, the upper half is 0: Docker hands out the last 64 bits of an address only.
    """
    host = int.from_bytes(sha256(spec.region.encode()).digest()[:2])
    machine = int.from_bytes(sha256(spec.id.encode()).digest()[:4])
    return str(IPv6Address((0xFDAA << 112) | (network << 80) | (host << 48) | (machine << 16) | 2))
