"""Autobahn's WebSocket cases: a server directly, behind an edge, and behind a replay (RFC 6455, RFC 7692)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from simulator.routing import Machine
from tests.proxy.harness import AMS, DFW, Harness
from tests.proxy.machine import replaying

ROOT = Path(__file__).parents[3]
EXPECTED_CASES = 250
"""How many cases these are, at least."""


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def verdicts(port: int, *cases: str) -> dict[str, tuple[str, str]]:
    """The verdict on messages and on the closing handshake, by case; without `cases`, of all of them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.proxy.conformance.autobahn", str(port), *cases),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    output, _ = await process.communicate()
    found: dict[str, list[str]] = json.loads(output)
    return {case: (behavior, closing) for case, (behavior, closing) in found.items()}


async def test_no_case_that_passes_directly_fails_at_an_edge_or_through_a_replay(harness: Harness) -> None:
    """F-1.85, F-1.95"""
    async with echo_server() as port:
        await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
        target = Machine(DFW, "dfw-1", "streams", "dfw", port=port, private_ip="::ffff:127.0.0.1")
        harness.router.fleet = harness.router.fleet.with_machine(target)
        directly, at_edge, replayed = await asyncio.gather(
            verdicts(port), verdicts(harness.port("dfw")), verdicts(harness.port("ams"))
        )
        assert len(directly) >= EXPECTED_CASES
        assert directly.keys() == at_edge.keys() == replayed.keys()
        passed = {case for case, verdict in directly.items() if not _is_failure(verdict)}
        assert len(passed) >= EXPECTED_CASES - 5
        for edge, through in (("dfw", at_edge), ("ams", replayed)):
            failed = [case for case in passed if _is_failure(through[case])]
            if failed:  # some cases have deadlines, which a busy computer misses
                again = await verdicts(harness.port(edge), *failed)
                assert {case: verdict for case, verdict in again.items() if _is_failure(verdict)} == {}
    assert all(trace.path == ("dfw-1",) or trace.path == ("ams-1", "dfw-1") for trace in harness.traces)


def _is_failure(verdict: tuple[str, str]) -> bool:
    behavior, closing = verdict
    return behavior in ("FAILED", "ERROR") or closing in (
        "FAILED",
        "FAILED BY CLIENT",
        "UNCLEAN",
        "WRONG CODE",
    )
