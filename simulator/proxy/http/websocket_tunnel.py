"""A connection that changed protocol: bytes pass between client and machine exactly as they come.

WebSocket frames are watched on the way, never rebuilt: fragments, masks, compression and close frames reach the
other side as they were sent, and nothing is remembered of them.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer

from simulator.proxy.http.frame_scanner import FrameScanner

GO_AWAY_FRAME = b"\x88\x02" + (1001).to_bytes(2, "big")
"""A close frame with the code for "going away" (RFC 6455, 7.4.1)."""


class GoAway(events.Event):
    """The machine at the other end is about to be stopped."""


class Tunnel:
    """Two connections, bound to one another until either ends. `on_end` is told the WebSocket's close code, if any.

    `break_at` is asked of every piece from the machine: after how many of its bytes a fault ends it, if one does.
    """

    def __init__(
        self,
        client: Connection,
        machine: Connection,
        on_end: Callable[[int | None], None],
        break_at: Callable[[int], int | None],
    ) -> None:
        self._client = client
        self._machine = machine
        self._on_end = on_end
        self._break_at = break_at
        self._from_client = FrameScanner()
        self._from_machine = FrameScanner()
        self._ended = False
        self._is_going_away = False

    def owns(self, connection: Connection) -> bool:
        return connection is self._client or connection is self._machine

    def pass_on(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        from_client = event.connection is self._client
        if isinstance(event, events.DataReceived):
            room = None if from_client else self._break_at(len(event.data))
            yield self.send(event.data[:room], from_client=from_client)
            if room is not None:
                yield from self._end()
            elif self._is_going_away and not from_client:
                yield from self.go_away()
        elif isinstance(event, events.ConnectionClosed):
            yield from self._end()

    def _end(self) -> layer.CommandGenerator[None]:
        if self._ended:
            return
        self._ended = True
        yield commands.CloseConnection(self._machine)
        yield commands.CloseConnection(self._client)
        self._on_end(self._from_client.close_code or self._from_machine.close_code)

    def go_away(self) -> layer.CommandGenerator[None]:
        """Close the WebSocket towards the client, between two of the machine's frames (F-5.36)."""
        self._is_going_away = not self._from_machine.at_boundary
        if self._from_machine.at_boundary and self._from_machine.close_code is None:
            self._from_machine.scan(GO_AWAY_FRAME)
            yield commands.SendData(self._client, GO_AWAY_FRAME)

    def send(self, data: bytes, *, from_client: bool) -> commands.SendData:
        """The command that passes `data` on."""
        if from_client:
            self._from_client.scan(data)
            return commands.SendData(self._machine, data)
        self._from_machine.scan(data)
        return commands.SendData(self._client, data)
