"""Machine that keeps every byte it receives, and a strict parser that names what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.proxy.machine import Handler, MachineWire

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ (?:/[\x21-\x22\x24-\x7e\x80-\xff]*|\*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([^\x00-\x08\x0a-\x1f\x7f]*)")
_SIZE_LINE = re.compile(rb"[0-9a-f]+")


class Flaw(AssertionError):
    """What a machine received is not one well-formed request after another."""


@dataclass
class Received:
    """One request as it arrived."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    is_complete: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


def parse_requests(data: bytes, *, is_growing: bool = False) -> list[Received]:
    """The requests in `data`; the body of the last one may be incomplete. Raises Flaw if any is not well-formed.

    `is_growing`: the last head may be incomplete, too.
    """
    requests: list[Received] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end and is_growing:
            break
        if not end:
            raise Flaw(f"rest without the end of a head: {head[:80]!r}")
        line, *lines = head.split(b"\r\n")
        if not _REQUEST_LINE.fullmatch(line):
            raise Flaw(f"request line {line!r}")
        request = Received(line, [_parse_field(each) for each in lines], b"")
        if len(request.all(b"host")) != 1:
            raise Flaw(f"{len(request.all(b'host'))} Host headers")
        data = _parse_body(request, data)
        requests.append(request)
    return requests


def _parse_field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise Flaw(f"header line {line!r}")
    return match[1], match[2]


def _parse_body(request: Received, data: bytes) -> bytes:
    """Set the body of `request`. Returns the rest of `data`."""
    lengths, codings = request.all(b"content-length"), request.all(b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Flaw(f"framing by {lengths} and {codings}")
    if codings:
        return _parse_chunks(request, data)
    size = int(lengths[0]) if lengths else 0
    request.body, request.is_complete = data[:size], len(data) >= size
    return data[size:]


def _parse_chunks(request: Received, data: bytes) -> bytes:
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return b""
        if not _SIZE_LINE.fullmatch(line):
            raise Flaw(f"size line {line!r}")
        size = int(line, 16)
        if size == 0:
            return _parse_trailers(request, data)
        chunk, end, data = data[:size], data[size : size + 2], data[size + 2 :]
        if end not in (b"", b"\r", b"\r\n"):
            raise Flaw("chunk longer than its size")
        request.body += chunk


def _parse_trailers(request: Received, data: bytes) -> bytes:
    """Add the trailers to the header fields, as a careless app would. Returns the rest of `data`."""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return b""
        if not line:
            request.is_complete = True
            return data
        request.fields.append(_parse_field(line))


@dataclass
class StrictMachine:
    """Answers each complete request with `response`, and keeps the bytes of each connection."""

    response: bytes = OK
    closes: bool = False
    connections: list[bytearray] = field(default_factory=list)

    def handler(self) -> Handler:
        async def serve(wire: MachineWire) -> None:
            received = bytearray()
            self.connections.append(received)
            answered = 0
            while data := await wire.reader.read(65536):
                received += data
                requests = parse_requests(bytes(received), is_growing=True)
                complete = sum(request.is_complete for request in requests)
                for _ in range(answered, complete):
                    await wire.send(self.response)
                    if self.closes:
                        return
                answered = complete

        return serve

    def requests(self) -> list[Received]:
        """All requests, connection by connection. Raises Flaw."""
        return [request for data in self.connections for request in parse_requests(bytes(data))]
