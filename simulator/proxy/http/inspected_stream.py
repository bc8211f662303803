"""Exchange stream that announces its flow by mitmproxy's hooks, for the inspector of mitmweb.

The flow shows the client's request and the response it got; the flow's comment lists the machines on its path. The
hooks are read-only: when they run, the request has been delivered already, so that an addon cannot change or hold it.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import flow as mflow
from mitmproxy import http
from mitmproxy.proxy import events
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

from simulator.proxy.http.exchange_stream import Commands, ExchangeStream
from simulator.routing import Reject, Relay

MAX_BODY_BYTES = 1024 * 1024
"""How much of a response body the flow keeps."""
MAX_MESSAGES = 1000
"""How many messages of a WebSocket the flow keeps; mitmproxy would keep all of them."""


class InspectedStream(ExchangeStream):
    """The proxy's side of one exchange, with a mitmproxy flow that shows it."""

    _response_body = b""

    def _begin(self, event: RequestHeaders) -> Commands:
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = request = event.request
        request.scheme = "https" if self.context.client.tls else "http"
        request.data.host, request.data.port = self.context.client.sockname[:2]
        self.flow.live = True
        yield HttpRequestHeadersHook(self.flow)
        yield from super()._begin(event)

    def _end_request(self) -> Commands:
        self.flow.request.data.content = b"".join(self._body.chunks)
        yield HttpRequestHook(self.flow)
        yield from super()._end_request()

    def _relay_head(self, event: ResponseHeaders, decision: Relay) -> Commands:
        self.flow.response = event.response
        self.flow.server_conn = self.context.server
        self._set_path_comment()
        yield HttpResponseHeadersHook(self.flow)
        yield from super()._relay_head(event, decision)

    def _relay_body(self, event: Any) -> Commands:
        if isinstance(event, ResponseData) and len(self._response_body) < MAX_BODY_BYTES:
            self._response_body += event.data
        yield from super()._relay_body(event)

    def _end_response(self) -> Commands:
        assert self.flow.response is not None
        self.flow.response.data.content = self._response_body
        yield HttpResponseHook(self.flow)
        self.flow.live = False
        yield from super()._end_response()

    def _upgrade(self) -> Commands:
        """Use mitmproxy's own WebSocket layer, so that the inspector shows messages."""
        self.flow.websocket = WebSocketData()
        yield HttpResponseHook(self.flow)
        self.child_layer = WebsocketLayer(self.context, self.flow)
        self._handle_event = self._relay_messages  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _relay_messages(self, event: events.Event) -> Commands:
        yield from self.passthrough(event)
        websocket = self.flow.websocket
        assert websocket is not None
        del websocket.messages[:-MAX_MESSAGES]
        if websocket.timestamp_end is not None:
            self._finish(close_code=websocket.close_code)

    def _machine_failed(self, event: ResponseProtocolError) -> Commands:
        yield from super()._machine_failed(event)
        if self._finished:
            yield from self._announce_error(event.message)

    def _client_disconnected(self) -> Commands:
        yield from super()._client_disconnected()
        yield from self._announce_error("client disconnected")

    def _reject(self, decision: Reject) -> Commands:
        yield from super()._reject(decision)
        self._set_path_comment()
        yield from self._announce_error(str(decision.error))

    def _announce_error(self, message: str) -> Commands:
        if self.flow.error is None:
            self.flow.error = mflow.Error(message)
            yield HttpErrorHook(self.flow)
        self.flow.live = False

    def _set_path_comment(self) -> None:
        self.flow.comment = " → ".join(self.exchange.trace.path)
