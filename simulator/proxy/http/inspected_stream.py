"""An exchange that other addons look on at: announced by mitmproxy's hooks, as mitmweb's inspector wants it.

The flow shows what the client sent and got; its comment names the machines that it went through. Hooks here are
for looking: a request that is changed or held by them has been delivered already.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import flow as mflow
from mitmproxy import http
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers.http import SendHttp
from mitmproxy.proxy.layers.http._events import (
    RequestHeaders,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.proxy.layers.websocket import WebsocketLayer
from mitmproxy.websocket import WebSocketData

from simulator.proxy.http.exchange_stream import ExchangeStream
from simulator.routing import Reject, Relay

Commands = layer.CommandGenerator[None]

MAX_BODY_BYTES = 1024 * 1024
"""How much of a body is kept to be looked at."""
MAX_MESSAGES = 1000
"""How many of a WebSocket's messages are kept; mitmproxy would keep all."""


class InspectedStream(ExchangeStream):
    """The proxy's side of one exchange, and a flow that tells of it."""

    _seen = b""

    def _begin(self, event: RequestHeaders) -> Commands:
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = request = event.request
        request.scheme = "https" if self.context.client.tls else "http"
        request.data.host, request.data.port = self.context.client.sockname[:2]
        self.flow.live = True
        yield HttpRequestHeadersHook(self.flow)
        yield from super()._begin(event)

    def _end_request(self) -> Commands:
        self.flow.request.data.content = b"".join(self._body.pieces)
        yield HttpRequestHook(self.flow)
        yield from super()._end_request()

    def _relay_head(self, event: ResponseHeaders, decision: Relay) -> Commands:
        self.flow.response = event.response
        self.flow.server_conn = self.context.server
        self._tell_path()
        yield HttpResponseHeadersHook(self.flow)
        yield from super()._relay_head(event, decision)

    def _relay_body(self, event: Any) -> Commands:
        if isinstance(event, ResponseData) and len(self._seen) < MAX_BODY_BYTES:
            self._seen += event.data
        yield from super()._relay_body(event)

    def _end_response(self) -> Commands:
        assert self.flow.response is not None
        self.flow.response.data.content = self._seen
        yield HttpResponseHook(self.flow)
        self.flow.live = False
        yield from super()._end_response()

    def _reject(self, decision: Reject) -> Commands:
        yield from super()._reject(decision)
        self._tell_path()
        yield from self._tell_error(str(decision.error))

    def _client_left(self) -> Commands:
        yield from super()._client_left()
        yield from self._tell_error("the client left")

    def _machine_failed(self, event: ResponseProtocolError) -> Commands:
        yield from super()._machine_failed(event)
        if self._finished:
            yield from self._tell_error(event.message)

    def _tell_error(self, message: str) -> Commands:
        if self.flow.error is None:
            self.flow.error = mflow.Error(message)
            yield HttpErrorHook(self.flow)
        self.flow.live = False

    def _tell_path(self) -> None:
        self.flow.comment = " → ".join(self.exchange.trace.path)

    def _upgrade(self) -> Commands:
        """mitmproxy's own WebSocket layer takes over, so that messages can be looked at."""
        self.flow.websocket = WebSocketData()
        yield HttpResponseHook(self.flow)
        self.child_layer = WebsocketLayer(self.context, self.flow)
        self._handle_event = self._watch_messages  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _watch_messages(self, event: events.Event) -> Commands:
        yield from self.passthrough(event)
        websocket = self.flow.websocket
        assert websocket is not None
        del websocket.messages[:-MAX_MESSAGES]
        if websocket.timestamp_end is not None:
            self._finish(close_code=websocket.close_code)
