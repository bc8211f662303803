"""Gateway program in a private network: name server and target of `.flycast` names. Runs alone in a container.

It uses only the standard library, so its loops are written by hand. It has no state: every query and every connection
goes to flysim. Containers cannot reach a loopback address of their host, so flysim opens the connections and leaves
them idle. On an idle connection the gateway sends one line with the purpose, `dns` or `edge <port> <client address>`;
from then on the connection is a plain byte stream. Queries outside the private domains go to Docker's resolver
(F-8.15).

python3 -c SOURCE TOKEN PORT...
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

TUNNEL_PORT = 4279
DNS_PORT = 53
DOCKER_RESOLVER = ("127.0.0.11", 53)
PRIVATE_DOMAINS = (b"internal", b"flycast")
TIMEOUT_SECONDS = 5.0
CHUNK_BYTES = 65536
MAX_DATAGRAM_BYTES = 65535
LOOPBACK = b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1])

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TunnelPool:
    """Idle connections from flysim."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._idle: asyncio.Queue[Streams] = asyncio.Queue()

    async def add(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).strip() == self._token:
            await self._idle.put((reader, writer))
        else:
            writer.close()

    async def acquire(self, purpose: str) -> Streams:
        """Raises TimeoutError if there is no connection, for example because flysim has ended."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                reader, writer = await self._idle.get()
                if not reader.at_eof():
                    writer.write(f"{purpose}\n".encode())
                    return reader, writer
                writer.close()


def last_label(query: bytes) -> bytes:
    """The top-level label of the name that a DNS message asks for, in lower case."""
    at, label = 12, b""
    while at < len(query) and query[at]:
        label = query[at + 1 : at + 1 + query[at]]
        at += 1 + query[at]
    return label.lower()


def local_address_towards(peer: str) -> str:
    """The gateway's address in the network of `peer`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        return str(probe.getsockname()[0])


class DnsProtocol(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, pool: TunnelPool) -> None:
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.create_task(self._serve(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, query: bytes, client: tuple[str, int]) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            self._transport.sendto(await resolve(self._pool, query, client[0]), client)


async def resolve(pool: TunnelPool, query: bytes, client_ip: str) -> bytes:
    if last_label(query) not in PRIVATE_DOMAINS:
        return await resolve_with_docker(query)
    reader, writer = await pool.acquire("dns")
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            size = int.from_bytes(await reader.readexactly(2), "big")
            response = await reader.readexactly(size)
    finally:
        writer.close()
    # flysim answers with its loopback address for edges; for containers, the gateway is the edge.
    mapped = LOOPBACK[:12] + socket.inet_aton(local_address_towards(client_ip))
    return response.replace(LOOPBACK, mapped)


async def resolve_with_docker(query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.setblocking(False)
        resolver.connect(DOCKER_RESOLVER)
        await loop.sock_sendall(resolver, query)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await loop.sock_recv(resolver, MAX_DATAGRAM_BYTES)


async def serve_dns_over_tcp(
    pool: TunnelPool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the queries of one connection, one at a time."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        while size := int.from_bytes(await reader.readexactly(2), "big"):
            client_ip = writer.get_extra_info("peername")[0]
            response = await resolve(pool, await reader.readexactly(size), client_ip)
            writer.write(len(response).to_bytes(2, "big") + response)
    writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def forward_to_edge(
    pool: TunnelPool, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    peer = writer.get_extra_info("peername")[0]
    try:
        edge_reader, edge_writer = await pool.acquire(f"edge {port} {peer}")
    except TimeoutError:
        writer.close()
        return
    await asyncio.gather(pump(reader, edge_writer), pump(edge_reader, writer))
    edge_writer.close()
    writer.close()


async def main(token: str, ports: list[int]) -> None:
    pool = TunnelPool(token.encode())
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: DnsProtocol(pool), local_addr=("0.0.0.0", DNS_PORT)
    )
    await asyncio.start_server(lambda r, w: serve_dns_over_tcp(pool, r, w), "0.0.0.0", DNS_PORT)
    for port in ports:
        await asyncio.start_server(lambda r, w, p=port: forward_to_edge(pool, p, r, w), None, port)  # type: ignore[misc]
    await asyncio.start_server(pool.add, "0.0.0.0", TUNNEL_PORT)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
