"""The private network's name server: `.internal` from the fleet; what is public is refused, or asked of another.

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

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        near: str,
        edge_ip: str = "127.0.0.1",
        upstream: tuple[str, int] | None = None,
    ) -> None:
        """`near`: the region of whoever asks, unless it is a machine. `edge_ip`: where `.flycast` names lead (F-8.20).

        `upstream` answers for public names, as on Fly (F-8.15); None: they are refused.
        """
        self._fleet = fleet
        self._near = near
        self._edge_ip = edge_ip if ":" in edge_ip else f"::ffff:{edge_ip}"
        self._upstream = upstream

    def answer(self, flow: Any) -> None:
        """Put the answer into mitmproxy's flow, or the server that mitmproxy is to get it from."""
        if self._upstream is not None and _is_public(flow.request):
            flow.server_conn.address = self._upstream
        else:
            flow.response = self.resolve(flow.request, flow.client_conn.peername[0])

    def resolve(self, message: Any, asker: str = "") -> Any:
        """From mitmproxy's DNS message (11 and 12 name the type differently) to its answer.

        `asker` is the address of whoever asks.
        """
        if len(message.questions) != 1:
            return message.fail(response_codes.FORMERR)
        question = message.questions[0]
        addresses, texts = self._find(question.name, asker)
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

    def _find(self, name: str, asker: str) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        fleet = self._fleet()
        if is_flycast(name):
            return ((self._edge_ip,) if flycast_app(fleet, name) else None), None
        near = region_at(fleet, asker) or self._near
        return find_addresses(fleet, name, near), find_texts(fleet, name)


def region_at(fleet: Fleet, address: str) -> str | None:
    """The region of the machine that has an address to itself."""
    machines = (machine for machine in fleet.machines if address in (machine.host, machine.private_ip))
    found = {machine.region for machine in machines}
    return found.pop() if len(found) == 1 else None


def _is_public(message: Any) -> bool:
    return len(message.questions) == 1 and not is_private(message.questions[0].name)


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
