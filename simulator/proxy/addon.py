"""The mitmproxy addon: puts our HTTP layer in the place of mitmproxy's, and answers DNS questions.

It is the same for our own lean master and for stock `mitmdump` and `mitmweb`. mitmproxy runs a script's hooks
before those of its own NextLayer addon, so that one is asked first and what it chose is then replaced.
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
from simulator.routing.errors import tls_cancelled, tls_failed

_HUNG_UP = ("The client disconnected", "connection closed")
"""mitmproxy's words for a client that left in the middle of the handshake."""
_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_ENOUGH_BYTES = 3
"""The fewest by which TLS can be told from HTTP."""


def _is_telling(data: bytes) -> bool:
    """Whether TLS, HTTP/1 and HTTP/2 can be told apart by the first bytes of a connection."""
    return len(data) >= _ENOUGH_BYTES and (data == _HTTP2_PREFACE or not _HTTP2_PREFACE.startswith(data))


def _withdraw(nextlayer: layer.NextLayer) -> None:
    """Undo what mitmproxy's own addon chose, if it was asked before us."""
    chosen: Any = nextlayer.layer
    while chosen is not None:
        if chosen in nextlayer.context.layers:
            nextlayer.context.layers.remove(chosen)
        chosen = getattr(chosen, "child_layer", None)


class FirstBytes(layer.Layer):
    """Waits until the first bytes tell the protocol; mitmproxy would take a lone first byte for HTTP/1."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.context.layers.remove(self)
        self._data = b""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self._data += event.data
            if _is_telling(self._data):
                told = layer.NextLayer(self.context)
                self._handle_event = told.handle_event  # type: ignore[method-assign]
                yield from told.handle_event(events.Start())
                yield from told.handle_event(events.DataReceived(event.connection, self._data))
        elif isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(event.connection)


Answer = Callable[[dns.DNSFlow], None]
"""Puts the answer into a flow, or the address of the server that has it."""


class FlyReplay:
    """Fly's proxy, as an addon. `inspected`: other addons look on, so announce every flow to them."""

    def __init__(self, core: ProxyCore, answer: Answer | None = None, *, inspected: bool = False) -> None:
        self._core = core
        self._answer = answer
        self._inspected = inspected

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        data = nextlayer.data_client()
        if data and not _is_telling(data):
            _withdraw(nextlayer)
            nextlayer.layer = FirstBytes(nextlayer.context)
            return
        if data.startswith(_HTTP2_PREFACE):
            nextlayer.context.client.alpn = b"h2"  # HTTP/2 without TLS, by prior knowledge
        ctx.master.addons.get("nextlayer").next_layer(nextlayer)
        self._put_ours(nextlayer)

    def _put_ours(self, nextlayer: layer.NextLayer) -> None:
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
        """Such as a browser that does not trust our certificate; the log is the only place that can tell."""
        edge, problem = edge_of(data.context.client), data.conn.error or ""
        name = data.conn.sni or "(none)"
        was_cancelled = problem.startswith(_HUNG_UP)
        self._core.log(tls_cancelled(name) if was_cancelled else tls_failed(name, problem), name, edge)

    def dns_request(self, flow: dns.DNSFlow) -> None:
        if self._answer is not None:
            self._answer(flow)
