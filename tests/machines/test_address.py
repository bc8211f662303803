from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.address import AddressBook, has_loopback_network, is_free
from simulator.testing import INTERNAL_PORT, machine_spec

needs_loopback_network = pytest.mark.skipif(not has_loopback_network(), reason="not all of 127/8 is local")

SHARED = machine_spec(1, ("serve",))


def own(number: int = 1, port: int = INTERNAL_PORT) -> MachineSpec:
    return replace(machine_spec(number, ("serve", "{host}")), internal_port=port)


@pytest.fixture
def book() -> Iterator[AddressBook]:
    book = AddressBook()
    yield book
    book.close()


@pytest.fixture
def other_run() -> Iterator[AddressBook]:
    book = AddressBook()
    yield book
    book.close()


@needs_loopback_network
def test_a_machine_whose_command_has_host_gets_its_own_address_and_the_internal_port(
    book: AddressBook,
) -> None:
    one, two = book.take(own(1)), book.take(own(2))

    assert one.port == two.port == INTERNAL_PORT
    assert one.host.startswith("127.")
    assert len({one.host, two.host, "127.0.0.1"}) == 3


@needs_loopback_network
def test_a_private_address_can_be_connected_to(book: AddressBook) -> None:
    """F-8.19: flysim's choice instead of 6PN addresses (F-8.16): clients must be able to connect to AAAA answers."""
    placement = book.take(own())
    with (
        socket.create_server((placement.host, placement.port)) as listener,
        socket.create_connection((placement.private_ip, placement.port), timeout=5),
    ):
        connection, peer = listener.accept()
        connection.close()
    assert peer[0] == "127.0.0.1"


def test_without_a_loopback_network_each_machine_gets_its_own_port(
    book: AddressBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.setattr("simulator.machines.address.has_loopback_network", lambda: False)

    placements = {book.take(own(number)).address for number in range(1, 20)}

    assert len(placements) == 19
    assert {address.split(":")[0] for address in placements} == {"127.0.0.1"}


def test_a_machine_whose_command_lacks_host_shares_an_address_and_has_its_own_private_address(
    book: AddressBook,
) -> None:
    """F-8.16: fdaa, then the network, the host and the machine."""
    placement = book.take(SHARED)

    assert placement.host == "127.0.0.1"
    assert is_free(placement.host, placement.port)
    assert IPv6Address(placement.private_ip).exploded.startswith("fdaa:")


@pytest.mark.parametrize("spec", [SHARED, own()], ids=["shared host", "own host"])
def test_a_machine_has_the_same_address_in_every_run(spec: MachineSpec) -> None:
    first, second = AddressBook(), AddressBook()
    placement = first.take(spec)
    first.close()

    assert second.take(spec) == placement
    second.close()


@pytest.mark.skipif(sys.platform != "linux", reason="leases are abstract sockets")
@pytest.mark.parametrize("spec", [SHARED, own()], ids=["shared host", "own host"])
def test_two_runs_at_once_get_different_addresses_before_anything_listens(
    spec: MachineSpec, book: AddressBook, other_run: AddressBook
) -> None:
    assert book.take(spec).address != other_run.take(spec).address


@pytest.mark.parametrize("spec", [SHARED, own()], ids=["shared host", "own host"])
def test_an_address_in_use_is_skipped(spec: MachineSpec, book: AddressBook, other_run: AddressBook) -> None:
    placement = book.take(spec)
    book.close()

    with socket.create_server((placement.host, placement.port)):
        assert other_run.take(spec).address != placement.address


def test_an_address_is_kept_until_it_is_released(book: AddressBook) -> None:
    placement = book.take(SHARED)

    assert book.take(SHARED) is placement
    book.release(SHARED.id)
    assert book.take(SHARED) == placement


@needs_loopback_network
def test_the_process_that_listens_on_all_addresses_is_named(book: AddressBook) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]

        with pytest.raises(
            EnvironmentFault,
            match=rf"ams-1 cannot listen on .* port {port} is in use by .*\(pid {os.getpid()}\), which listens on",
        ) as fault:
            book.take(own(port=port))

    assert "internal_port" in str(fault.value)
