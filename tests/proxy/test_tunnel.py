"""WebSocket tunnel without sockets: how much of one connection's data is passed on per turn."""

from __future__ import annotations

from collections.abc import Iterator

from mitmproxy.connection import Client, Connection, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.mode_specs import ProxyMode

from simulator.proxy.http.websocket_tunnel import GO_AWAY_FRAME, MAX_FRAMES_PER_TURN, Tunnel
from tests.proxy import websocket as ws

PINGS = ws.masked(ws.PING) * (2 * MAX_FRAMES_PER_TURN + 10)


class Wire:
    """A tunnel, and what it has sent and asked for."""

    def __init__(self, bytes_before_reset: int | None = None) -> None:
        mode = ProxyMode.parse("reverse:http://ams:80")
        self.client = Client(peername=("", 0), sockname=("", 0), proxy_mode=mode)
        self.machine = Server(address=None)
        self.close_codes: list[int | None] = []
        self.tunnel = Tunnel(
            self.client, self.machine, self.close_codes.append, lambda size: bytes_before_reset
        )
        self.sent: dict[Connection, bytes] = {self.client: b"", self.machine: b""}
        self.wakeups: list[commands.RequestWakeup] = []
        self.closed: list[Connection] = []

    def receive(self, connection: Connection, data: bytes) -> None:
        self._execute(self.tunnel.pass_on(events.DataReceived(connection, data)))

    def take_turn(self) -> None:
        """Let the oldest wake-up be due."""
        self._execute(self.tunnel.wake_up(self.wakeups.pop(0)))

    def go_away(self) -> None:
        self._execute(self.tunnel.go_away())

    def _execute(self, issued: Iterator[commands.Command]) -> None:
        for command in issued:
            if isinstance(command, commands.SendData):
                self.sent[command.connection] += command.data
            elif isinstance(command, commands.RequestWakeup):
                self.wakeups.append(command)
            elif isinstance(command, commands.CloseConnection):
                self.closed.append(command.connection)


def test_many_small_frames_are_passed_on_in_several_turns() -> None:
    wire = Wire()
    for source, target in ((wire.client, wire.machine), (wire.machine, wire.client)):
        wire.receive(source, PINGS)
        assert len(wire.sent[target]) == MAX_FRAMES_PER_TURN * 6
        assert wire.tunnel.awaits_turn(source)
        assert not wire.tunnel.awaits_turn(target)
        wire.take_turn()
        wire.take_turn()
        assert wire.sent[target] == PINGS
        assert not wire.tunnel.awaits_turn(source)


def test_a_large_frame_is_passed_on_at_once() -> None:
    wire = Wire()
    message = ws.masked(ws.BINARY, bytes(2**16))
    wire.receive(wire.client, message)
    assert wire.sent[wire.machine] == message
    assert wire.wakeups == []


def test_data_that_arrives_before_the_next_turn_keeps_its_order() -> None:
    wire = Wire()
    wire.receive(wire.client, PINGS)
    wire.receive(wire.client, ws.masked(ws.TEXT, b"last"))
    while wire.wakeups:
        wire.take_turn()
    assert wire.sent[wire.machine] == PINGS + ws.masked(ws.TEXT, b"last")


def test_data_that_waits_for_its_turn_does_not_follow_the_proxys_close_frame() -> None:
    """RFC 6455, 5.5.1"""
    wire = Wire()
    wire.receive(wire.machine, PINGS)
    wire.go_away()
    assert wire.sent[wire.client].endswith(GO_AWAY_FRAME)
    size = len(wire.sent[wire.client])
    wire.take_turn()
    assert len(wire.sent[wire.client]) == size
    wire.receive(wire.client, ws.masked(ws.CLOSE, ws.close(1001)))
    assert wire.closed == [wire.machine, wire.client]
    assert wire.close_codes == [1001]


def test_a_machine_that_never_completes_its_frame_does_not_keep_the_client() -> None:
    """A suspended machine: F-5.36"""
    wire = Wire()
    wire.receive(wire.machine, b"\x82\x05he")
    wire.go_away()
    assert wire.sent[wire.client] == b"\x82\x05he"
    wire.take_turn()
    assert wire.closed == [wire.machine, wire.client]


def test_a_client_that_has_sent_its_close_frame_is_disconnected_with_the_proxys_own() -> None:
    """RFC 6455, 7.1.1"""
    wire = Wire()
    wire.receive(wire.client, ws.masked(ws.CLOSE, ws.close(1000)))
    assert wire.closed == []
    wire.go_away()
    assert wire.sent[wire.client] == GO_AWAY_FRAME
    assert wire.closed == [wire.machine, wire.client]
    assert wire.close_codes == [1000]


def test_the_machines_own_close_frame_takes_the_place_of_the_proxys() -> None:
    wire = Wire()
    frame = ws.frame(ws.CLOSE, ws.close(1012))
    wire.receive(wire.machine, frame)
    wire.go_away()
    assert wire.sent[wire.client] == frame
    wire.receive(wire.client, ws.masked(ws.CLOSE, ws.close(1012)))
    assert wire.closed == [wire.machine, wire.client]


def test_a_close_frame_that_a_reset_cut_off_is_not_the_close_code() -> None:
    wire = Wire(bytes_before_reset=2)
    wire.receive(wire.machine, ws.frame(ws.CLOSE, ws.close(4000)))
    assert wire.sent[wire.client] == b"\x88\x02"
    assert wire.close_codes == [None]
