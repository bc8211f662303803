from __future__ import annotations

import os
import socket

import pytest

from simulator.errors import EnvironmentFault
from simulator.machines import port as port_module
from simulator.machines.port import addresses_of, find_listener, free_port, port_in_use_error


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("asked_of", ["127.0.0.1", "0.0.0.0"])
def test_the_process_that_uses_a_port_is_found(listens_on: str, asked_of: str) -> None:
    with socket.create_server((listens_on, 0)) as listener:
        assert find_listener(asked_of, listener.getsockname()[1]) == (listens_on, os.getpid())


def test_no_process_uses_a_free_port() -> None:
    assert find_listener("127.0.0.1", free_port()) is None


def test_a_port_in_use_for_udp_or_tcp_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_port()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        udp.bind(("127.0.0.1", 0))
        taken = [udp.getsockname()[1], tcp.getsockname()[1]]
        monkeypatch.setattr(port_module, "_FREE_PORTS", [*taken, free])
        assert {free_port() for _ in range(10)} == {free}

        monkeypatch.setattr(port_module, "_FREE_PORTS", taken)
        with pytest.raises(
            EnvironmentFault, match=f"no free port on 127.0.0.1: .* {taken[0]} to {taken[-1]}, and all"
        ):
            free_port()


def test_a_connection_does_not_use_its_local_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        assert find_listener("127.0.0.1", connection.getsockname()[1]) is None


@pytest.mark.parametrize(
    ("listens_on", "wanted", "scope"),
    [("127.0.0.1", "127.0.0.1", ""), ("0.0.0.0", "127.84.200.133", ", which listens on all addresses")],
)
def test_the_error_names_the_port_its_process_and_a_hint(listens_on: str, wanted: str, scope: str) -> None:
    with socket.create_server((listens_on, 0)) as listener:
        port = listener.getsockname()[1]
        fault = port_in_use_error(wanted, port, wanted_by="edge ams", hint="set ams = 0 under [edges]")

    assert f"edge ams cannot listen on {wanted}:{port}: port {port} is in use by " in str(fault)
    assert f"(pid {os.getpid()}){scope}\n" in str(fault)
    assert "hint: stop that process, or set ams = 0 under [edges]" in str(fault)
    assert fault.exit_status == 3


def test_the_listeners_of_a_process_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert f"127.0.0.1:{port}" in addresses_of({os.getpid()})
        assert f"127.0.0.1:{port}" not in addresses_of({1})
