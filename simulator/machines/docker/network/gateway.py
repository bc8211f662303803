"""The foot of flysim in a private network: a small program that runs there in a container, on the standard library.

It is the network's name server and the place that `.flycast` names lead to. It knows nothing itself: every question
and every connection goes to flysim, over connections that flysim opened to it (a container cannot reach a loopback
address of its host, and flysim listens nowhere else). One that waits is told in a line what it is for, `names` or
`edge <port> <who asks>`, and is a plain pipe from then on. Names that are not the private network's are asked of
Docker's own resolver (F-8.15).

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
PRIVATE = (b"internal", b"flycast")
PATIENCE_SECONDS = 5.0
CHUNK_BYTES = 65536
LARGEST_DATAGRAM = 65535
LOOPBACK = b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1])

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Waiting:
    """The connections from flysim that wait for a use."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._idle: asyncio.Queue[Streams] = asyncio.Queue()

    async def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).strip() == self._token:
            await self._idle.put((reader, writer))
        else:
            writer.close()

    async def take(self, purpose: str) -> Streams:
        """Raises TimeoutError when flysim has none to spare, which is when it is gone."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                reader, writer = await self._idle.get()
                if not reader.at_eof():
                    writer.write(f"{purpose}\n".encode())
                    return reader, writer
                writer.close()


def last_label(question: bytes) -> bytes:
    """Of the name that a DNS message asks for, in lower case."""
    at, label = 12, b""
    while at < len(question) and question[at]:
        label = question[at + 1 : at + 1 + question[at]]
        at += 1 + question[at]
    return label.lower()


def own_address(peer: str) -> str:
    """Which of our addresses a peer sees."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        return str(probe.getsockname()[0])


class Names(asyncio.DatagramProtocol):
    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.create_task(self._serve(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, question: bytes, asker: tuple[str, int]) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            self._transport.sendto(await answer(self._waiting, question, asker[0]), asker)


async def answer(waiting: Waiting, question: bytes, asker: str) -> bytes:
    if last_label(question) not in PRIVATE:
        return await ask_docker(question)
    reader, writer = await waiting.take("names")
    try:
        writer.write(len(question).to_bytes(2, "big") + question)
        async with asyncio.timeout(PATIENCE_SECONDS):
            size = int.from_bytes(await reader.readexactly(2), "big")
            found = await reader.readexactly(size)
    finally:
        writer.close()
    # flysim's edges are at its own loopback address: from here, that is us.
    mapped = LOOPBACK[:12] + socket.inet_aton(own_address(asker))
    return found.replace(LOOPBACK, mapped)


async def ask_docker(question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.setblocking(False)
        resolver.connect(DOCKER_RESOLVER)
        await loop.sock_sendall(resolver, question)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await loop.sock_recv(resolver, LARGEST_DATAGRAM)


async def serve_names(waiting: Waiting, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """DNS over TCP, one question after the other."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        while size := int.from_bytes(await reader.readexactly(2), "big"):
            asker = writer.get_extra_info("peername")[0]
            found = await answer(waiting, await reader.readexactly(size), asker)
            writer.write(len(found).to_bytes(2, "big") + found)
    writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def pass_on(
    waiting: Waiting, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    peer = writer.get_extra_info("peername")[0]
    try:
        edge_reader, edge_writer = await waiting.take(f"edge {port} {peer}")
    except TimeoutError:
        writer.close()
        return
    await asyncio.gather(pump(reader, edge_writer), pump(edge_reader, writer))
    edge_writer.close()
    writer.close()


async def main(token: str, ports: list[int]) -> None:
    waiting = Waiting(token.encode())
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Names(waiting), local_addr=("0.0.0.0", DNS_PORT)
    )
    await asyncio.start_server(lambda r, w: serve_names(waiting, r, w), "0.0.0.0", DNS_PORT)
    for port in ports:
        await asyncio.start_server(lambda r, w, p=port: pass_on(waiting, p, r, w), None, port)  # type: ignore[misc]
    await asyncio.start_server(waiting.admit, "0.0.0.0", TUNNEL_PORT)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
