"""mitmproxy addon: replaces mitmproxy's HTTP layer with ours, and answers DNS questions.

The same addon runs on our own master and in stock `mitmdump` and `mitmweb`. mitmproxy runs a script's hooks before
those of its own NextLayer addon, so our hook calls NextLayer first and then replaces the layer that it chose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mitmproxy import ctx, dns, tls
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer

from simulator.proxy.core import ProxyCore
from simulator.proxy.http.convert import edge_of
from simulator.proxy.http.edge_layer import EdgeLayer
from simulator.routing.errors import tls_canceled, tls_failed

_CLIENT_DISCONNECTED = ("The client disconnected", "connection closed")
"""mitmproxy's messages for a client that disconnects during the TLS handshake."""
_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_MIN_BYTES = 3
"""How many bytes are needed to distinguish TLS from HTTP."""


def _can_detect_protocol(data: bytes) -> bool:
    """Whether the first bytes of a connection are enough to distinguish TLS, HTTP/1 and HTTP/2."""
    return len(data) >= _MIN_BYTES and (data == _HTTP2_PREFACE or not _HTTP2_PREFACE.startswith(data))


def _discard_chosen_layers(nextlayer: layer.NextLayer) -> None:
    """Remove the layers that mitmproxy's own addon chose, if it ran before ours."""
    chosen: Any = nextlayer.layer
    while chosen is not None:
        if chosen in nextlayer.context.layers:
            nextlayer.context.layers.remove(chosen)
        chosen = getattr(chosen, "child_layer", None)


class ProtocolDetection(layer.Layer):
    """Waits for enough bytes to detect the protocol; mitmproxy would treat a single first byte as HTTP/1."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.context.layers.remove(self)
        self._data = b""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self._data += event.data
            if _can_detect_protocol(self._data):
                next_layer = layer.NextLayer(self.context)
                self._handle_event = next_layer.handle_event  # type: ignore[method-assign]
                yield from next_layer.handle_event(events.Start())
                yield from next_layer.handle_event(events.DataReceived(event.connection, self._data))
        elif isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(event.connection)


ResolveDns = Callable[[dns.DNSFlow], None]
"""Sets a DNS flow's response, or the address of the upstream server to ask."""


class FlyReplay:
    """Fly's proxy as a mitmproxy addon. `inspected`: announce every flow to other addons by mitmproxy's hooks."""

    def __init__(
        self, core: ProxyCore, resolve_dns: ResolveDns | None = None, *, inspected: bool = False
    ) -> None:
        self._core = core
        self._resolve_dns = resolve_dns
        self._inspected = inspected

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        try:
            self._choose_layer(nextlayer)
        except Exception as bug:  # mitmproxy would log it, and wait for more data
            self._core.report_bug(bug)
            self._core.give_up(nextlayer.context.client.id)

    def _choose_layer(self, nextlayer: layer.NextLayer) -> None:
        data = nextlayer.data_client()
        if data and not _can_detect_protocol(data):
            _discard_chosen_layers(nextlayer)
            nextlayer.layer = ProtocolDetection(nextlayer.context)
            return
        if data.startswith(_HTTP2_PREFACE):
            nextlayer.context.client.alpn = b"h2"  # HTTP/2 without TLS, by prior knowledge
        ctx.master.addons.get("nextlayer").next_layer(nextlayer)
        self._replace_http_layer(nextlayer)

    def _replace_http_layer(self, nextlayer: layer.NextLayer) -> None:
        parent: Any = None
        chosen: Any = nextlayer.layer
        while chosen is not None and not isinstance(chosen, HttpLayer):
            parent, chosen = chosen, getattr(chosen, "child_layer", None)
            if isinstance(chosen, layer.NextLayer):
                return
        if chosen is None or isinstance(chosen, EdgeLayer):
            return
        chosen.context.layers.remove(chosen)
        ours = EdgeLayer(chosen.context, self._core, inspected=self._inspected)
        if parent is None:
            nextlayer.layer = ours
        else:
            parent.child_layer = ours

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Log a failed TLS handshake, e.g. because of an untrusted certificate: no response can report it."""
        edge, message = edge_of(data.context.client), data.conn.error or ""
        name = data.conn.sni or "(none)"
        was_canceled = message.startswith(_CLIENT_DISCONNECTED)
        self._core.log(tls_canceled(name) if was_canceled else tls_failed(name, message), name, edge)

    def dns_request(self, flow: dns.DNSFlow) -> None:
        if self._resolve_dns is not None:
            self._resolve_dns(flow)
