"""Private network: `.internal` DNS lookups, and requests directly to a machine, without Fly's proxy (F-8.18)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from ipaddress import IPv6Address

from web import Request, Response

_HOST, _, _PORT = os.environ.get("DNS_SERVER", "fdaa::3").partition(":")  # on Fly: F-8.15
_AAAA = 28


async def addresses(name: str) -> list[str]:
    """Addresses of the machines with this name. DNS lists no stopped machines (F-8.14)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, _AAAA, 1)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        await loop.sock_connect(client, (_HOST, int(_PORT)))
        await loop.sock_sendall(client, question)
        answer = await asyncio.wait_for(loop.sock_recv(client, 4096), 2)
    return _parse(answer, len(question))


def _parse(answer: bytes, at: int) -> list[str]:
    found = []
    for _ in range(int.from_bytes(answer[6:8])):
        while answer[at] and answer[at] < 0xC0:  # A label. A zero byte or a pointer ends the name.
            at += 1 + answer[at]
        at += 2 if answer[at] else 1
        kind, _, _, size = struct.unpack_from(">HHIH", answer, at)
        at += 10 + size
        if kind == _AAAA:
            found.append(str(IPv6Address(answer[at - size : at])))
    return found


async def forward(request: Request, address: str) -> Response:
    """Sends the request unchanged to the machine at `address`. Returns its response."""
    reader, writer = await asyncio.open_connection(address, int(os.environ["PORT"]))
    fields = {**request.headers, "connection": "close", "content-length": str(len(request.body))}
    lines = [
        f"{request.method} {request.target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + request.body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.pop("content-length")))
    writer.close()
    return Response(int(head[0].split(" ")[1]), body, headers)
