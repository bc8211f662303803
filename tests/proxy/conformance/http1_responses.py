"""Raw HTTP/1.1 responses: the bytes that a machine sends, and what the client gets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a machine sends in response to one request, and its one outcome."""

    name: str
    data: bytes
    section: str
    status: int = 502
    """What the client gets; 502: the response is not valid, and nothing of it is passed on."""
    body: bytes = b""
    closes: bool = False
    """Whether the machine closes its connection afterwards."""
    has: tuple[tuple[str, str], ...] = ()
    lacks: tuple[str, ...] = ()
    method: str = "GET"
    is_cut: bool = False
    """Whether the client sees that the response is not complete: its connection is closed too early."""


def answer(
    *lines: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = b"ok", length: bool = True
) -> bytes:
    lengths = [b"content-length: %d" % len(body)] if length else []
    return b"\r\n".join([status, *lines, *lengths, b"", body])


def _chunked(body: bytes, *lines: bytes) -> bytes:
    return answer(b"transfer-encoding: chunked", *lines, body=body, length=False)


ANSWERS = [
    Answer("a regular response", answer(), "9112 4", 200, b"ok"),
    Answer("no Date", answer(), "9110 6.6.1", 200, b"ok", lacks=("date",)),
    Answer("no reason", answer(status=b"HTTP/1.1 200 "), "9112 4", 200, b"ok"),
    Answer("neither reason nor space", answer(status=b"HTTP/1.1 200"), "9112 4", 200, b"ok"),
    Answer("a reason beyond ASCII", answer(status=b"HTTP/1.1 200 \xc3\xa9"), "9112 4", 200, b"ok"),
    Answer("HTTP/1.0", answer(status=b"HTTP/1.0 200 OK"), "9112 2.3", 200, b"ok"),
    Answer("an unknown status", answer(status=b"HTTP/1.1 299 Fine"), "9110 15", 299, b"ok"),
    Answer("the largest status", answer(status=b"HTTP/1.1 599 Odd"), "9110 15", 599, b"ok"),
    *[
        Answer(f"status line {line!r}", answer(status=line), "9110 15")
        for line in (
            b"HTTP/1.1 99 Low",
            b"HTTP/1.1 600 High",
            b"HTTP/1.1 999 High",
            b"HTTP/1.1 000 None",
            b"HTTP/1.1 0 None",
            b"HTTP/1.1 20 Short",
            b"HTTP/1.1 2000 Long",
            b"HTTP/1.1 -20 Negative",
            b"HTTP/1.1 +20 Signed",
            b"HTTP/1.1 2_0 Odd",
            b"HTTP/1.1 abc Word",
            b"HTTP/1.1  200 Spaces",
            b"HTTP/1.1 200\tTab",
            b"HTTP/1.1",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.10 200 OK",
            b"HTTP/ 200 OK",
            b"ICY 200 OK",
            b"http/1.1 200 OK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\0K",
            b"HTTP/1.1 200 O\rK",
            b"HTTP/1.1 200 O\x1bK",
            b"SSH-2.0-OpenSSH_9",
        )
    ],
    *[
        Answer(f"byte {byte:#04x} in a value", answer(b"x-a: a%cb" % byte), "9110 5.5")
        for byte in (0x00, 0x01, 0x0B, 0x0C, 0x0D, 0x1B, 0x7F)
    ],
    Answer("a folded line", answer(b"x-a: a", b" b"), "9112 5.2"),
    Answer("a bare LF", answer(b"x-a: a\nx-b: b"), "9112 2.2"),
    Answer("a space before the colon", answer(b"x-a : a"), "9112 5.1"),
    Answer("no colon", answer(b"x-a"), "9112 5"),
    Answer("a name with a space", answer(b"x a: 1"), "9110 5.1"),
    Answer(
        "values keep their bytes",
        answer(b"x-a: \xc3\xa9"),
        "9110 5.5",
        200,
        b"ok",
        has=(("x-a", "\xc3\xa9"),),
    ),
    Answer(
        "two cookies stay two",
        answer(b"set-cookie: a=1", b"set-cookie: b=2"),
        "9110 5.3",
        200,
        b"ok",
        has=(("set-cookie", "a=1"), ("set-cookie", "b=2")),
    ),
    Answer(
        "hop-by-hop fields are dropped",
        answer(b"keep-alive: timeout=5", b"connection: x-a", b"x-a: 1"),
        "9110 7.6.1",
        200,
        b"ok",
        lacks=("keep-alive", "x-a"),
    ),
    Answer("an empty line before the response", b"\r\n" + answer(), "9112 2.2", 200, b"ok"),
    # The body.
    Answer("chunks", _chunked(b"2\r\nok\r\n0\r\n\r\n"), "9112 7.1", 200, b"ok"),
    Answer(
        "chunks with extensions and trailers",
        _chunked(b"2;a=b\r\nok\r\n0\r\nx-a: 1\r\n\r\n"),
        "9112 7.1",
        200,
        b"ok",
        lacks=("x-a",),
    ),
    Answer("until the connection closes", answer(length=False), "9112 6.3", 200, b"ok", closes=True),
    Answer("204", answer(status=b"HTTP/1.1 204 No Content", body=b"", length=False), "9112 6.3", 204),
    Answer(
        "204 with a length",
        answer(status=b"HTTP/1.1 204 No Content", body=b""),
        "9110 8.6",
        204,
        lacks=("content-length",),
    ),
    Answer(
        "304 with a length",
        answer(b"content-length: 5", status=b"HTTP/1.1 304 Not Modified", body=b"", length=False),
        "9110 15.4.5",
        304,
        has=(("content-length", "5"),),
    ),
    Answer(
        "a length for HEAD",
        answer(b"content-length: 5", body=b"", length=False),
        "9110 9.3.2",
        200,
        method="HEAD",
        has=(("content-length", "5"),),
    ),
    Answer("a body for HEAD", answer(), "9110 9.3.2", 200, method="HEAD", closes=True),
    Answer(
        "more than the length",
        answer() + b"more",
        "9112 6.3",
        200,
        b"ok",
    ),
    Answer("two lengths", answer(b"content-length: 3"), "9112 6.3"),
    Answer("two equal lengths", answer(b"content-length: 2"), "9112 6.3"),
    Answer("a length that is no number", answer(b"content-length: two", length=False), "9112 6.3"),
    Answer("a negative length", answer(b"content-length: -2", length=False), "9112 6.3"),
    Answer("length and chunks", answer(b"transfer-encoding: chunked"), "9112 6.1"),
    Answer(
        "chunks in HTTP/1.0",
        answer(b"transfer-encoding: chunked", status=b"HTTP/1.0 200 OK", length=False),
        "9112 6.1",
    ),
    Answer("an unknown coding", answer(b"transfer-encoding: cow", length=False), "9112 6.1"),
    Answer(
        "less than the length",
        answer(b"content-length: 5", length=False),
        "9112 8",
        200,
        b"ok",
        closes=True,
        is_cut=True,
    ),
    Answer("chunks without an end", _chunked(b"2\r\nok\r\n"), "9112 8", 200, b"ok", closes=True, is_cut=True),
    *[
        Answer(
            f"chunk size {size!r}", _chunked(b"2\r\nok\r\n%b\r\nabc\r\n" % size), "9112 7.1", 200, is_cut=True
        )
        for size in (b"+3", b"-3", b"0x3", b" 3", b"3 ", b"3\r", b"3\0", b"3_0", b"", b"1" * 16, b"3;a\r")
    ],
    Answer("a chunk longer than its size", _chunked(b"1\r\nok\r\n0\r\n\r\n"), "9112 7.1", 200, is_cut=True),
    Answer("an invalid trailer", _chunked(b"2\r\nok\r\n0\r\nx a: 1\r\n\r\n"), "9112 7.1.2", 200, is_cut=True),
    Answer(
        "a response after the last chunk",
        _chunked(b"2\r\nok\r\n0\r\n\r\n" + answer()),
        "9112 7.1",
        200,
        b"ok",
    ),
    Answer("two Transfer-Encodings", _chunked(b"0\r\n\r\n", b"transfer-encoding: chunked"), "9112 6.1"),
    Answer(
        "204 with chunks",
        b"HTTP/1.1 204 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "9112 6.1",
        204,
        lacks=("transfer-encoding",),
    ),
    Answer("304 with a body", answer(status=b"HTTP/1.1 304 x"), "9112 6.3", 304),
    Answer(
        "Connection cannot drop what the proxy adds",
        answer(b"connection: server, via, content-length, close"),
        "9110 7.6.1",
        200,
        b"ok",
        has=(("via", "1.1 fly.io"), ("content-length", "2")),
    ),
    Answer(
        "an offer of WebSocket",
        answer(b"upgrade: websocket", b"connection: upgrade", status=b"HTTP/1.1 426 x"),
        "9110 15.5.22",
        426,
        b"ok",
        has=(("upgrade", "websocket"), ("connection", "Upgrade")),
    ),
    Answer(
        "an offer of a protocol that is not passed on",
        answer(b"upgrade: h2c", b"connection: upgrade"),
        "9110 7.8",
        200,
        b"ok",
        lacks=("upgrade", "connection"),
    ),
    Answer("an invalid chunk", _chunked(b"2\r\nok\r\nx\r\n"), "9112 7.1", 200, is_cut=True),
    # Interim responses and upgrades.
    Answer(
        "103 before the response",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + answer(),
        "9110 15.2",
        200,
        b"ok",
        lacks=("link",),
    ),
    Answer(
        "100 and 102 before the response",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + answer(),
        "9110 15.2",
        200,
        b"ok",
    ),
    Answer("an invalid interim response", b"HTTP/1.1 103 Early\r\nx a: 1\r\n\r\n" + answer(), "9112 5.1"),
    Answer(
        "101 that nobody asked for",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nHTTP/1.1 200 OK",
        "9110 7.8",
    ),
    # No response.
    Answer("nothing", b"", "9112 8", closes=True),
    Answer("half a status line", b"HTTP/1.", "9112 8", closes=True),
    Answer("half a head", b"HTTP/1.1 200 OK\r\nx-a: 1\r\n", "9112 8", closes=True),
    Answer("a head over the limit", answer(b"x-a: " + b"a" * 262_144), "9110 5.4"),
]
