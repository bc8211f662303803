"""The natural reading of a client's HTTP/1.1 bytes: where each request ends, if its framing is not ambiguous.

It validates nothing else, so it is an upper bound of what a proxy may pass on: a proxy that passes on another number
of requests, or other bodies, reads the framing in another way, which is request smuggling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_is_size = re.compile(rb"[0-9A-Fa-f]+").match


@dataclass(frozen=True)
class Request:
    method: bytes
    body: bytes


def requests_in(data: bytes) -> list[Request]:
    """The complete requests before the first ambiguity."""
    found: list[Request] = []
    while True:
        head, end, rest = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if not end:
            return found
        body = _body(head, rest)
        if body is None:
            return found
        content, data = body
        found.append(Request(head.split(b" ")[0], content))


def _body(head: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    lengths = [value.strip(b" \t") for name, _, value in lines if name == b"content-length"]
    codings = [value.strip(b" \t") for name, _, value in lines if name == b"transfer-encoding"]
    if codings:
        return _chunks(rest)
    if lengths and not lengths[0].isdigit():
        return None
    size = int(lengths[0]) if lengths else 0
    return (rest[:size], rest[size:]) if len(rest) >= size else None


def _chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    content = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        match = _is_size(line)
        if not end or match is None:
            return None
        size = int(match[0], 16)
        if size == 0:
            _, end, after = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return (content, after) if end else None
        if rest[size : size + 2] != b"\r\n":
            return None
        content, rest = content + rest[:size], rest[size + 2 :]
