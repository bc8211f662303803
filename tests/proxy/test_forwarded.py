"""Machines behind a forwarded port, where a forwarder such as Docker accepts the connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.proxy.harness import AMS, DFW, Harness
from tests.proxy.machine import OK, responding

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def forwarder(*, reads: bool) -> AsyncIterator[int]:
    """Accepts connections and closes them: at once, as if nothing listens behind it, or after reading the request."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reads:
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_request_that_was_never_read_behind_a_forwarded_port_is_retried(
    harness: Harness,
) -> None:
    """F-5.41: no machine has read the request, so even a POST is retried."""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    await harness.add_machine(DFW, "dfw", responding(OK))
    for _ in range(20):
        async with forwarder(reads=False) as port:
            harness.change(ams, port=port, ports=((8080, port),))
            client = await harness.connect()

            assert (await client.fetch("POST", body=b"kept")).body == b"hello"

    for trace in await harness.finished(20):
        assert [(hop.machine, hop.cause) for hop in trace.hops] == [("ams-1", "routed"), ("dfw-1", "retry")]
        assert (trace.hops[0].failure or "").startswith("[PC01] instance refused connection")


async def test_a_request_that_was_read_behind_a_forwarded_port_is_not_retried(harness: Harness) -> None:
    """F-5.42"""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    async with forwarder(reads=True) as port:
        harness.change(ams, port=port, ports=((8080, port),))
        client = await harness.connect()

        await client.fetch("POST", body=b"")

    (trace,) = await harness.finished()
    assert [hop.machine for hop in trace.hops] == ["ams-1"]
    assert dfw.requests == []
