"""The answer to one exchange: a machine's, passed on as it comes, or read on when it asks for a replay.

A response streams to the client unless its head carries a replay: then the rest of it is dropped, and as soon as
all that came in the same packet is through, the next delivery begins.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream as Drop
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from simulator.events import ExchangeAnswered, ExchangeFinished
from simulator.proxy.delivery_faults import DeliveryFaults
from simulator.proxy.http import convert
from simulator.proxy.http.fast_path import index_headers
from simulator.proxy.http.request_body import RequestBody
from simulator.proxy.http.websocket_tunnel import Tunnel
from simulator.routing import Decision, Deliver, Exchange, Failure, Outcome, ReadBody, Relay

if TYPE_CHECKING:
    from simulator.proxy.http.edge_layer import EdgeLayer

Commands = layer.CommandGenerator[None]


class AnswerStream(HttpStream):
    """The side of an exchange that answers it. `server_state` is what takes the machine's next event."""

    exchange: Exchange
    request: http.Request
    _faults: DeliveryFaults
    _delivery: Deliver
    """The one that is answered."""

    def __init__(self, context: Context, stream_id: int, edge: EdgeLayer) -> None:
        super().__init__(context, stream_id)
        self._edge = edge
        self._core = edge.core
        self._body = RequestBody(edge.core.router.options.replay_body_limit_bytes)
        self._client_head_sent = False
        self._finished = False
        self._tunnel: Tunnel | None = None

    @abstractmethod
    def _continue_with(self, decision: Decision) -> None:
        """The answer carried a replay: go on with `decision` once all that came with it is through."""

    @abstractmethod
    def _lose_machine(self, failure: Failure, *, stale: bool = False) -> Commands:
        """The delivery failed without a response head; `stale`: nothing at all came of a connection used before."""

    # In the proxy's own name.

    def _answer(self, response: http.Response) -> Commands:
        """Answer in the proxy's own name."""
        self._announce_answer()
        self._finish()
        yield Drop(self.stream_id)
        yield SendHttp(ResponseHeaders(self.stream_id, response, True), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    # A machine's.

    def _await_head(self, event: Any) -> Commands:
        if not isinstance(event, ResponseHeaders):
            return
        if not self._edge.inspected:
            index_headers(event.response)
        try:
            validate_headers(event.response)
            if convert.is_out_of_place(event.response, self.request):
                raise ValueError("HTTP/2 has no 101")
        except ValueError:
            yield from self._lose_machine(Failure.UNREADABLE)
            return
        decision = self.exchange.receive(
            convert.to_response_head(event.response), self._core.clock.now(), body_kept=self._body.is_kept
        )
        if isinstance(decision, Relay):
            yield from self._relay_head(event, decision)
        elif isinstance(decision, ReadBody):
            self._replay_body = b""
            self._replay_body_limit = decision.max_bytes
            self.server_state = self._collect_replay_body
        else:
            self._continue_with(decision)

    def _collect_replay_body(self, event: Any) -> Commands:
        if isinstance(event, ResponseData):
            if self._break_at(len(event.data)) is not None:
                yield from self._break_off()
                return
            self._replay_body += event.data
            if len(self._replay_body) <= self._replay_body_limit:
                return
            self._end_replay_body(None)
        else:
            self._end_replay_body(self._replay_body)

    def _end_replay_body(self, body: bytes | None) -> None:
        now = self._core.clock.now()
        self._continue_with(self.exchange.receive_body(body, now, body_kept=self._body.is_kept))

    def _drop_answer(self, event: Any) -> Commands:
        yield from ()

    def _relay_head(self, event: ResponseHeaders, decision: Relay) -> Commands:
        response = convert.to_client_response(
            event.response, decision.fields, self.request, ends_with_head=event.end_stream
        )
        self.server_state = self._relay_body
        self._client_head_sent = True
        self._is_upgrade = response.status_code == 101
        self._announce_answer()
        yield SendHttp(ResponseHeaders(self.stream_id, response, event.end_stream), self.context.client)

    def _relay_body(self, event: Any) -> Commands:
        if isinstance(event, ResponseData):
            room = self._break_at(len(event.data))
            yield SendHttp(ResponseData(self.stream_id, event.data[:room]), self.context.client)
            if room is not None:
                yield from self._break_off()
        elif self._is_upgrade:
            yield from self._upgrade()
        else:
            yield from self._end_response()

    def _break_at(self, size: int) -> int | None:
        if not self._core.network:
            return None
        return self._faults.break_at(size, self._delivery.machine)

    def _break_off(self) -> Commands:
        """A fault resets the machine's connection in the middle of its answer."""
        yield from self._edge.detach(self.context.server)
        yield from self._machine_failed(
            ResponseProtocolError(self.stream_id, "reset by a fault", convert.BROKEN_RESPONSE)
        )

    def _end_response(self) -> Commands:
        if not self._body.is_complete:  # the machine answered without reading all of the request
            yield from self._edge.detach(self.context.server)
        self._finish()
        yield Drop(self.stream_id)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _upgrade(self) -> Commands:
        self._tunnel = Tunnel(self.context.client, self.context.server, self._close_tunnel, self._break_at)
        self._core.open_sockets.add(self._delivery.machine.id, self.context.client.id)
        self.server_state = self._relay_early_frames
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
        self._edge.open_tunnel(self._tunnel)

    def _relay_early_frames(self, event: Any) -> Commands:
        """Frames that came in one packet with the handshake."""
        if isinstance(event, ResponseData) and self._tunnel:
            yield from self._tunnel.pass_on(events.DataReceived(self.context.server, event.data))

    def _close_tunnel(self, close_code: int | None) -> None:
        self._core.open_sockets.discard(self._delivery.machine.id, self.context.client.id)
        self._finish(close_code=close_code)
        self._edge.streams.pop(self.stream_id, None)

    # A machine that fails.

    def _machine_failed(self, event: ResponseProtocolError) -> Commands:
        if self._client_head_sent:
            self._finish(Outcome.BROKEN)
            yield Drop(self.stream_id)
            error = ResponseProtocolError(self.stream_id, event.message, convert.BROKEN_RESPONSE)
            yield SendHttp(error, self.context.client)
        elif self.server_state == self._collect_replay_body:
            self._end_replay_body(None)
        elif self.server_state == self._await_head:
            silent, reused = convert.is_silent(event.message), self._edge.was_reused(self.context.server)
            failure = convert.answer_failure(event.message)
            if silent and not reused and self._was_never_read():
                failure = Failure.REFUSED
            yield from self._lose_machine(failure, stale=silent and reused)

    def _was_never_read(self) -> bool:
        """Behind a forwarded port nothing listened, although the connection came about."""
        client, server = self.context.client, self.context.server
        return bool(self._delivery.machine.ports) and self._core.was_never_read(client.id, server)

    # The record.

    def _announce_answer(self) -> None:
        self._core.bus.publish(ExchangeAnswered(self._core.clock.now(), self.exchange.trace))

    def _finish(self, outcome: Outcome | None = None, close_code: int | None = None) -> None:
        if not self._finished:
            self._finished = True
            now = self._core.clock.now()
            self._core.bus.publish(ExchangeFinished(now, self.exchange.finish(now, outcome, close_code)))
