from __future__ import annotations

import os
import socket

import pytest

from simulator.machines.port import addresses_of, holder_of, port_taken


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("asked_of", ["127.0.0.1", "0.0.0.0"])
def test_the_holder_of_a_port_is_named_with_its_pid(listens_on: str, asked_of: str) -> None:
    with socket.create_server((listens_on, 0)) as listener:
        holder = holder_of(asked_of, listener.getsockname()[1])

    assert holder is not None
    assert holder.endswith(f"(pid {os.getpid()})")


def test_nobody_holds_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert holder_of("127.0.0.1", port) is None


def test_a_connection_holds_no_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        assert holder_of("127.0.0.1", connection.getsockname()[1]) is None


def test_the_fault_names_port_holder_and_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fault = port_taken("127.0.0.1", port, wanted_by="edge ams", mend="set ams = 0 under [edges]")

    assert f"port {port} on 127.0.0.1 is taken by" in str(fault)
    assert f"(pid {os.getpid()}), so edge ams cannot listen there" in str(fault)
    assert "mend: stop that process, or set ams = 0 under [edges]" in str(fault)
    assert fault.exit_status == 3


def test_the_fault_tells_of_a_holder_that_listens_on_every_address() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        fault = port_taken("127.84.200.133", port, wanted_by="machine ams-1", mend="give it another")

    assert f"port {port} on every address is taken by" in str(fault)
    assert f"(pid {os.getpid()}), so machine ams-1 cannot listen there" in str(fault)


def test_the_listeners_of_a_process_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert f"127.0.0.1:{port}" in addresses_of({os.getpid()})
        assert f"127.0.0.1:{port}" not in addresses_of({1})
