"""DNS name server of the private network: resolves `.internal` and `.flycast` names from the fleet.

Public names are refused or forwarded to an upstream server. `dns_listener` has the sockets; inside stock mitmproxy,
its DNS mode calls `answer`. `simulator.routing.names` maps names to machines.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from mitmproxy import dns
from mitmproxy.net.dns import op_codes, response_codes, types

from simulator.routing.model import Fleet
from simulator.routing.names import find_addresses, find_texts, flycast_app, is_flycast, is_private

_Message: Any = getattr(dns, "DNSMessage", None) or dns.Message  # type: ignore[attr-defined] # mitmproxy 12 or 11
_TTL_SECONDS = 5
_MAX_STRING_BYTES = 255  # RFC 1035, 3.3: one character-string


class NameServer:
    """Answers DNS questions from the current fleet."""

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        default_region: str,
        edge_ip: str = "127.0.0.1",
        upstream: tuple[str, int] | None = None,
    ) -> None:
        """`default_region`: the region of a DNS client that is not a machine.

        `edge_ip`: the address of `.flycast` names (F-8.20). `upstream`: address of the name server for public names, as
        on Fly (F-8.15); None: public names are refused.
        """
        self._fleet = fleet
        self._default_region = default_region
        self._edge_ip = edge_ip if ":" in edge_ip else f"::ffff:{edge_ip}"
        self.upstream = upstream

    def answer(self, flow: Any) -> None:
        """Set the response of mitmproxy's DNS flow, or the upstream server that mitmproxy asks for it."""
        if self.is_forwarded(flow.request):
            flow.server_conn.address = self.upstream
        else:
            flow.response = self.resolve(flow.request, flow.client_conn.peername[0])

    def parse_query(self, data: bytes) -> Any | None:
        """mitmproxy's DNS message; None if the bytes are not a query."""
        try:
            message = _Message.unpack(data)
        except (struct.error, ValueError):
            return None
        return message if message.query else None

    def is_forwarded(self, message: Any) -> bool:
        """Whether the upstream server has to answer this query."""
        return self.upstream is not None and _is_public(message)

    def respond(self, query: Any, client_ip: str, max_bytes: int) -> bytes | None:
        """The bytes of the response: SERVFAIL if it would be too large, None for a name that cannot be encoded."""
        try:
            response: bytes = self.resolve(query, client_ip).packed
            if len(response) > max_bytes:
                response = self.fail(query)
        except (struct.error, ValueError):
            return None
        return response

    def fail(self, query: Any) -> bytes:
        """The bytes of a SERVFAIL response."""
        response: bytes = query.fail(response_codes.SERVFAIL).packed
        return response

    def resolve(self, message: Any, client_ip: str = "") -> Any:
        """The response to mitmproxy's DNS message `message`.

        `client_ip`: the address of the DNS client. Machines close to it come first.
        """
        if message.op_code != op_codes.QUERY:  # RFC 1035, 4.1.1: such as an update
            return message.fail(response_codes.NOTIMP)
        if len(message.questions) != 1:
            return message.fail(response_codes.FORMERR)
        question = message.questions[0]
        addresses, texts = self._find(question.name, client_ip)
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

    def _find(self, name: str, client_ip: str) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """The addresses and the texts of `name`; None for a name that does not exist."""
        fleet = self._fleet()
        if is_flycast(name):
            return ((self._edge_ip,) if flycast_app(fleet, name) else None), None
        region = find_region(fleet, client_ip) or self._default_region
        return find_addresses(fleet, name, region), find_texts(fleet, name)


def find_region(fleet: Fleet, address: str) -> str | None:
    """The region of the machines with this address, None if there are none or they are in several regions."""
    machines = (machine for machine in fleet.machines if address in (machine.host, machine.private_ip))
    found = {machine.region for machine in machines}
    return found.pop() if len(found) == 1 else None


def _is_public(message: Any) -> bool:
    return len(message.questions) == 1 and not is_private(message.questions[0].name)


def _text_record(name: str, text: str) -> dns.ResourceRecord:
    """A TXT record with a length octet before each string (RFC 1035, 3.3.14), which mitmproxy leaves out."""
    data = text.encode()
    starts = range(0, len(data) or 1, _MAX_STRING_BYTES)
    strings = [data[start : start + _MAX_STRING_BYTES] for start in starts]
    record = dns.ResourceRecord.TXT(name, "", ttl=_TTL_SECONDS)
    record.data = b"".join(bytes([len(string)]) + string for string in strings)
    return record
