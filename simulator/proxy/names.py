"""The private network's name server: `.internal` from the fleet, everything else refused.

It answers through mitmproxy's DNS mode; which names mean which machines is in `simulator.routing.names`.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from mitmproxy import dns
from mitmproxy.net.dns import response_codes, types
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import DNSLayer

from simulator.routing.model import Fleet
from simulator.routing.names import find_addresses, find_texts, flycast_app, is_flycast, is_private

_TTL_SECONDS = 5
_LONGEST_STRING = 255  # RFC 1035, 3.3: one character-string


class NameServer:
    """Answers questions about the fleet as it is at that moment."""

    def __init__(self, fleet: Callable[[], Fleet], near: str, edge_ip: str = "127.0.0.1") -> None:
        """`near`: the region of whoever asks. `edge_ip`: where `.flycast` names lead, which is an edge (F-8.20)."""
        self._fleet = fleet
        self._near = near
        self._edge_ip = edge_ip

    def resolve(self, message: Any) -> Any:
        """From mitmproxy's DNS message (11 and 12 name the type differently) to its answer."""
        if len(message.questions) != 1:
            return message.fail(response_codes.FORMERR)
        question = message.questions[0]
        addresses, texts = self._find(question.name)
        if not is_private(question.name):
            return message.fail(response_codes.REFUSED)
        if addresses is None and texts is None:
            return message.fail(response_codes.NXDOMAIN)
        records = []
        if question.type == types.AAAA:
            records = [
                dns.ResourceRecord.AAAA(question.name, IPv6Address(address), ttl=_TTL_SECONDS)
                for address in addresses or ()
            ]
        elif question.type == types.TXT:
            records = [_text_record(question.name, text) for text in texts or ()]
        return message.succeed(records)

    def _find(self, name: str) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        fleet = self._fleet()
        if is_flycast(name):
            return ((f"::ffff:{self._edge_ip}",) if flycast_app(fleet, name) else None), None
        return find_addresses(fleet, name, self._near), find_texts(fleet, name)


class NameLayer(DNSLayer):
    """mitmproxy's, but for this: an asker over TCP that hangs up is let go, not kept half open for ten minutes."""

    def state_query(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super().state_query(event)
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(event.connection)


def _text_record(name: str, text: str) -> dns.ResourceRecord:
    """mitmproxy leaves out the length octets that RFC 1035 puts before each string of a TXT record."""
    data = text.encode()
    strings = [data[start : start + _LONGEST_STRING] for start in range(0, len(data), _LONGEST_STRING)] or [
        b""
    ]
    record = dns.ResourceRecord.TXT(name, "", ttl=_TTL_SECONDS)
    record.data = b"".join(bytes([len(string)]) + string for string in strings)
    return record
