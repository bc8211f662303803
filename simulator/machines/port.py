"""Free ports, and the processes that use ports, for error messages that name them.

psutil reads the processes from the kernel, which shows those of other users only to root.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from random import SystemRandom
from typing import Any

from simulator.errors import EnvironmentFault
from simulator.routing.model import join_address

LOOPBACK = "127.0.0.1"
_FREE_PORTS = range(10_000, 20_000)
_ATTEMPTS = 100
_WILDCARDS = frozenset({"0.0.0.0", "::", "*"})


def find_listener(host: str, port: int) -> tuple[str, int | None] | None:
    """The address and pid of the listener that uses `host`:`port`; None if there is none.

    The pid is None where the kernel does not show it. A listener on all addresses uses the port of each of them, and a
    `host` that stands for all addresses conflicts with every listener on the port.
    """
    for ip, its_port, pid in _listeners():
        if its_port == port and (ip == host or ip in _WILDCARDS or host in _WILDCARDS):
            return ip, pid
    return None


def addresses_of(pids: Container[int | None]) -> tuple[str, ...]:
    """The addresses on which these processes listen for TCP connections."""
    return tuple(
        sorted({f"{ip}:{port}" for ip, port, pid in _listeners() if pid is not None and pid in pids})
    )


def port_in_use_error(host: str, port: int, *, wanted_by: str, hint: str) -> EnvironmentFault:
    """The error for a port in use that `wanted_by` needs; it names the process that uses the port."""
    found = find_listener(host, port)
    owner = describe_process(found[1]) if found else "another process"
    scope = ", which listens on all addresses" if found and found[0] in _WILDCARDS else ""
    stop = (
        "stop the container that publishes it (see `docker ps`)" if "docker" in owner else "stop that process"
    )
    return EnvironmentFault(
        f"{wanted_by} cannot listen on {join_address(host, port)}: port {port} is in use by {owner}{scope}",
        hint=f"{stop}, or {hint}",
    )


def _listeners() -> Iterator[tuple[str, int, int | None]]:
    """Address, port and, where the kernel shows it, pid of every TCP listener."""
    import psutil  # Not at the top: only errors need it, and it is slow to import.

    try:
        connections = [(connection, connection.pid) for connection in psutil.net_connections(kind="tcp")]
    except psutil.AccessDenied:  # macOS lists all connections only to root.
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
    """A process for error messages, as in `python3 (pid 4242)`."""
    import psutil

    if pid is None:
        return "another user's process"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def check_port(host: str, port: int, wanted_by: str, hint: str) -> None:
    """Raises EnvironmentFault, which names the process that uses the port, if `wanted_by` cannot listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if probe.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise port_in_use_error(host, port, wanted_by=wanted_by, hint=hint) from error
            problem = f"{wanted_by} cannot listen on {join_address(host, port)}: {error.strerror}"
            raise EnvironmentFault(problem, hint=hint) from error


def free_port() -> int:
    """A port of the loopback address that is free for UDP and TCP.

    It is below the kernel's default range for outgoing connections, so that none of them takes it before the caller
    does.
    """
    with ExitStack() as hold:
        return _hold_free_port(hold)


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different free ports."""
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
