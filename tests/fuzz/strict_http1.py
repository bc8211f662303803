"""Strict parser of HTTP/1.1 messages, which names each flaw (RFC 9110, 5; RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(_TOKEN + rb" [\x21-\x7e\x80-\xff]+ HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9] [\t\x20-\x7e\x80-\xff]*")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})\r\n")


@dataclass
class Head:
    """One request as far as it has arrived."""

    flaws: list[str] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_complete: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


def parse_requests(data: bytes) -> Iterator[Head]:
    """The requests on one connection; the last one may be incomplete."""
    while data:
        head, data = _parse_head(data, _REQUEST_LINE)
        if head is None:
            return
        if len(head.all(b"host")) != 1:
            head.flaws.append(f"{len(head.all(b'host'))} Host fields")
        data = _skip_body(head, data)
        yield head
        if head.flaws or not head.is_complete:
            return


def check_responses(data: bytes) -> None:
    """Raises AssertionError unless the bytes are complete responses, or end within a body."""
    while data:
        head, rest = _parse_head(data, _STATUS_LINE)
        assert head is not None, f"an incomplete response head: {data!r}"
        rest = _skip_body(head, rest)
        assert not head.flaws, f"{', '.join(head.flaws)} in the response {data!r}"
        data = rest if head.is_complete else b""


def _parse_head(data: bytes, start_line: re.Pattern[bytes]) -> tuple[Head | None, bytes]:
    block, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None, data
    head = Head()
    start, *lines = block.split(b"\r\n")
    if not start_line.fullmatch(start):
        head.flaws.append(f"start line {start[:80]!r}")
    for line in lines:
        _add_field(head, line)
    return head, rest


def _add_field(head: Head, line: bytes) -> None:
    if match := _FIELD_LINE.fullmatch(line):
        head.fields.append((match[1], match[2].rstrip(b" \t")))
    else:
        head.flaws.append(f"field line {line[:80]!r}")


def _skip_body(head: Head, data: bytes) -> bytes:
    """Returns what follows the body, and sets `is_complete`."""
    lengths, codings = head.all(b"content-length"), head.all(b"transfer-encoding")
    if codings:
        if lengths or codings != [b"chunked"]:
            head.flaws.append(f"framing by {lengths} and {codings}")
            return data
        return _skip_chunks(head, data)
    if not lengths:
        head.is_complete = True
        return data
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        head.flaws.append(f"Content-Length {lengths}")
        return data
    size = int(lengths[0])
    head.is_complete = len(data) >= size
    return data[size:]


def _skip_chunks(head: Head, data: bytes) -> bytes:
    while line := _CHUNK_SIZE.match(data):
        size = int(line[1], 16)
        if size == 0:
            return _read_trailers(head, data[line.end() :])
        piece, data = data[line.end() : line.end() + size], data[line.end() + size :]
        if len(piece) < size or len(data) < 2:
            return b""
        if not data.startswith(b"\r\n"):
            head.flaws.append(f"chunk end {data[:10]!r}")
            return b""
        data = data[2:]
    if b"\r\n" in data:
        head.flaws.append(f"chunk size {data[:20]!r}")
    return b""


def _read_trailers(head: Head, data: bytes) -> bytes:
    """Add the trailers to the fields, as a careless app would. Returns what follows them."""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return b""
        if not line:
            head.is_complete = True
            return data
        _add_field(head, line)
