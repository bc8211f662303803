"""Sockets of the name server: UDP and TCP on the same port (RFC 1035, 4.2).

They are asyncio's, not those of mitmproxy's DNS mode: its UDP server runs Rust threads, which can crash the
interpreter when it exits.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress

from simulator.proxy.name_server import NameServer
from simulator.retry import retry_on_blocking

_IDLE_SECONDS = 600.0
_FORWARD_TIMEOUT_SECONDS = 5.0
_FREE_PORT_ATTEMPTS = 20
MAX_UDP_BYTES = 65_507  # of one datagram over IPv4
MAX_TCP_BYTES = 65_535  # RFC 1035, 4.2.2: a length in two octets


class DnsListener:
    """Serves `name_server` on one port of one or more hosts, from `start` to `stop`."""

    def __init__(self, name_server: NameServer) -> None:
        self._name_server = name_server
        self._servers: list[asyncio.Server] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of the first socket; None if it does not listen."""
        if not self._transports:
            return None
        host, port = self._transports[0].get_extra_info("sockname")[:2]
        return host, port

    async def start(self, hosts: tuple[str, ...], port: int) -> None:
        """Port 0 takes a free one. Raises OSError if a port is in use; no socket stays open then."""
        loop = asyncio.get_running_loop()
        # A port that is free for UDP may be in use for TCP.
        attempts = _FREE_PORT_ATTEMPTS if port == 0 else 1
        sockets = retry_on_blocking(OSError, attempts=attempts)(_bind_all, hosts, port)
        for bound in sockets:
            if bound.type is socket.SOCK_STREAM:
                self._servers.append(await asyncio.start_server(self._accept, sock=bound))
            else:
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=bound)
                self._transports.append(transport)

    async def stop(self) -> None:
        """Close every socket and connection."""
        for server in self._servers:
            server.close()
        for transport in self._transports:
            transport.close()
        self._servers, self._transports = [], []
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer_datagram(
        self, transport: asyncio.DatagramTransport, data: bytes, client: tuple[str, int]
    ) -> None:
        """Send the response to one datagram; none to one that is not a DNS query."""
        response = await self._respond(data, client[0], MAX_UDP_BYTES)
        if response is not None and not transport.is_closing():
            transport.sendto(response, client)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.run(self._serve_tcp(reader, writer))

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client_ip: str = (writer.get_extra_info("peername") or ("",))[0]
        try:
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(_IDLE_SECONDS) as idle:
                    while True:
                        size = int.from_bytes(await reader.readexactly(2), "big")
                        query = await reader.readexactly(size)
                        response = await self._respond(query, client_ip, MAX_TCP_BYTES)
                        if response is None:
                            return
                        writer.write(len(response).to_bytes(2, "big") + response)
                        await writer.drain()
                        idle.reschedule(asyncio.get_running_loop().time() + _IDLE_SECONDS)
        finally:
            writer.close()

    async def _respond(self, data: bytes, client_ip: str, max_bytes: int) -> bytes | None:
        query = self._name_server.parse_query(data)
        if query is None:
            return None
        try:
            if self._name_server.is_forwarded(query):
                return await self._forward(data)
            return self._name_server.respond(query, client_ip, max_bytes)
        except Exception as bug:
            asyncio.get_running_loop().call_exception_handler({"message": "DNS query", "exception": bug})
            return self._name_server.fail(query)

    async def _forward(self, data: bytes) -> bytes | None:
        """The response of the upstream name server to a query; None if it sends none in time."""
        import dns.asyncquery
        import dns.exception
        import dns.message

        assert self._name_server.upstream is not None, "only then is a query forwarded"
        host, port = self._name_server.upstream
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                dns.message.from_wire(data), host, port=port, timeout=_FORWARD_TIMEOUT_SECONDS
            )
        except (dns.exception.DNSException, OSError):
            return None
        wire: bytes = response.to_wire()
        return wire

    def run(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, listener: DnsListener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._listener.run(self._listener.answer_datagram(self._transport, data, addr))


def _bind_all(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    """A UDP and a TCP socket for each host, all on the same port. Raises OSError, with no socket left open."""
    with ExitStack() as on_error:
        sockets = []
        for host in hosts:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sockets.append(on_error.enter_context(_bind(host, port, kind)))
                port = sockets[-1].getsockname()[1]
        on_error.pop_all()
    return sockets


def _bind(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A bound socket. Raises OSError."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        if bound.family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound
