"""TCP listeners and their processes, to tell a machine's own listener from that of another process.

A program that listens on all addresses (0.0.0.0) also answers on the addresses of all machines, so a response alone
proves nothing. On Linux, /proc/net/tcp{,6} lists the listening sockets, and /proc/PID/fd their processes. Not psutil:
that reads the files of all processes on each call, and this runs with each health check. Other systems show nothing;
there every machine has its own port, so a conflict is unlikely.
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
    """A listening socket; the kernel identifies it by its `inode`."""

    host: str
    port: int
    inode: int

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")


def all_listeners() -> tuple[Listener, ...]:
    """All listeners on this computer; none where the kernel does not show them."""
    return tuple(listener for table in _TABLES for listener in _read(table))


def listeners_at(host: str, port: int) -> tuple[Listener, ...]:
    """The listeners that accept connections to `host`:`port`: an exact address takes precedence over a wildcard."""
    there = [listener for listener in all_listeners() if listener.port == port]
    exact = [listener for listener in there if listener.host in (host, f"::ffff:{host}")]
    return tuple(exact or [listener for listener in there if listener.is_wildcard])


def owns_any(pids: Iterable[int], listeners: Iterable[Listener]) -> bool:
    """Whether one of these processes owns one of these sockets."""
    inodes = {listener.inode for listener in listeners}
    return any(not inodes.isdisjoint(_sockets_of(pid)) for pid in pids)


def find_owner(listeners: Iterable[Listener]) -> int | None:
    """A process that owns one of these sockets; None if there is none, or the kernel does not show it."""
    inodes = {listener.inode for listener in listeners}
    for name in _entries("/proc"):
        if name.isdigit() and not inodes.isdisjoint(_sockets_of(int(name))):
            return int(name)
    return None


def find_marker(pid: int) -> str | None:
    """The marker `<run>/<machine id>/` in the environment of a machine's process; None if it has none."""
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
    """Decode an address: 32-bit words, each in the host's byte order (little endian on x86 and ARM)."""
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
        except OSError:  # The file was closed in the meantime.
            continue
        if match:
            yield int(match[1])


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:  # The process has ended or belongs to another user.
        return []
