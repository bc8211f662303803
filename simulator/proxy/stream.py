"""One exchange inside mitmproxy's HTTP layer: carries out what routing decides.

Request bodies stream to the machine as they come and are kept, up to the replay limit, to be sent again. A
response streams to the client unless its head carries a replay: then the rest of it is dropped, and as soon as
all that came in the same packet is through, the next delivery begins. There is no policy here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream as Drop
from mitmproxy.proxy.layers.http import GetHttpConnection, HttpStream, SendHttp, validate_request
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from simulator.events import ExchangeAnswered, ExchangeFinished
from simulator.proxy import convert
from simulator.proxy.lean import fix_headers
from simulator.proxy.mishap import Mishaps
from simulator.proxy.request_body import RequestBody
from simulator.proxy.tunnel import Tunnel
from simulator.routing import (
    IDEMPOTENT_METHODS,
    Decision,
    Deliver,
    Exchange,
    Failure,
    Machine,
    Outcome,
    ReadBody,
    Redirect,
    Reject,
    Relay,
    Wait,
)

if TYPE_CHECKING:
    from simulator.proxy.layer import EdgeLayer

Commands = layer.CommandGenerator[None]


class Carry(events.Event):
    """All that came with a replaying response's head is through: carry the decision out."""


@dataclass
class GetMachineConnection(GetHttpConnection):
    """A connection to a machine: an idle one, or a new one within so many seconds."""

    machine: Machine | None = None
    timeout_seconds: float = 0.0
    h2: bool = False
    fresh: bool = False
    """No idle one will do."""

    def __hash__(self) -> int:
        return id(self)


class ExchangeStream(HttpStream):
    """The proxy's side of one exchange."""

    exchange: Exchange
    request: http.Request

    def __init__(self, context: Context, stream_id: int, edge: EdgeLayer) -> None:
        super().__init__(context, stream_id)
        self._edge = edge
        self._core = edge.core
        self._body = RequestBody(edge.core.router.options.replay_body_limit_bytes)
        self._is_sending = False  # the machine at hand has the head and gets the body as it comes
        self._client_head_sent = False
        self._finished = False
        self._next: Decision | None = None  # what Carry or a wake-up will carry out
        self._tunnel: Tunnel | None = None

    @property
    def holds_too_much(self) -> bool:
        """Whether more of the body is kept than may ever be sent again, for want of a machine that takes it."""
        if self._is_sending or self._finished:
            return False
        paused = sum(len(event.data) for event in self._paused_event_queue if isinstance(event, RequestData))
        return self._body.is_too_much(paused)

    # Events in.

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, RequestHeaders):
            yield from self._begin(event)
        elif self._finished and not self._tunnel:
            return
        elif isinstance(event, RequestData):
            yield from self._take_request_data(event.data)
        elif isinstance(event, RequestEndOfMessage):
            yield from self._end_request()
        elif isinstance(event, ResponseHeaders | ResponseData | ResponseEndOfMessage):
            yield from self.server_state(event)
        elif isinstance(event, RequestProtocolError):
            yield from self._client_left()
        elif isinstance(event, ResponseProtocolError):
            yield from self._machine_failed(event)
        elif isinstance(event, Carry):
            yield from self._leave_machine()
        elif isinstance(event, events.Wakeup):
            yield from self._carry_on()

    # The request.

    def _begin(self, event: RequestHeaders) -> Commands:
        self.request = request = event.request
        if not self._edge.inspected:
            fix_headers(request)
        core = self._core
        error = validate_request(self.mode, request, True)
        if error:
            yield from self._refuse_request(error)
            return
        if convert.expects_continue(request):
            yield SendHttp(ResponseHeaders(self.stream_id, convert.continue_response()), self.context.client)
        self._body.announce(convert.declared_length(request), exists=not event.end_stream)
        now, edge = core.clock.now(), convert.edge_of(self.context.client)
        head = convert.to_request(request, self.context.client)
        self.exchange = core.router.open(head, edge, core.new_request_id(edge, now), now)
        self._mishaps = Mishaps(core, self.exchange, edge)
        core.limit_idle(self.context.client.id, self.exchange.idle_timeout_seconds)
        yield from self._carry_out(self.exchange.begin(now))

    def _refuse_request(self, error: str) -> Commands:
        self._finished = True
        yield Drop(self.stream_id)
        yield SendHttp(
            ResponseProtocolError(self.stream_id, error, convert.INVALID_REQUEST), self.context.client
        )

    def _take_request_data(self, data: bytes) -> Commands:
        if self._tunnel:
            yield self._tunnel.send(data, from_client=True)
            return
        if self._is_sending:
            yield SendHttp(RequestData(self.stream_id, data), self.context.server)
        self._body.take(data, is_sending=self._is_sending)

    def _end_request(self) -> Commands:
        self._body.is_complete = True
        if self._is_sending:
            yield SendHttp(RequestEndOfMessage(self.stream_id), self.context.server)

    # Decisions out.

    def _leave_machine(self) -> Commands:
        """After a replay: keep the connection if the rest of the answer is there already, else close it; go on."""
        if not self._edge.is_idle(self.context.server):
            yield from self._edge.detach(self.context.server)
        yield from self._carry_on()

    def _carry_on(self) -> Commands:
        decision, self._next = self._next, None
        assert decision is not None
        if isinstance(decision, Wait):
            decision = self.exchange.resume(self._core.clock.now())
        yield from self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> Commands:
        while isinstance(decision, Deliver | Wait):
            if (yield from self._postpone(decision)):
                return
            if isinstance(decision, Wait):
                decision = self.exchange.resume(self._core.clock.now())
                continue
            mishap = self._mishaps.meet(decision) if self._core.links else None
            if isinstance(mishap, http.Response):
                yield from self._take_answer(decision, mishap)
                return
            failure = mishap or (yield from self._connect(decision))
            if self._finished:
                return
            if failure is None:
                yield from self._send_request(decision)
                return
            decision = self.exchange.fail(failure, self._core.clock.now(), body_kept=not self._body.is_lost)
        if isinstance(decision, Redirect):
            yield from self._answer(convert.redirection(decision, self.exchange.request_id, self.request))
            return
        assert isinstance(decision, Reject)
        if not (yield from self._postpone(decision)):
            yield from self._reject(decision)

    def _postpone(self, decision: Deliver | Wait | Reject) -> layer.CommandGenerator[bool]:
        """Wait first, if the decision says so; true if it will be taken up again by a wake-up."""
        if isinstance(decision, Wait) and decision.really:
            pause = decision.wait_seconds
        else:
            pause = self._core.clock.pause_seconds(decision.wait_seconds)
        if not pause:
            return False
        self._next = replace(decision, wait_seconds=0.0)
        yield commands.RequestWakeup(pause)
        return True

    def _connect(self, decision: Deliver) -> layer.CommandGenerator[Failure | None]:
        machine = decision.machine
        connection, error = yield GetMachineConnection(
            (machine.host, decision.port),
            False,
            None,
            machine=machine,
            timeout_seconds=decision.connect_seconds,
            h2=decision.h2,
            fresh=self._mishaps.is_cut(machine),
        )
        if any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue):
            yield from self._client_left()
            return None
        if error:
            return convert.connect_failure(error)
        self.context.server = connection
        return None

    def _send_request(self, decision: Deliver) -> Commands:
        delivery = convert.to_delivery(self.request, decision, has_body=self._body.exists)
        self._is_sending = True
        self._delivery = decision
        self.server_state = self._await_head
        server = self.context.server
        yield SendHttp(RequestHeaders(self.stream_id, delivery, not self._body.exists), server)
        for data in self._body.pieces:
            yield SendHttp(RequestData(self.stream_id, data), server)
        self._body.was_sent()
        if self._body.is_complete:
            yield SendHttp(RequestEndOfMessage(self.stream_id), server)

    def _take_answer(self, decision: Deliver, response: http.Response) -> Commands:
        """A fault answers in the machine's name."""
        self._delivery = decision
        yield from self._await_head(ResponseHeaders(self.stream_id, response, True))
        yield from self.server_state(ResponseEndOfMessage(self.stream_id))

    def _reject(self, decision: Reject) -> Commands:
        self._core.log_rejection(decision, self._core.clock.now())
        yield from self._answer(convert.rejection(decision, self.exchange.request_id, self.request))

    def _answer(self, response: http.Response) -> Commands:
        """Answer in the proxy's own name."""
        self._announce_answer()
        self._finish()
        yield Drop(self.stream_id)
        yield SendHttp(ResponseHeaders(self.stream_id, response, True), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    # The response.

    def _await_head(self, event: Any) -> Commands:
        if not isinstance(event, ResponseHeaders):
            return
        if not self._edge.inspected:
            fix_headers(event.response)
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
            self._leave_with(decision)

    def _leave_with(self, decision: Decision) -> None:
        """The answer carried a replay: go on with `decision` once all that came with it is through."""
        self._is_sending = False
        self._next = decision
        self.server_state = self._drop_answer
        self._edge.carry_later(self)

    def _collect_replay_body(self, event: Any) -> Commands:
        yield from ()
        if isinstance(event, ResponseData):
            self._replay_body += event.data
            if len(self._replay_body) <= self._replay_body_limit:
                return
            self._end_replay_body(None)
        else:
            self._end_replay_body(self._replay_body)

    def _end_replay_body(self, body: bytes | None) -> None:
        now = self._core.clock.now()
        self._leave_with(self.exchange.receive_body(body, now, body_kept=self._body.is_kept))

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
        if not self._core.links:
            return None
        return self._mishaps.break_at(size, self._delivery.machine)

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

    # Ends before the end.

    def _client_left(self) -> Commands:
        if self._is_sending:
            yield from self._edge.detach(self.context.server)
        self._finish(Outcome.CLIENT_LEFT)
        yield Drop(self.stream_id)

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

    def _lose_machine(self, failure: Failure, *, stale: bool = False) -> Commands:
        """The delivery failed without a response head; `stale`: nothing at all came of a connection used before."""
        self._is_sending = False
        yield from self._edge.detach(self.context.server)
        if stale and not self._body.is_lost and self.request.method.upper() in IDEMPOTENT_METHODS:
            # The machine closed a kept-alive connection just as it was used: no failure, a new connection will do.
            yield from self._carry_out(self._delivery)
            return
        now = self._core.clock.now()
        yield from self._carry_out(self.exchange.fail(failure, now, body_kept=not self._body.is_lost))

    # The record.

    def _announce_answer(self) -> None:
        self._core.bus.publish(ExchangeAnswered(self._core.clock.now(), self.exchange.trace))

    def _finish(self, outcome: Outcome | None = None, close_code: int | None = None) -> None:
        if not self._finished:
            self._finished = True
            now = self._core.clock.now()
            self._core.bus.publish(ExchangeFinished(now, self.exchange.finish(now, outcome, close_code)))
