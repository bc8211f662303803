"""Copy design: viewers stay on the nearest machine, and the creator's machine copies the stream to it.

One link carries a stream to a machine, for all of its viewers, and closes with the last of them. The creator's
machine treats the link as one more viewer. `Traffic` counts the copied bytes, and `/stats` reports them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from sample_app.directory import Machine
from sample_app.private_network import PrivateNetwork, Unreachable
from sample_app.stream import Stream, Traffic

log = logging.getLogger(__name__)


class CopiedStream(Stream):
    """The stream of a creator on another machine, for the viewers of this machine."""

    def __init__(self, host: Machine, traffic: Traffic) -> None:
        super().__init__(host)
        self._traffic = traffic
        self._link: asyncio.Future[ClientConnection] = asyncio.get_running_loop().create_future()

    async def run(self, network: PrivateNetwork, own: Machine) -> None:
        """Receives the stream until the link ends. Raises Unreachable."""
        async with network.link(self.host.id) as link:
            await link.send(json.dumps({"type": "copy_request", **own.as_json()}))
            self._link.set_result(link)
            async for message in link:
                self._receive(message)

    async def say(self, name: str, text: str) -> None:
        """Sends the line to the creator's machine, which sends it back to all viewers."""
        link = await self._link
        with suppress(WebSocketException):  # The link ends then, and its viewers reconnect.
            await link.send(json.dumps({"type": "chat", "from": name, "text": text}))

    def end(self) -> None:
        for viewer in self.viewers:
            viewer.end()

    def _receive(self, message: str | bytes) -> None:
        self._traffic.bytes_copied_in += len(message if isinstance(message, bytes) else message.encode())
        if isinstance(message, bytes):
            self.show(message)
            return
        parsed = json.loads(message)
        if parsed["type"] == "chat":
            self.add_line(parsed["from"], parsed["text"])


class Copies:
    """The streams that are currently copied to this machine."""

    def __init__(self, own: Machine, network: PrivateNetwork, traffic: Traffic) -> None:
        self._own = own
        self._network = network
        self._traffic = traffic
        self._copies: dict[str, tuple[CopiedStream, asyncio.Task[None]]] = {}

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(copy for copy, _ in self._copies.values())

    @contextmanager
    def stream_of(self, host: Machine) -> Iterator[Stream]:
        """The copied stream. Join it before the first await, because a copy without viewers ends."""
        copy, task = self._copies.get(host.id) or self._begin(host)
        try:
            yield copy
        finally:
            if not copy.viewers:
                self._forget(copy)
                task.cancel()

    def _begin(self, host: Machine) -> tuple[CopiedStream, asyncio.Task[None]]:
        copy = CopiedStream(host, self._traffic)
        self._copies[host.id] = copy, asyncio.create_task(self._keep(copy))
        return self._copies[host.id]

    async def _keep(self, copy: CopiedStream) -> None:
        try:
            await copy.run(self._network, self._own)
        except Unreachable as error:
            log.info("The copy of %s's stream ended: %s", copy.host.creator, error)
        self._forget(copy)
        copy.end()

    def _forget(self, copy: CopiedStream) -> None:
        if self._copies.get(copy.host.id, (None,))[0] is copy:
            del self._copies[copy.host.id]
