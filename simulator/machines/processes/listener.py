"""Who really listens at a machine's address: the machine itself, or another process in its place.

A program that listens on every address (0.0.0.0) answers at the address of every other machine too, so an answer
alone proves nothing. On Linux the kernel tells more: /proc/net/tcp{,6} which sockets listen, /proc/PID/fd whose they
are. Elsewhere nothing is told; there every machine has a port of its own, so there is little to confuse.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from simulator.machines.cleanup.process_cleanup import MARKER

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Listener:
    """One socket that listens; `inode` is the kernel's name for it."""

    host: str
    port: int
    inode: int

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")


def all_listeners() -> tuple[Listener, ...]:
    """Of this computer; none where the kernel does not tell."""
    return tuple(listener for table in _TABLES for listener in _read(table))


def listeners_at(host: str, port: int) -> tuple[Listener, ...]:
    """Those that a connection to `host`:`port` can come to: one of exactly this address goes before a wildcard."""
    there = [listener for listener in all_listeners() if listener.port == port]
    exact = [listener for listener in there if listener.host in (host, f"::ffff:{host}")]
    return tuple(exact or [listener for listener in there if listener.is_wildcard])


def holds_any(pids: Iterable[int], listeners: Iterable[Listener]) -> bool:
    """Whether one of these processes has one of these sockets."""
    inodes = {listener.inode for listener in listeners}
    return any(not inodes.isdisjoint(_sockets_of(pid)) for pid in pids)


def find_holder(listeners: Iterable[Listener]) -> int | None:
    """A process that has one of these sockets, as far as this user may know it."""
    inodes = {listener.inode for listener in listeners}
    for name in _entries("/proc"):
        if name.isdigit() and not inodes.isdisjoint(_sockets_of(int(name))):
            return int(name)
    return None


def find_marker(pid: int) -> str | None:
    """The `<run>/<machine id>/` that every process of a machine carries."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    wanted = f"{MARKER}=".encode()
    found = (entry for entry in environment.split(b"\0") if entry.startswith(wanted))
    return next((entry.removeprefix(wanted).decode(errors="replace") for entry in found), None)


def _read(table: Path) -> Iterator[Listener]:
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        fields = row.split()
        if fields[3] == _LISTENS:
            host, port = fields[1].split(":")
            yield Listener(_address(host), int(port, 16), int(fields[9]))


def _address(digits: str) -> str:
    """The kernel writes addresses as 32-bit words, each in the order of this computer's bytes: x86's and ARM's."""
    words = (bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8))
    packed = b"".join(words)
    if len(packed) == 4:
        return str(IPv4Address(packed))
    mapped = IPv6Address(packed).ipv4_mapped
    return f"::ffff:{mapped}" if mapped else str(IPv6Address(packed))


def _sockets_of(pid: int) -> Iterator[int]:
    for name in _entries(f"/proc/{pid}/fd"):
        try:
            match = _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{name}"))  # noqa: PTH115 - thousands of times
        except OSError:  # It was closed meanwhile.
            continue
        if match:
            yield int(match[1])


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:  # It has ended, or is another user's.
        return []
