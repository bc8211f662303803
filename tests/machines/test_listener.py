"""TCP listeners and their processes, from the tables of the kernel."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from simulator.machines.processes.listener import (
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
