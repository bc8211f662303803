"""The mitmproxy addon: puts our HTTP layer in the place of mitmproxy's, and answers DNS questions.

It is the same for our own lean master and for stock `mitmdump` and `mitmweb`. mitmproxy runs a script's hooks
before those of its own NextLayer addon, so that one is asked first and what it chose is then replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mitmproxy import ctx, dns
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http import HttpLayer

from simulator.proxy.core import ProxyCore
from simulator.proxy.layer import EdgeLayer

_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_ENOUGH_BYTES = 3
"""The fewest by which TLS can be told from HTTP."""

Resolver = Callable[[Any], Any]
"""From a DNS message to its answer; mitmproxy 11 calls the type `dns.Message`, 12 `dns.DNSMessage`."""


class FlyReplay:
    """Fly's proxy, as an addon. `inspected`: other addons look on, so announce every flow to them."""

    def __init__(self, core: ProxyCore, resolve: Resolver | None = None, *, inspected: bool = False) -> None:
        self._core = core
        self._resolve = resolve
        self._inspected = inspected

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        data = nextlayer.data_client()
        if len(data) < _ENOUGH_BYTES and nextlayer.context.client.alpn is None:
            return  # we are asked again when there is more
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

    def dns_request(self, flow: dns.DNSFlow) -> None:
        if self._resolve is not None:
            flow.response = self._resolve(flow.request)
