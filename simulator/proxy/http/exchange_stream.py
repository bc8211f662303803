"""Request and response stream of one exchange, inside mitmproxy's HTTP layer.

`simulator.routing` decides where each delivery goes. The stream carries the decisions out and contains no policy of
its own. A request body goes to the machine as it arrives and is kept, up to the replay limit, for the next delivery.
A response goes to the client as it arrives, unless its head asks for a replay: then its body is discarded, and the
next delivery starts once everything that arrived in the same packet has been processed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream as Drop
from mitmproxy.proxy.layers.http import GetHttpConnection, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from simulator.events import ExchangeAnswered, ExchangeFinished
from simulator.proxy.core import ProxyCore
from simulator.proxy.http import convert
from simulator.proxy.http.delivery_faults import DeliveryFaults
from simulator.proxy.http.message_head import (
    InvalidMessage,
    check_http2_request,
    check_response,
    check_trailers,
)
from simulator.proxy.http.request_body import RequestBody
from simulator.proxy.http.websocket_tunnel import Tunnel
from simulator.routing import (
    IDEMPOTENT_METHODS,
    Decision,
    Deliver,
    Exchange,
    Failure,
    Machine,
    Outcome,
    ProxyError,
    ReadBody,
    Redirect,
    Reject,
    Relay,
    Trace,
    Wait,
)
from simulator.text import show_bytes

Commands = layer.CommandGenerator[None]


class ResumeExchange(events.Event):
    """The rest of the packet that held a replaying response's head has been processed: execute the next decision."""


@dataclass
class GetMachineConnection(GetHttpConnection):
    """Ask the edge layer for a connection to a machine: an idle one, or a new one within `timeout_seconds`."""

    machine: Machine | None = None
    timeout_seconds: float = 0.0
    h2: bool = False
    fresh: bool = False
    """Do not reuse an idle connection."""

    def __hash__(self) -> int:
        return id(self)


class Edge(Protocol):
    """What a stream needs from the layer of its client connection."""

    core: ProxyCore
    inspected: bool
    streams: dict[int, ExchangeStream]

    def is_idle(self, connection: Connection) -> bool: ...

    def was_reused(self, connection: Connection) -> bool: ...

    def detach(self, connection: Connection) -> None: ...

    def open_tunnel(self, tunnel: Tunnel) -> None: ...

    def pass_on(self, tunnel: Tunnel, connection: Connection, data: bytes) -> None: ...

    def resume_later(self, stream: ExchangeStream) -> None: ...


class ExchangeStream(HttpStream):
    """The proxy's side of one exchange: receives the request, delivers it as often as routing decides, responds.

    `server_state` is the method that handles the machine's next event.
    """

    exchange: Exchange
    request: http.Request
    _faults: DeliveryFaults
    _delivery: Deliver
    """The delivery whose response is expected or being read."""

    def __init__(self, context: Context, stream_id: int, edge: Edge) -> None:
        super().__init__(context, stream_id)
        self._edge = edge
        self._core = edge.core
        self._body = RequestBody(edge.core.router.options.replay_body_limit_bytes)
        self._is_sending = False  # the current machine has the request head and gets the body as it arrives
        self._next: Decision | None = None  # what ResumeExchange or a wake-up will execute
        self._client_head_sent = False
        self.received_bytes = 0
        """How much of the body has arrived, even while this stream waits for a connection."""
        self.request_id = ""
        """Empty until the exchange is opened."""
        self._finished = False
        self._tunnel: Tunnel | None = None

    @property
    def is_upload_buffer_full(self) -> bool:
        """Whether more of the body waits for a machine than can ever be resent."""
        if self._is_sending or self._finished:
            return False
        return self._body.exceeds_limit(self.received_bytes)

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, RequestHeaders):
            yield from self._begin(event)
        elif self._finished and not self._tunnel:
            return
        elif isinstance(event, RequestData | RequestTrailers):
            yield from self._continue_request(event)
        elif isinstance(event, RequestEndOfMessage):
            yield from self._end_request()
        elif isinstance(event, ResponseHeaders | ResponseData | ResponseTrailers | ResponseEndOfMessage):
            yield from self.server_state(event)
        elif isinstance(event, RequestProtocolError):
            yield from self._client_disconnected()
        elif isinstance(event, ResponseProtocolError):
            yield from self._machine_failed(event)
        elif isinstance(event, ResumeExchange):
            yield from self._release_machine()
        elif isinstance(event, events.Wakeup):
            yield from self._resume()

    # The request.

    def _begin(self, event: RequestHeaders) -> Commands:
        self.request = request = event.request
        core = self._core
        try:
            if request.is_http2:  # of HTTP/1.1, the parser has checked it
                check_http2_request(request, has_body=not event.end_stream)
        except InvalidMessage as error:
            yield from self._refuse_request(error)
            return
        if convert.expects_continue(request):
            yield SendHttp(ResponseHeaders(self.stream_id, convert.continue_response()), self.context.client)
        self._body.declare(convert.declared_length(request), exists=not event.end_stream)
        now, edge = core.clock.now(), convert.edge_of(self.context.client)
        head = convert.to_request(request, self.context.client)
        self.request_id = core.new_request_id(edge, now)
        self.exchange = core.router.open(head, edge, self.request_id, now)
        self._faults = DeliveryFaults(core, self.exchange, edge)
        core.set_idle_timeout(self.context.client.id, self.exchange.idle_timeout_seconds)
        yield from self._execute(self.exchange.begin(now))

    def _refuse_request(self, error: InvalidMessage) -> Commands:
        self._finished = True
        yield Drop(self.stream_id)
        response = convert.refusal_response(self._core, self.context.client, error)
        yield SendHttp(ResponseHeaders(self.stream_id, response, True), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _continue_request(self, event: RequestData | RequestTrailers) -> Commands:
        if isinstance(event, RequestTrailers):
            try:
                self._body.trailers = check_trailers(event.trailers.fields)
            except InvalidMessage as error:
                yield from self._refuse_end_of_request(f"invalid trailers: {error}")
            return
        if self._tunnel:
            self._edge.pass_on(self._tunnel, self.context.client, event.data)
            return
        if self._is_sending:
            yield SendHttp(RequestData(self.stream_id, event.data), self.context.server)
        self._body.append(event.data, is_sending=self._is_sending)

    def _end_request(self) -> Commands:
        if self._body.is_short:  # h2 compares sizes only at the end of DATA, not at trailers
            yield from self._refuse_end_of_request("body shorter than its Content-Length")
            return
        self._body.is_complete = True
        if self._is_sending:
            yield from self._send_end_of_request()

    def _send_end_of_request(self) -> Commands:
        server = self.context.server
        if self._body.trailers:
            yield SendHttp(RequestTrailers(self.stream_id, http.Headers(self._body.trailers)), server)
        yield SendHttp(RequestEndOfMessage(self.stream_id), server)

    def _refuse_end_of_request(self, reason: str) -> Commands:
        """End an HTTP/2 stream whose request turns out to be invalid after its head."""
        yield from self._client_disconnected()
        if self._client_head_sent:
            error = ResponseProtocolError(self.stream_id, reason, convert.BROKEN_RESPONSE)
            yield SendHttp(error, self.context.client)
        else:
            yield from self._refuse_request(InvalidMessage(reason))

    # Delivery.

    def _execute(self, decision: Decision) -> Commands:
        while isinstance(decision, Deliver | Wait):
            if (yield from self._postpone(decision)):
                return
            if isinstance(decision, Wait):
                decision = self.exchange.resume(self._core.clock.now())
                continue
            fault = self._faults.before_delivery(decision) if self._core.network else None
            if isinstance(fault, http.Response):
                yield from self._receive_injected_response(decision, fault)
                return
            failure = fault or (yield from self._connect(decision))
            if self._finished:
                return
            if failure is None:
                yield from self._send_request(decision)
                return
            decision = self.exchange.fail(
                failure, self._core.clock.now(), body_kept=not self._body.is_discarded
            )
        if isinstance(decision, Redirect):
            response = convert.redirect_response(decision, self.exchange.request_id, self.request)
            yield from self._send_proxy_response(response)
            return
        assert isinstance(decision, Reject)
        if not (yield from self._postpone(decision)):
            yield from self._reject(decision)

    def _postpone(self, decision: Deliver | Wait | Reject) -> layer.CommandGenerator[bool]:
        """Start the wait that `decision` asks for. Returns True if a wake-up will execute the decision."""
        if isinstance(decision, Wait) and decision.in_real_time:
            pause = decision.wait_seconds
        else:
            pause = self._core.clock.pause_seconds(decision.wait_seconds)
        if not pause:
            return False
        self._next = replace(decision, wait_seconds=0.0)
        yield commands.RequestWakeup(pause)
        return True

    def _resume(self) -> Commands:
        decision, self._next = self._next, None
        assert decision is not None
        if isinstance(decision, Wait):
            decision = self.exchange.resume(self._core.clock.now())
        yield from self._execute(decision)

    def _connect(self, decision: Deliver) -> layer.CommandGenerator[Failure | None]:
        machine = decision.machine
        connection, error = yield GetMachineConnection(
            (machine.host, decision.port),
            False,
            None,
            machine=machine,
            timeout_seconds=decision.connect_seconds,
            h2=decision.h2,
            fresh=self._faults.is_cut(machine),
        )
        if any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue):
            yield from self._client_disconnected()
            return None
        if error:
            if convert.names_shortage(error):
                self.exchange.add_note("flysim itself has no free file descriptors: raise `ulimit -n`")
            return convert.connect_failure_from_text(error)
        self.context.server = connection
        return None

    def _send_request(self, decision: Deliver) -> Commands:
        delivery = convert.to_delivery(self.request, decision, has_body=self._body.exists)
        self._is_sending = True
        self._delivery = decision
        self.server_state = self._await_response_head
        server = self.context.server
        yield SendHttp(RequestHeaders(self.stream_id, delivery, not self._body.exists), server)
        for data in self._body.chunks:
            yield SendHttp(RequestData(self.stream_id, data), server)
        self._body.mark_sent()
        if self._body.is_complete:
            yield from self._send_end_of_request()

    # The response head.

    def _await_response_head(self, event: Any) -> Commands:
        if not isinstance(event, ResponseHeaders):
            return
        try:
            check_response(event.response)
            if convert.is_upgrade(event.response):
                convert.check_upgrade(self._delivery, is_request_complete=self._body.is_complete)
        except InvalidMessage as error:
            self.exchange.add_note(f"invalid response: {error}")
            yield from self._fail_delivery(Failure.UNREADABLE)
            return
        decision = self.exchange.receive(
            convert.to_response_head(event.response),
            self._core.clock.now(),
            body_kept=self._body.is_replayable,
        )
        if isinstance(decision, Relay):
            yield from self._relay_head(event, decision)
        elif isinstance(decision, ReadBody):
            self._replay_body = b""
            self._replay_body_limit = decision.max_bytes
            self.server_state = self._collect_replay_body
        else:
            self._continue_with(decision)

    def _receive_injected_response(self, decision: Deliver, response: http.Response) -> Commands:
        """Process a response that a fault sends in place of the machine's."""
        self._delivery = decision
        yield from self._await_response_head(ResponseHeaders(self.stream_id, response, True))
        yield from self.server_state(ResponseEndOfMessage(self.stream_id))

    # Relay: the client gets the machine's response.

    def _relay_head(self, event: ResponseHeaders, decision: Relay) -> Commands:
        response = convert.to_client_response(
            event.response, decision.fields, self.request, ends_with_head=event.end_stream
        )
        self.server_state = self._relay_body
        self._client_head_sent = True
        self._is_upgrade = response.status_code == 101
        self._has_no_body = response.status_code in (204, 304) or self.request.data.method == b"HEAD"
        self._publish_answered()
        yield SendHttp(ResponseHeaders(self.stream_id, response, event.end_stream), self.context.client)

    def _relay_body(self, event: Any) -> Commands:
        if isinstance(event, ResponseData):
            if self._has_no_body:
                return  # only over HTTP/2: an HTTP/1 client would read it as the next response
            passed = self._bytes_before_reset(len(event.data))
            yield SendHttp(ResponseData(self.stream_id, event.data[:passed]), self.context.client)
            if passed is not None:
                yield from self._reset_machine()
        elif isinstance(event, ResponseTrailers):
            yield from self._relay_trailers(event.trailers)
        elif self._is_upgrade:
            yield from self._upgrade()
        else:
            yield from self._end_response()

    def _relay_trailers(self, trailers: http.Headers) -> Commands:
        if self._has_no_body:
            return
        try:
            fields = check_trailers(trailers.fields)
        except InvalidMessage as error:
            yield from self._machine_failed(
                ResponseProtocolError(self.stream_id, f"invalid trailers: {error}", convert.BROKEN_RESPONSE)
            )
            return
        if fields:
            yield SendHttp(ResponseTrailers(self.stream_id, http.Headers(fields)), self.context.client)

    def _end_response(self) -> Commands:
        if not self._body.is_complete:  # the machine responded without reading the whole request
            self._edge.detach(self.context.server)
        self._finish()
        yield Drop(self.stream_id)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _upgrade(self) -> Commands:
        self._tunnel = Tunnel(
            self.context.client, self.context.server, self._tunnel_closed, self._bytes_before_reset
        )
        self._core.open_websockets.add(self._delivery.machine.id, self.context.client.id)
        self.server_state = self._relay_early_frames
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
        self._edge.open_tunnel(self._tunnel)

    def _relay_early_frames(self, event: Any) -> Commands:
        """Pass on frames that arrived in one packet with the handshake response."""
        if isinstance(event, ResponseData) and self._tunnel:
            self._edge.pass_on(self._tunnel, self.context.server, event.data)
        yield from ()

    def _tunnel_closed(self, close_code: int | None) -> None:
        self._core.open_websockets.discard(self._delivery.machine.id, self.context.client.id)
        self._finish(close_code=close_code)
        self._edge.streams.pop(self.stream_id, None)

    # Replay: the response asks for another delivery.

    def _collect_replay_body(self, event: Any) -> Commands:
        if isinstance(event, ResponseData):
            if self._bytes_before_reset(len(event.data)) is not None:
                yield from self._reset_machine()
                return
            self._replay_body += event.data
            if len(self._replay_body) <= self._replay_body_limit:
                return
            self._end_replay_body(None)
        elif isinstance(event, ResponseEndOfMessage):
            self._end_replay_body(self._replay_body)

    def _end_replay_body(self, body: bytes | None) -> None:
        now = self._core.clock.now()
        self._continue_with(self.exchange.receive_body(body, now, body_kept=self._body.is_replayable))

    def _continue_with(self, decision: Decision) -> None:
        """Execute `decision` after the current event; until then, and from then on, discard the response's body."""
        self._is_sending = False
        self._next = decision
        self.server_state = self._discard_response
        self._edge.resume_later(self)

    def _discard_response(self, event: Any) -> Commands:
        yield from ()

    def _release_machine(self) -> Commands:
        """Keep the machine's connection if the response is complete, else close it. Then execute the next decision."""
        if not self._edge.is_idle(self.context.server):
            self._edge.detach(self.context.server)
        yield from self._resume()

    # A machine that fails.

    def _machine_failed(self, event: ResponseProtocolError) -> Commands:
        if self._client_head_sent:
            self._finish(Outcome.BROKEN)
            yield Drop(self.stream_id)
            error = ResponseProtocolError(self.stream_id, event.message, convert.BROKEN_RESPONSE)
            yield SendHttp(error, self.context.client)
        elif self.server_state == self._collect_replay_body:
            self._end_replay_body(None)
        elif self.server_state == self._await_response_head:
            silent = convert.is_closed_without_response(event.message)
            reused = self._edge.was_reused(self.context.server)
            failure = convert.response_failure(event.message)
            if silent and not reused and self._was_never_read():
                failure = Failure.REFUSED
            if failure is Failure.UNREADABLE:
                self.exchange.add_note(f"invalid response: {event.message}")
            is_unread = event.message == convert.NOT_PROCESSED or (
                silent and self._core.may_be_unread(self.context.client.id, self.context.server)
            )
            yield from self._fail_delivery(failure, stale=reused and is_unread)

    def _was_never_read(self) -> bool:
        """Whether a forwarded port accepted the connection although nothing listened behind it."""
        client, server = self.context.client, self.context.server
        return bool(self._delivery.machine.ports) and self._core.was_never_read(client.id, server)

    def _fail_delivery(self, failure: Failure, *, stale: bool = False) -> Commands:
        """No response head arrived. `stale`: a reused connection closed before the machine read the request."""
        self._is_sending = False
        self._edge.detach(self.context.server)
        if stale and not self._body.is_discarded and self.request.method.upper() in IDEMPOTENT_METHODS:
            # The machine closed a kept-alive connection at the moment of its reuse. That is not a failure: reconnect.
            yield from self._execute(self._delivery)
            return
        now = self._core.clock.now()
        yield from self._execute(self.exchange.fail(failure, now, body_kept=not self._body.is_discarded))

    def _bytes_before_reset(self, size: int) -> int | None:
        if not self._core.network:
            return None
        return self._faults.bytes_before_reset(size, self._delivery.machine)

    def _reset_machine(self) -> Commands:
        """A fault resets the machine's connection in the middle of its response."""
        self._edge.detach(self.context.server)
        yield from self._machine_failed(
            ResponseProtocolError(self.stream_id, "connection reset by a fault", convert.BROKEN_RESPONSE)
        )

    # The end.

    def _client_disconnected(self) -> Commands:
        if self._is_sending:
            self._edge.detach(self.context.server)
        self._finish(Outcome.CLIENT_LEFT)
        yield Drop(self.stream_id)

    def _reject(self, decision: Reject) -> Commands:
        self._core.log_rejection(decision, self._core.clock.now())
        response = convert.rejection_response(decision, self.exchange.request_id, self.request)
        yield from self._send_proxy_response(response)

    def _send_proxy_response(self, response: http.Response) -> Commands:
        """Send the client a response of the proxy's own."""
        self._publish_answered()
        self._finish()
        yield Drop(self.stream_id)
        yield SendHttp(ResponseHeaders(self.stream_id, response, True), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def crash(self, bug: Exception) -> Commands:
        """A bug in flysim ends this stream of an HTTP/2 client: with a 502, or within a response that has begun."""
        client = self.context.client
        if self._is_sending and not self._finished:
            self._edge.detach(self.context.server)
        has_response = self.abort(self._core.report_bug(bug))
        yield Drop(self.stream_id)
        if has_response:
            message = "flysim hit a bug"
            yield SendHttp(ResponseProtocolError(self.stream_id, message, convert.BROKEN_RESPONSE), client)
            return
        response = convert.bug_response(self._core, client, self.request_id)
        yield SendHttp(ResponseHeaders(self.stream_id, response, True), client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), client)

    def abort(self, error: ProxyError) -> bool:
        """Record that a bug in flysim ended the exchange. Returns whether the client has a response, or part of it."""
        has_response = self._client_head_sent or self._finished
        if self._tunnel is not None:
            self._core.open_websockets.discard(self._delivery.machine.id, self.context.client.id)
        if not self._finished:
            self._finished = True
            now = self._core.clock.now()
            is_open = hasattr(self, "exchange")
            trace = self.exchange.abort(error, now) if is_open else self._unopened_trace(error, now)
            self._core.bus.publish(ExchangeFinished(now, trace))
        return has_response

    def _unopened_trace(self, error: ProxyError, now: float) -> Trace:
        """The trace of a request for which routing has opened no exchange."""
        edge, request = convert.edge_of(self.context.client), self.request
        self.request_id = self.request_id or self._core.new_request_id(edge, now)
        return Trace(
            self.request_id,
            edge,
            app="",
            method=show_bytes(request.method),
            target=show_bytes(request.path),
            host=show_bytes(request.host_header or ""),
            scheme="https" if self.context.client.tls else "http",
            started_at=now,
            outcome=Outcome.REJECTED,
            status=502,
            error=error.code,
            message=error.message,
            answered_at=now,
            ended_at=now,
        )

    def _publish_answered(self) -> None:
        self._core.bus.publish(ExchangeAnswered(self._core.clock.now(), self.exchange.trace))

    def _finish(self, outcome: Outcome | None = None, close_code: int | None = None) -> None:
        if not self._finished:
            self._finished = True
            now = self._core.clock.now()
            self._core.bus.publish(ExchangeFinished(now, self.exchange.finish(now, outcome, close_code)))
