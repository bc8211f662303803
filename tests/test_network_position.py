"""Listen addresses and published ports of flysim."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path

import httpx
import pytest

from simulator.cli.network_options import read_network_position
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.port import free_ports
from simulator.network_position import NetworkPosition, addresses_of, find_private_ip
from simulator.runtime import Simulator
from tests.test_runtime import config_of


def test_any_stands_for_all_ipv4_and_ipv6_addresses() -> None:
    assert addresses_of("any") == (("0.0.0.0", "::") if socket.has_dualstack_ipv6() else ("0.0.0.0",))
    assert addresses_of("127.0.0.1") == ("127.0.0.1",)


def test_urls_have_the_published_port() -> None:
    network_position = NetworkPosition(hosts=("0.0.0.0", "::"), published={8080: 18080})

    assert network_position.url("0.0.0.0", 8080) == "http://127.0.0.1:18080"
    assert network_position.url("::", 8081) == "http://127.0.0.1:8081"
    assert network_position.url("::1", 8081) == "http://[::1]:8081"


def test_the_private_address_belongs_to_this_computer() -> None:
    address = find_private_ip()
    if address is not None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((address, 0))
        assert not ipaddress.ip_address(address).is_loopback


@pytest.mark.parametrize(
    ("listen", "published", "problem"),
    [
        ("everywhere", [], "--listen is 'everywhere'"),
        ("127.0.0", [], "--listen is '127.0.0'"),
        ("any", ["8080"], "--published is '8080'"),
        ("any", ["8080:http"], "--published is '8080:http'"),
    ],
)
def test_invalid_network_options_are_refused(listen: str, published: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_network_position(listen, None, published, beside_machines=False)


def test_an_invalid_control_address_is_refused() -> None:
    with pytest.raises(InputError, match="--control-listen is 'lan'"):
        read_network_position("any", None, [], beside_machines=False, control_listen="lan")


def test_there_is_a_private_address_only_when_listening_on_all_addresses_next_to_the_machines() -> None:
    assert read_network_position("any", 53, [], beside_machines=False).private_ip is None
    assert read_network_position("127.0.0.1", 53, [], beside_machines=True).private_ip is None


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this computer has no IPv6")
async def test_on_any_address_edges_and_control_api_respond_over_ipv4_and_ipv6(tmp_path: Path) -> None:
    network_position = read_network_position("any", None, [], beside_machines=False, control_listen="any")
    async with (
        Simulator(config_of(tmp_path), network_position=network_position) as simulator,
        httpx.AsyncClient() as client,
    ):
        for url in (simulator.edges["ams"], f"{simulator.control_url}/_flysim/status"):
            for host in ("127.0.0.1", "[::1]"):
                response = await client.get(url.replace("127.0.0.1", host))
                assert response.status_code == 200, (url, host)


async def test_the_control_api_listens_on_loopback_even_if_the_edges_do_not(
    tmp_path: Path,
) -> None:
    network_position = NetworkPosition(hosts=("127.0.0.2",))
    async with Simulator(config_of(tmp_path), network_position=network_position) as simulator:
        assert simulator.edges["ams"].startswith("http://127.0.0.2:")
        assert simulator.control_url.startswith("http://127.0.0.1:")
        assert simulator.dns_address.startswith("127.0.0.2:")


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.2", "any"])
async def test_listen_does_not_open_the_control_api(tmp_path: Path, listen: str) -> None:
    network_position = read_network_position(listen, None, [], beside_machines=False)
    async with Simulator(config_of(tmp_path), network_position=network_position) as simulator:
        port = httpx.URL(simulator.control_url).port
        assert_refused("127.0.0.2", port)
        assert_refused("::1", port)
        assert simulator.page_url == f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("control_listen", ["any", "0.0.0.0", "127.0.0.2"])
async def test_control_listen_opens_the_control_api_to_clients_with_the_token(
    tmp_path: Path, control_listen: str
) -> None:
    network_position = read_network_position(
        "127.0.0.1", None, [], beside_machines=False, control_listen=control_listen
    )
    async with (
        Simulator(config_of(tmp_path), network_position=network_position) as simulator,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        local = f"{simulator.control_url}/_flysim/status"
        opened = local.replace("127.0.0.1", "127.0.0.2")
        bearer = {"Authorization": f"Bearer {network_position.control_token}"}
        assert (await client.get(local)).status_code == 200
        assert (await client.get(opened)).status_code == 401
        assert (await client.get(opened, headers={"Host": "127.0.0.1"})).status_code == 401
        assert (await client.get(opened, headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    ("control_listen", "page"),
    [
        (None, "http://127.0.0.1:5280/"),
        ("127.0.0.1", "http://127.0.0.1:5280/"),
        ("::1", "http://127.0.0.1:5280/"),
        ("any", "http://127.0.0.1:5280/?token={token}"),
        ("::", "http://127.0.0.1:5280/?token={token}"),
        ("10.0.0.7", "http://10.0.0.7:5280/?token={token}"),
    ],
)
def test_the_link_of_the_page_has_the_token_if_the_control_api_is_open(
    control_listen: str | None, page: str
) -> None:
    position = read_network_position(
        "any", None, ["4280:5280"], beside_machines=False, control_listen=control_listen
    )
    assert position.page_url(4280) == page.format(token=position.control_token)
    assert str(position.control_token) not in repr(position) or position.control_token is None


def test_a_token_is_random_for_each_start_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def token() -> str | None:
        return read_network_position(
            "127.0.0.1", None, [], beside_machines=False, control_listen="any"
        ).control_token

    first, second = token(), token()
    assert first is not None
    assert second is not None
    assert first != second
    assert len(first) >= 32
    monkeypatch.setenv("FLYSIM_CONTROL_TOKEN", "0123456789abcdef")
    assert token() == "0123456789abcdef"


@pytest.mark.parametrize("text", ["short", "a token with spaces", "0123456789abcdef\n", "0123456789abcdeé"])
def test_an_invalid_token_is_refused_and_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYSIM_CONTROL_TOKEN", text)
    with pytest.raises(InputError, match="FLYSIM_CONTROL_TOKEN is not a token") as caught:
        read_network_position("127.0.0.1", None, [], beside_machines=False, control_listen="any")
    assert text not in str(caught.value)


def assert_refused(host: str, port: int | None) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port or 0), timeout=5)


async def test_a_port_in_use_on_any_address_is_reported_with_its_process(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    async with listener:
        simulator = Simulator(
            config_of(tmp_path, control=port),
            network_position=NetworkPosition(control_hosts=("0.0.0.0", "::")),
        )
        with pytest.raises(
            EnvironmentFault, match=rf"cannot listen on 0\.0\.0\.0:{port}: .* in use by .*\(pid \d+\)"
        ):
            simulator.check_ports()
