"""DNS server for tests, instead of Docker's: it resolves the names that a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Responds over UDP."""

    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> addresses; a name with an empty tuple exists, but has no addresses."""
    is_silent: bool = False
    is_broken: bool = False
    asked: list[str] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)
    transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        name = question.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        if not self.is_silent:
            self.transport.sendto(self._answer(question, name).to_wire(), addr)

    def _answer(self, question: dns.message.Message, name: str) -> dns.message.Message:
        answer = dns.message.make_response(question)
        addresses = self.names.get(name)
        if self.is_broken or addresses is None:
            answer.set_rcode(dns.rcode.SERVFAIL if self.is_broken else dns.rcode.NXDOMAIN)
            return answer
        kind = question.question[0].rdtype
        matching = [address for address in addresses if (":" in address) is (kind == dns.rdatatype.AAAA)]
        if matching:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 5, "IN", kind, *matching))
        return answer


@asynccontextmanager
async def name_server(**names: tuple[str, ...]) -> AsyncIterator[NameServer]:
    """Run a name server; underscores in the arguments stand for dashes."""
    server = NameServer({name.replace("_", "-"): addresses for name, addresses in names.items()})
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
