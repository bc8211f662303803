"""TCP listeners and their processes, to tell a machine's own listener from that of another process.

A program that listens on all addresses (0.0.0.0) also answers on the addresses of all machines, so a response alone
proves nothing. On Linux, the kernel lists the listening sockets (sock_diag(7)), and /proc/PID/fd their processes. Not
psutil: that reads the files of all processes on each call, and this runs with each start and health check. Other
systems show nothing; there every machine has its own port, so a conflict is unlikely.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from simulator.machines.cleanup.process_cleanup import MARKER

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"
_STATE_LISTEN = 10
"""TCP_LISTEN in the kernel's include/net/tcp_states.h, as in _LISTENS."""
_NETLINK_SOCK_DIAG = 4
_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port id."""
_REQUEST = struct.Struct("=BBBxI48x")
"""inet_diag_req_v2: family, protocol, extensions, states, and an id of one socket, which a dump ignores."""
_MESSAGE = struct.Struct("!BBBBHH16s16sI8sIIII")
"""inet_diag_msg before its inode: family, state, timer, retransmits, ports, addresses, interface, cookie, counters."""
_INODE = struct.Struct("=I")
_SOCK_DIAG_BY_FAMILY, _ERROR, _DONE = 20, 2, 3
_REQUEST_AND_DUMP = 0x301
_DIAG_BYTES = 65_536
_DIAG_SECONDS = 1.0
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
    try:
        return tuple(_ask_kernel())
    except OSError:  # A kernel without sock_diag, or a sandbox that denies it.
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


def _ask_kernel() -> Iterator[Listener]:
    """The kernel's own list of listeners. Raises OSError if it has none.

    It takes 0.1 ms. /proc/net/tcp lists all connections as well: with 3,500 of them, reading it takes 13 ms.
    """
    if sys.platform != "linux":
        raise OSError("sock_diag is part of Linux")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_DIAG_SECONDS)
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << _STATE_LISTEN)
            length = _HEADER.size + len(request)
            kernel.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 0, 0) + request)
            is_complete = False
            while not is_complete:
                for kind, message in _split(kernel.recv(_DIAG_BYTES)):
                    if kind == _ERROR:
                        raise OSError(-struct.unpack_from("=i", message)[0], "sock_diag failed")
                    is_complete = kind == _DONE
                    if kind == _SOCK_DIAG_BY_FAMILY:
                        yield _decode(message)


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the content of each netlink message; messages are padded to four bytes."""
    start = 0
    while start < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, start)
        yield kind, data[start + _HEADER.size : start + length]
        start += (length + 3) & ~3


def _decode(message: bytes) -> Listener:
    family, _, _, _, port, _, address, *_ = _MESSAGE.unpack_from(message)
    (inode,) = _INODE.unpack_from(message, _MESSAGE.size)
    return Listener(socket.inet_ntop(family, address[: 4 if family == socket.AF_INET else 16]), port, inode)


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
