"""Test harness: runs the app's machines as processes, with a name server that lists them.

As on Fly's private network, each machine has its own address, and all use the same port.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from simulator.machines.port import free_port

AMS = "d8dd626f379508"
DFW = "286533db064e58"
DFW2 = "4d891ee9b43e08"
REGIONS = {AMS: "ams", DFW: "dfw", DFW2: "dfw"}
DEADLINE_SECONDS = 10


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition that other tasks of the event loop fulfill."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():  # noqa: ASYNC110 - the condition depends on another process
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"timeout while waiting for {what}") from None


@dataclass
class RunningApp:
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.lines[0].removeprefix("[info] Listening on ")

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False)

    def socket(self, path: str = "/ws", **headers: str) -> connect:
        return connect(self.url.replace("http", "ws") + path, proxy=None, additional_headers=headers)

    async def read_lines(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    async def logged(self, text: str) -> None:
        await until(lambda: any(text in line for line in self.lines), f"log line {text!r} in {self.lines}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running_app(**env: str) -> AsyncIterator[RunningApp]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sample_app"),
        env={**inherited, "HOST": "127.0.0.1", "PORT": "0", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    app = RunningApp(process)
    reader = asyncio.create_task(app.read_lines())
    try:
        await until(lambda: app.lines or reader.done(), "the app's first line")
        assert "Listening" in "".join(app.lines), app.lines
        yield app
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader


class NameServer(asyncio.DatagramProtocol):
    """`.internal` DNS: TXT records of `vms.<app>` and AAAA records of `<id>.vm.<app>` (F-8.9, F-8.3)."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.is_broken = False
        self.queries = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    @property
    def address(self) -> str:
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def datagram_received(self, data: bytes, client: tuple[str | object, int]) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        self.queries += 1
        if self.is_broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        name = query.question[0].name
        first, second, *_ = name.to_text().split(".")
        if first == "vms":
            text = ",".join(f"{id} {REGIONS[id]}" for id in self.addresses)
            answer.answer.append(dns.rrset.from_text(name, 5, "IN", "TXT", f'"{text}"'))
        elif second == "vm" and first in self.addresses:
            answer.answer.append(
                dns.rrset.from_text(name, 5, "IN", "AAAA", f"::ffff:{self.addresses[first]}")
            )
        self._transport.sendto(answer.to_wire(), client)


@dataclass
class RunningFleet:
    names: NameServer
    port: int
    env: dict[str, str]
    stack: AsyncExitStack
    apps: dict[str, RunningApp] = field(default_factory=dict)

    def __getitem__(self, machine_id: str) -> RunningApp:
        return self.apps[machine_id]

    async def start(self, machine_id: str) -> None:
        number = list(REGIONS).index(machine_id) + 1
        self.names.addresses[machine_id] = f"127.0.7.{number}"
        fly = {"FLY_MACHINE_ID": machine_id, "FLY_REGION": REGIONS[machine_id], "FLY_APP_NAME": "streams"}
        own = {"HOST": f"127.0.7.{number}", "PORT": str(self.port), "DNS_SERVER": self.names.address}
        self.apps[machine_id] = await self.stack.enter_async_context(running_app(**fly, **own, **self.env))

    async def leave(self, machine_id: str, number: signal.Signals) -> int:
        """As on Fly, a machine that stops is no longer listed (F-8.14)."""
        del self.names.addresses[machine_id]
        return await self[machine_id].stop(number)


@asynccontextmanager
async def running_fleet(*machine_ids: str, **env: str) -> AsyncIterator[RunningFleet]:
    transport, names = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    async with AsyncExitStack() as stack:
        stack.callback(transport.close)
        fleet = RunningFleet(names, free_port(), env, stack)
        await asyncio.gather(*map(fleet.start, machine_ids))
        yield fleet


async def next_text(websocket: ClientConnection, kind: str | None = None) -> str:
    """The next text message, of type `kind` if given. Skips all other messages."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            message = await websocket.recv()
            if isinstance(message, str) and kind in (None, json.loads(message)["type"]):
                return message


async def next_frame(websocket: ClientConnection) -> bytes:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not isinstance(message := await websocket.recv(), bytes):
            pass
        return message


async def read_to_the_end(websocket: ClientConnection) -> int | None:
    """Reads until the end. Returns the close code."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                await websocket.recv()
    return websocket.close_code
