"""Who holds a port, so that "address in use" can name the process that uses it.

The kernel tells of other users' processes only to root; psutil asks it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from random import SystemRandom
from typing import Any

from simulator.errors import EnvironmentFault

LOOPBACK = "127.0.0.1"
_FREE_PORTS = range(10_000, 20_000)
_ATTEMPTS = 100
_WILDCARDS = frozenset({"0.0.0.0", "::", "*"})


def find_holder(host: str, port: int) -> tuple[str, int | None] | None:
    """Where the process that has `host`:`port` listens, and its pid where it may be known; None: nobody does.

    A listener on every address holds the port of each, and a `host` for every address meets each listener.
    """
    for ip, its_port, pid in _listeners():
        if its_port == port and (ip == host or ip in _WILDCARDS or host in _WILDCARDS):
            return ip, pid
    return None


def addresses_of(pids: Container[int | None]) -> tuple[str, ...]:
    """Where these processes listen for TCP connections."""
    return tuple(
        sorted({f"{ip}:{port}" for ip, port, pid in _listeners() if pid is not None and pid in pids})
    )


def port_taken(host: str, port: int, *, wanted_by: str, hint: str) -> EnvironmentFault:
    """The fault of a port that `wanted_by` cannot have, with who holds it."""
    found = find_holder(host, port)
    holder = describe_process(found[1]) if found else "another process"
    where = "every address" if found and found[0] in _WILDCARDS else host
    stop = (
        "stop the container that publishes it, see docker ps" if "docker" in holder else "stop that process"
    )
    return EnvironmentFault(
        f"port {port} on {where} is taken by {holder}, so {wanted_by} cannot listen there",
        hint=f"{stop}, or {hint}",
    )


def _listeners() -> Iterator[tuple[str, int, int | None]]:
    """Address, port and, where it may be known, pid of everything that listens."""
    import psutil  # only a fault needs it, and it takes its time

    try:
        connections = [(connection, connection.pid) for connection in psutil.net_connections(kind="tcp")]
    except (
        psutil.AccessDenied
    ):  # macOS answers this question to root only, but tells of the caller's own processes.
        connections = list(_connections_one_by_one())
    for connection, pid in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            yield connection.laddr.ip, connection.laddr.port, pid


def _connections_one_by_one() -> Iterable[tuple[Any, int]]:
    import psutil

    for process in psutil.process_iter():
        try:
            yield from ((connection, process.pid) for connection in process.net_connections(kind="tcp"))
        except psutil.Error:
            continue


def describe_process(pid: int | None) -> str:
    """`python3 (pid 4242)`"""
    import psutil

    if pid is None:
        return "another user's process"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def check_port(host: str, port: int, wanted_by: str, hint: str) -> None:
    """Raises EnvironmentFault, which names the process that holds the port, where nobody can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise port_taken(host, port, wanted_by=wanted_by, hint=hint) from error
            problem = f"{wanted_by} cannot listen on {host}:{port}: {error.strerror}"
            raise EnvironmentFault(problem, hint=hint) from error


def free_port() -> int:
    """A port of the loopback address that is free for UDP and TCP now.

    It lies below those that the kernel gives to outgoing connections, unless it is told otherwise: so none of these
    takes it before its user does.
    """
    with ExitStack() as hold:
        return _hold_free_port(hold)


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ones."""
    with ExitStack() as hold:  # Each is held until all are found, so none is found twice.
        return tuple(_hold_free_port(hold) for _ in range(count))


def _hold_free_port(hold: ExitStack) -> int:
    from simulator.retry import retry_on_blocking  # Not at the top: `flysim --help` loads this module.

    candidates = SystemRandom().sample(_FREE_PORTS, min(len(_FREE_PORTS), _ATTEMPTS))
    remaining = iter(candidates)
    try:
        return retry_on_blocking(OSError, attempts=len(candidates))(lambda: hold_port(next(remaining), hold))
    except OSError as error:
        raise EnvironmentFault(
            f"no free port on {LOOPBACK}: flysim tried {len(candidates)} of the ports "
            f"{_FREE_PORTS[0]} to {_FREE_PORTS[-1]}, and all are in use",
            hint="stop the processes that use them",
        ) from error


def hold_port(port: int, hold: ExitStack) -> int:
    """Bind a port of the loopback address, for UDP and TCP, until `hold` is closed. Raises OSError if it is in use."""
    with ExitStack() as sockets:
        sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((LOOPBACK, port))
        sockets.enter_context(socket.socket()).bind((LOOPBACK, port))
        hold.push(sockets.pop_all())
    return port
