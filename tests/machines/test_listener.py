"""TCP listeners and their processes, from the tables of the kernel."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack

import pytest

from simulator.machines.processes.listener import (
    _TABLES,
    _ask_kernel,
    _read,
    all_listeners,
    find_marker,
    find_owner,
    listeners_at,
    owns_any,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/net/tcp")


def listen(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, dualstack_ipv6=":" in host)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_a_listener_is_found_at_an_address_whether_exact_or_wildcard(host: str) -> None:
    with listen(host) as listener:
        port = listener.getsockname()[1]

        assert owns_any([os.getpid()], listeners_at("127.0.0.1", port))


def test_a_listener_on_the_exact_address_takes_precedence_over_a_wildcard() -> None:
    with listen("127.77.0.1") as exact:
        port = exact.getsockname()[1]
        with socket.socket() as wildcard:
            wildcard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            exact.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            wildcard.bind(("127.77.0.2", port))
            wildcard.listen()

            assert {listener.host for listener in listeners_at("127.77.0.1", port)} == {"127.77.0.1"}
            assert {listener.host for listener in listeners_at("127.77.0.2", port)} == {"127.77.0.2"}


def test_a_listener_on_another_address_is_ignored() -> None:
    with listen("127.77.0.1") as listener:
        assert listeners_at("127.0.0.1", listener.getsockname()[1]) == ()


def test_a_connected_socket_is_not_a_listener() -> None:
    with listen("127.0.0.1") as listener, socket.create_connection(listener.getsockname()) as connection:
        port = connection.getsockname()[1]

        assert all(listener.port != port for listener in all_listeners())


def test_the_owner_of_a_listener_is_found() -> None:
    with listen("127.0.0.1") as listener:
        there = listeners_at("127.0.0.1", listener.getsockname()[1])

        assert find_owner(there) == os.getpid()
        assert not owns_any([1_000_000_000], there)
    assert find_owner(there) is None


def test_an_ended_process_has_no_marker() -> None:
    assert find_marker(1_000_000_000) is None


def test_the_listeners_are_read_without_the_list_of_all_connections() -> None:
    opened: list[str] = []
    is_recording = True

    def record(event: str, arguments: tuple[object, ...]) -> None:
        if is_recording and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(record)  # It cannot be removed, so it is switched off.
    with listen("127.0.0.1") as listener:
        there = listeners_at("127.0.0.1", listener.getsockname()[1])
    is_recording = False

    assert len(there) == 1
    assert opened == []


def test_both_sources_report_the_same_listeners() -> None:
    with ExitStack() as stack:
        mine = [
            stack.enter_context(listen(host)) for host in ("127.77.0.3", "0.0.0.0", "::", "::ffff:127.0.0.1")
        ]
        mine += [
            stack.enter_context(listen("127.77.0.4")) for _ in range(200)
        ]  # more than one packet of netlink
        inodes = {os.fstat(each.fileno()).st_ino for each in mine}
        from_kernel = {each for each in _ask_kernel() if each.inode in inodes}
        from_tables = {each for table in _TABLES for each in _read(table) if each.inode in inodes}

    assert len(from_kernel) == len(mine)
    assert from_kernel == from_tables


def test_listeners_are_found_without_sock_diag(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown_protocol = 31  # The kernel refuses it, as one without sock_diag does.
    monkeypatch.setattr("simulator.machines.processes.listener._NETLINK_SOCK_DIAG", unknown_protocol)
    with listen("127.0.0.1") as listener:
        with pytest.raises(OSError, match="not supported"):
            list(_ask_kernel())

        assert owns_any([os.getpid()], listeners_at("127.0.0.1", listener.getsockname()[1]))
