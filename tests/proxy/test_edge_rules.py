"""Edge rules without a test module of their own: TLS versions, compression, load, connect errors."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import warnings

import pytest

from simulator.proxy.http.convert import connect_failure_from_text, names_shortage
from simulator.routing import App, Failure
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.proxy.client import request, tls_context
from tests.proxy.harness import AMS, Harness, open_harness, until
from tests.proxy.machine import OK, MachineWire, responding


async def negotiate_tls(harness: Harness, version: ssl.TLSVersion) -> str | None:
    """The TLS version negotiated with the edge by a client that supports only `version`."""
    context = tls_context("http/1.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    _, writer = await asyncio.open_connection("127.0.0.1", harness.port(), ssl=context)
    version_used: str | None = writer.get_extra_info("ssl_object").version()
    writer.close()
    return version_used


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_edge_supports_tls_1_2_and_1_3(harness: Harness, version: ssl.TLSVersion) -> None:
    """F-10.14"""
    assert await negotiate_tls(harness, version) == version.name.replace("_", ".")


async def test_an_edge_rejects_older_tls(harness: Harness) -> None:
    """F-10.14"""
    with pytest.raises(OSError):
        await negotiate_tls(harness, ssl.TLSVersion.TLSv1_1)


async def test_a_client_that_does_not_trust_the_certificate_is_logged_as_pt04(harness: Harness) -> None:
    """F-6.27: the client only sees a failed handshake, so the log must give the reason."""

    def distrust() -> None:
        address = ("127.0.0.1", harness.port("dfw"))
        with socket.create_connection(address, timeout=5) as plain, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(plain, server_hostname="streams.fly.dev")

    await asyncio.to_thread(distrust)  # unlike asyncio's TLS client, this one sends an alert with the reason
    await until(lambda: bool(harness.proxy_log()))
    (line,) = harness.proxy_log()
    assert (line.code, line.app, line.region, line.machine_id) == ("PT04", "streams", "dfw", None)
    assert "SNI streams.fly.dev" in line.message


async def test_a_client_that_disconnects_during_the_handshake_is_logged_as_pt03(harness: Harness) -> None:
    """F-6.26"""
    hello = ssl.MemoryBIO()
    talk = tls_context("http/1.1").wrap_bio(ssl.MemoryBIO(), hello, server_hostname="streams.fly.dev")
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", harness.port())
    writer.write(hello.read())
    await reader.read(1)  # the edge has responded
    writer.close()
    await until(lambda: bool(harness.proxy_log()))
    assert [line.code for line in harness.proxy_log()] == ["PT03"]


async def test_the_proxy_does_not_compress_a_body(harness: Harness) -> None:
    """F-9.9, X-7: Fly's documents contradict each other; flysim follows the default of the Machines API."""
    text = b"the same over and over " * 1000
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(text)
    ams = await harness.add_machine(AMS, "ams", responding(head + text))
    response = await (await harness.connect()).fetch(headers="accept-encoding: zstd, br, gzip\r\n")
    assert response.body == text
    assert response.get("content-encoding") is None
    assert ams.requests[0].get("accept-encoding") == "zstd, br, gzip"


async def test_only_requests_through_the_proxy_count_as_load(harness: Harness) -> None:
    """F-5.39: a direct connection between two machines on the private network does not count."""
    held: list[str] = []

    async def hold(wire: MachineWire) -> None:
        held.append((await wire.read_request()).target)
        await wire.read_to_end()

    ams = await harness.add_machine(AMS, "ams", hold)
    _, other_machine = await asyncio.open_connection("127.0.0.1", ams.fleet_entry.port)
    other_machine.write(request(path="/direct"))
    await until(lambda: held == ["/direct"])
    assert harness.router.load.of_machine(AMS) == 0
    client = await harness.connect()
    await client.send(request(path="/by-proxy"))
    await until(lambda: held == ["/direct", "/by-proxy"])
    assert harness.router.load.of_machine(AMS) == 1
    other_machine.close()
    await client.aclose()
    await until(lambda: harness.router.load.of_machine(AMS) == 0)


@pytest.mark.parametrize(
    ("number", "failure"),
    [
        (errno.ECONNREFUSED, Failure.REFUSED),
        (errno.ECONNRESET, Failure.RESET),  # F-6.18
        (errno.ECONNABORTED, Failure.ABORTED),  # F-6.19
        (errno.ETIMEDOUT, Failure.TIMED_OUT),
        (errno.EHOSTUNREACH, Failure.HOST_UNREACHABLE),  # F-6.13
        (errno.ENETUNREACH, Failure.HOST_UNREACHABLE),  # F-6.13
        (errno.EADDRNOTAVAIL, Failure.UNREACHABLE),
    ],
)
def test_a_connect_error_maps_to_a_failure(number: int, failure: Failure) -> None:
    """F-6.16, F-6.20, F-6.21"""
    message = f"[Errno {number}] Connect call failed ('127.0.0.1', 1)"
    assert connect_failure_from_text(message) is failure
    assert not names_shortage(message)


def test_a_shortage_of_file_descriptors_is_told_from_a_failure_of_the_machine() -> None:
    assert names_shortage(f"[Errno {errno.EMFILE}] Too many open files")
    assert not names_shortage("connection cancelled")


@pytest.mark.parametrize(
    ("response", "close"),
    [(OK, False), (OK, True), (b"HT", True), (b"", True)],
    ids=["HTTP/1", "HTTP/1 and close", "incomplete", "nothing"],
)
async def test_a_machine_without_http2_behind_an_h2_backend_ends_in_pu01(
    response: bytes, close: bool
) -> None:
    """F-6.11"""

    async def speak(wire: MachineWire) -> None:
        await wire.reader.read(1)
        await wire.send(response)
        if not close:
            await wire.read_to_end()

    port = ServicePort(80, 80, http=HttpOptions(h2_backend=True))
    async with open_harness(app=App("streams", services=(Service(ports=(port,)),))) as harness:
        await harness.add_machine(AMS, "ams", speak)
        refused = await (await harness.connect()).fetch()
        assert (refused.status, refused.body) == (502, b"")
        (trace,) = await harness.finished(1)
        assert trace.error == "PU01"
