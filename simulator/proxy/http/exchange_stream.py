"""One exchange inside mitmproxy's HTTP layer: carries out what routing decides.

Request bodies stream to the machine as they come and are kept, up to the replay limit, to be sent again; what comes
back is taken by `AnswerStream`. There is no policy here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream as Drop
from mitmproxy.proxy.layers.http import GetHttpConnection, SendHttp, validate_request
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

from simulator.proxy.delivery_faults import DeliveryFaults
from simulator.proxy.http import convert
from simulator.proxy.http.fast_path import index_headers
from simulator.proxy.http.response_stream import AnswerStream, Commands
from simulator.routing import (
    IDEMPOTENT_METHODS,
    Decision,
    Deliver,
    Failure,
    Machine,
    Outcome,
    Redirect,
    Reject,
    Wait,
)

if TYPE_CHECKING:
    from simulator.proxy.http.edge_layer import EdgeLayer


class ResumeExchange(events.Event):
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


class ExchangeStream(AnswerStream):
    """The proxy's side of one exchange: takes the request, and delivers it as often as is decided."""

    def __init__(self, context: Context, stream_id: int, edge: EdgeLayer) -> None:
        super().__init__(context, stream_id, edge)
        self._is_sending = False  # the machine at hand has the head and gets the body as it comes
        self._next: Decision | None = None  # what Carry or a wake-up will carry out

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
        elif isinstance(event, ResumeExchange):
            yield from self._leave_machine()
        elif isinstance(event, events.Wakeup):
            yield from self._resume()

    # The request.

    def _begin(self, event: RequestHeaders) -> Commands:
        self.request = request = event.request
        if not self._edge.inspected:
            index_headers(request)
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
        self._faults = DeliveryFaults(core, self.exchange, edge)
        core.limit_idle(self.context.client.id, self.exchange.idle_timeout_seconds)
        yield from self._execute(self.exchange.begin(now))

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
        yield from self._resume()

    def _resume(self) -> Commands:
        decision, self._next = self._next, None
        assert decision is not None
        if isinstance(decision, Wait):
            decision = self.exchange.resume(self._core.clock.now())
        yield from self._execute(decision)

    def _continue_with(self, decision: Decision) -> None:
        self._is_sending = False
        self._next = decision
        self.server_state = self._drop_answer
        self._edge.resume_later(self)

    def _execute(self, decision: Decision) -> Commands:
        while isinstance(decision, Deliver | Wait):
            if (yield from self._postpone(decision)):
                return
            if isinstance(decision, Wait):
                decision = self.exchange.resume(self._core.clock.now())
                continue
            fault = self._faults.meet(decision) if self._core.network else None
            if isinstance(fault, http.Response):
                yield from self._take_answer(decision, fault)
                return
            failure = fault or (yield from self._connect(decision))
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
            fresh=self._faults.is_cut(machine),
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

    # Ends before the end.

    def _client_left(self) -> Commands:
        if self._is_sending:
            yield from self._edge.detach(self.context.server)
        self._finish(Outcome.CLIENT_LEFT)
        yield Drop(self.stream_id)

    def _lose_machine(self, failure: Failure, *, stale: bool = False) -> Commands:
        self._is_sending = False
        yield from self._edge.detach(self.context.server)
        if stale and not self._body.is_lost and self.request.method.upper() in IDEMPOTENT_METHODS:
            # The machine closed a kept-alive connection just as it was used: no failure, a new connection will do.
            yield from self._execute(self._delivery)
            return
        now = self._core.clock.now()
        yield from self._execute(self.exchange.fail(failure, now, body_kept=not self._body.is_lost))
