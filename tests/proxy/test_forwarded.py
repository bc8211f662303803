"""Machines behind a port that something else accepts connections on, as Docker does for those that it publishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.proxy.harness import AMS, DFW, Harness
from tests.proxy.machine import OK, answering

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def forwarder(*, reads: bool) -> AsyncIterator[int]:
    """Accepts and hangs up: at once, as when nothing listens behind it, or after the request, as when that is lost."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reads:
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_request_that_nobody_behind_the_port_has_read_is_sent_to_another_machine(
    harness: Harness,
) -> None:
    """F-5.41: nothing was sent twice, so a POST is tried again, too."""
    ams = await harness.add_machine(AMS, "ams", answering(OK))
    await harness.add_machine(DFW, "dfw", answering(OK))
    for _ in range(20):
        async with forwarder(reads=False) as port:
            harness.change(ams, port=port, ports=((8080, port),))
            client = await harness.connect()

            assert (await client.ask("POST", body=b"kept")).body == b"hello"

    for trace in await harness.finished(20):
        assert [(hop.machine, hop.cause) for hop in trace.hops] == [("ams-1", "routed"), ("dfw-1", "retry")]
        assert (trace.hops[0].failure or "").startswith("[PC01] instance refused connection")


async def test_a_request_that_was_read_behind_the_port_is_not_sent_again(harness: Harness) -> None:
    """F-5.42"""
    ams = await harness.add_machine(AMS, "ams", answering(OK))
    dfw = await harness.add_machine(DFW, "dfw", answering(OK))
    async with forwarder(reads=True) as port:
        harness.change(ams, port=port, ports=((8080, port),))
        client = await harness.connect()

        await client.ask("POST", body=b"")

    (trace,) = await harness.finished()
    assert [hop.machine for hop in trace.hops] == ["ams-1"]
    assert dfw.requests == []
