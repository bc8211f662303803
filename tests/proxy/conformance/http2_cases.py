"""Raw HTTP/2 frames: what a client sends after the preface, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass

from tests.proxy.conformance.raw_http2 import data, fields, headers, raw

(
    NO_ERROR,
    PROTOCOL,
    INTERNAL,
    FLOW,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE,
    REFUSED,
    CANCEL,
    COMPRESSION,
) = range(10)
ENHANCE_YOUR_CALM = 11


@dataclass(frozen=True)
class Frames:
    """One connection. The machine answers 200 to each request that it gets."""

    name: str
    sent: bytes
    section: str
    outcome: str = "refused"
    """"served": 200. "refused": the machine gets nothing, and the client a 400, a stream error or a connection error
    (RFC 9113, 8.1.1 leaves the choice). "ignored": nothing happens, and the connection still serves a request."""
    goaway: tuple[int, ...] = ()
    """The error codes of the connection error that the client must get, if any."""
    has: tuple[tuple[bytes, bytes], ...] = ()
    lacks: tuple[bytes, ...] = ()
    body: bytes | None = None
    streams: tuple[int, ...] = (1,)


def served(name: str, sent: bytes, section: str, **more: object) -> Frames:
    return Frames(name, sent, section, "served", **more)  # type: ignore[arg-type]


def _post(*extra: tuple[str | bytes, str | bytes]) -> bytes:
    return headers(fields(*extra, method="POST"), end=False)


REQUESTS = [
    served("a request", headers(fields()), "8.3.1", has=((b"host", b"web.test"),)),
    served(
        "Host instead of :authority",
        headers(fields(("host", "a.test"), authority=None)),
        "8.3.1",
        has=((b"host", b"a.test"),),
    ),
    served(
        "Host equal to :authority",
        headers(fields(("host", "web.test"))),
        "8.3.1",
        has=((b"host", b"web.test"),),
    ),
    served(
        "cookie crumbs",
        headers(fields(("cookie", "a=1"), ("cookie", "b=2"))),
        "8.2.3",
        has=((b"cookie", b"a=1; b=2"),),
    ),
    served("TE: trailers", headers(fields(("te", "trailers"))), "8.2.2", has=((b"te", b"trailers"),)),
    served("OPTIONS *", headers(fields(method="OPTIONS", path="*")), "8.3.1"),
    served("a body", _post(("content-length", "2")) + data(b"ok"), "8.1", body=b"ok"),
    served("a body without a length", _post() + data(b"o", end=False) + data(b"k"), "8.1", body=b"ok"),
    served("an empty DATA frame at the end", _post() + data(b"ok", end=False) + data(b""), "6.1", body=b"ok"),
    served(
        "trailers",
        _post() + data(b"ok", end=False) + headers([("x-a", "1")]),
        "8.1",
        body=b"ok",
        has=((b"x-a", b"1"),),
    ),
    served(
        "forged trailers are dropped",
        _post() + data(b"ok", end=False) + headers([("fly-replay-src", "instance=x")]),
        "8.1",
        lacks=(b"fly-replay-src",),
    ),
    served("a padded HEADERS frame", raw(1, 0x0D, 1, b"\x04" + headers(fields())[9:] + bytes(4)), "6.2"),
    served("priority in HEADERS", raw(1, 0x25, 1, bytes(4) + b"\x10" + headers(fields())[9:]), "5.3.2"),
    served("two streams", headers(fields()) + headers(fields(), stream=3), "5.1.2", streams=(1, 3)),
    served("stream ids with gaps", headers(fields(), stream=7), "5.1.1", streams=(7,)),
    served(
        "a block in CONTINUATION",
        headers(fields(), block_end=False) + raw(9, 4, 1, headers([("x-a", "1")])[9:]),
        "6.10",
        has=((b"x-a", b"1"),),
    ),
    served(
        "forged fly-replay-src",
        headers(fields(("fly-replay-src", "instance=x"))),
        "F-4.18",
        lacks=(b"fly-replay-src",),
    ),
    served(
        "forged fly_replay_src",
        headers(fields(("fly_replay_src", "instance=x"))),
        "K-15",
        lacks=(b"fly_replay_src",),
    ),
    served(
        "forged fly-client-ip",
        headers(fields(("fly-client-ip", "192.0.2.1"))),
        "F-4.17",
        has=((b"fly-client-ip", b"127.0.0.1"),),
    ),
]

INJECTION = [
    Frames(f"{what} in {where}", headers(sent), "8.2.1")
    for what, byte in (("CR LF", b"\r\n"), ("CR", b"\r"), ("LF", b"\n"), ("NUL", b"\0"))
    for where, sent in (
        ("a value", fields(("x-a", b"1" + byte + b"fly-replay-src: instance=x"))),
        ("a name", fields((b"x" + byte + b"a", "1"))),
        (":path", fields(path=b"/ HTTP/1.1" + byte + b"x: 1")),
        (":method", fields(method=b"GET / HTTP/1.1" + byte + b"x: 1")),
        (":authority", fields(authority=b"web.test" + byte + b"x: 1")),
        ("a cookie", fields(("cookie", b"a=1" + byte + b"x: 1"))),
    )
] + [
    Frames("ESC in a value", headers(fields(("x-a", b"a\x1bb"))), "8.2.1"),
    Frames("DEL in a value", headers(fields(("x-a", b"a\x7fb"))), "8.2.1"),
    Frames("a space before a value", headers(fields(("x-a", " a"))), "8.2.1"),
    Frames("a tab after a value", headers(fields(("x-a", "a\t"))), "8.2.1"),
    Frames("a space in a name", headers(fields(("x a", "1"))), "8.2.1"),
    Frames("a colon in a name", headers(fields(("x:a", "1"))), "8.2.1"),
    Frames("a name in capitals", headers(fields(("X-A", "1"))), "8.2.1"),
    Frames("an empty name", headers(fields(("", "1"))), "8.2.1"),
    Frames("a name beyond ASCII", headers(fields((b"x\xe9", "1"))), "8.2.1"),
    Frames("a space in :method", headers(fields(method="GET /x")), "8.3.1"),
    Frames("an empty :method", headers(fields(method="")), "8.3.1"),
    Frames("a space in :path", headers(fields(path="/a b")), "8.3.1"),
    Frames("an empty :path", headers(fields(path="")), "8.3.1"),
    Frames(":path without a slash", headers(fields(path="a")), "8.3.1"),
    Frames(":path of a whole URL", headers(fields(path="http://other.test/")), "8.3.1"),
    Frames("GET *", headers(fields(path="*")), "8.3.1"),
    Frames("a fragment", headers(fields(path="/a#b")), "8.3.1"),
    Frames("another :scheme", headers(fields(scheme="ftp")), "8.3.1"),
    Frames("user information in :authority", headers(fields(authority="me@web.test")), "8.3.1"),
    Frames("a list in :authority", headers(fields(authority="a.test, b.test")), "8.3.1"),
    Frames("an empty :authority", headers(fields(authority="")), "8.3.1"),
    Frames("a path in :authority", headers(fields(authority="web.test/a")), "8.3.1"),
    Frames("an empty Host", headers(fields(("host", ""))), "8.3.1"),
    Frames("a line end in :scheme", headers(fields(scheme="http\r\n")), "8.3.1"),
    *[
        Frames(f"byte {byte:#04x} in {where}", headers(sent), "8.2.1")
        for byte in (0x01, 0x08, 0x0B, 0x0C, 0x1F, 0x7F)
        for where, sent in (
            ("a value", fields(("x-a", b"a%cb" % byte))),
            ("a name", fields((b"x%ca" % byte, "1"))),
            (":path", fields(path=b"/a%cb" % byte)),
            (":method", fields(method=b"G%cT" % byte)),
            (":authority", fields(authority=b"web%c.test" % byte)),
        )
    ],
]

MALFORMED = [
    Frames("two Hosts", headers(fields(("host", "web.test"), ("host", "web.test"))), "8.3.1"),
    Frames("Host that differs", headers(fields(("host", "other.test"))), "8.3.1"),
    Frames("neither Host nor :authority", headers(fields(authority=None)), "8.3.1"),
    *[
        Frames(f"no :{name}", headers(fields(**{name: None})), "8.3.1")
        for name in ("method", "scheme", "path")
    ],
    *[
        Frames(f"two :{name}", headers([(f":{name}", value), *fields()]), "8.3.1")
        for name, value in (("method", "GET"), ("scheme", "http"), ("path", "/"), ("authority", "web.test"))
    ],
    Frames("an unknown pseudo-header", headers([(":x", "1"), *fields()]), "8.3"),
    Frames(":status in a request", headers([(":status", "200"), *fields()]), "8.3"),
    Frames("a pseudo-header after a field", headers([("x-a", "1"), *fields()]), "8.3"),
    *[
        Frames(
            f":{name} after a field",
            headers([*fields(("x-a", "1"), **{name: None}), (f":{name}", value)]),
            "8.3",
        )
        for name, value in (("method", "GET"), ("scheme", "http"), ("path", "/"), ("authority", "web.test"))
    ],
    Frames(":protocol in GET", headers(fields((":protocol", "websocket"))), "RFC 8441, 4"),
    Frames("no fields", headers([]), "8.3.1"),
    Frames("te: trailers and more", headers(fields(("te", "trailers, gzip"))), "8.2.2"),
    Frames("CONNECT", headers([(":method", "CONNECT"), (":authority", "web.test:443")]), "8.5"),
    Frames(
        "extended CONNECT", headers([*fields(method="CONNECT"), (":protocol", "websocket")]), "RFC 8441, 3"
    ),
    *[
        Frames(f"connection-specific {name}", headers(fields((name, value))), "8.2.2")
        for name, value in (
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
        )
    ],
    Frames("two lengths", headers(fields(("content-length", "0"), ("content-length", "0"))), "8.1.1"),
    Frames("a length that is no number", headers(fields(("content-length", "x"))), "8.1.1"),
    Frames("a length larger than the body", _post(("content-length", "3")) + data(b"ok"), "8.1.1"),
    Frames("a length smaller than the body", _post(("content-length", "1")) + data(b"ok"), "8.1.1"),
    Frames(
        "a length larger than the body before trailers",
        _post(("content-length", "3")) + data(b"ok", end=False) + headers([("x-a", "1")]),
        "8.1.1",
    ),
    Frames(
        "a pseudo-header in trailers",
        _post() + data(b"ok", end=False) + headers([(":path", "/b")]),
        "8.1",
    ),
    Frames(
        "trailers that do not end the stream",
        _post() + data(b"ok", end=False) + headers([("x-a", "1")], end=False),
        "8.1",
    ),
    Frames("a length without a body", headers(fields(("content-length", "1"))), "8.1.1"),
]

CONNECTION = [
    Frames("DATA on stream 0", raw(0, 0, 0, b"x"), "6.1", goaway=(PROTOCOL,)),
    Frames("HEADERS on stream 0", raw(1, 5, 0, headers(fields())[9:]), "6.2", goaway=(PROTOCOL,)),
    Frames("HEADERS on an even stream", headers(fields(), stream=2), "5.1.1", goaway=(PROTOCOL,)),
    Frames(
        "a stream id below an earlier one",
        headers(fields(), stream=5) + headers(fields(), stream=3),
        "5.1.1",
        "closed",
        (PROTOCOL, STREAM_CLOSED),
    ),
    Frames("DATA on an idle stream", data(b"x"), "5.1", goaway=(PROTOCOL, STREAM_CLOSED)),
    Frames("WINDOW_UPDATE on an idle stream", raw(8, 0, 1, b"\0\0\0\1"), "5.1", goaway=(PROTOCOL,)),
    Frames("RST_STREAM on an idle stream", raw(3, 0, 1, bytes(4)), "6.4", goaway=(PROTOCOL,)),
    Frames(
        "RST_STREAM of the wrong size",
        headers(fields(), end=False) + raw(3, 0, 1, bytes(3)),
        "6.4",
        "closed",
        (FRAME_SIZE,),
    ),
    Frames("SETTINGS on a stream", raw(4, 0, 1, b""), "6.5", goaway=(PROTOCOL,)),
    Frames("SETTINGS of the wrong size", raw(4, 0, 0, bytes(5)), "6.5", goaway=(FRAME_SIZE,)),
    Frames(
        "SETTINGS acknowledgment with a payload", raw(4, 1, 0, bytes(6)), "6.5", goaway=(FRAME_SIZE, PROTOCOL)
    ),
    Frames("a window that is too large", raw(4, 0, 0, b"\0\4" + b"\x80\0\0\0"), "6.5.2", goaway=(FLOW,)),
    Frames(
        "a maximum frame size that is too small",
        raw(4, 0, 0, b"\0\5" + b"\0\0\0\1"),
        "6.5.2",
        goaway=(PROTOCOL,),
    ),
    Frames("ENABLE_PUSH 2", raw(4, 0, 0, b"\0\2" + b"\0\0\0\2"), "6.5.2", goaway=(PROTOCOL,)),
    Frames("PING on a stream", raw(6, 0, 1, bytes(8)), "6.7", goaway=(PROTOCOL,)),
    Frames("PING of the wrong size", raw(6, 0, 0, bytes(7)), "6.7", goaway=(FRAME_SIZE,)),
    Frames("WINDOW_UPDATE of 0", raw(8, 0, 0, bytes(4)), "6.9", goaway=(PROTOCOL,)),
    Frames("WINDOW_UPDATE of the wrong size", raw(8, 0, 0, bytes(3)), "6.9", goaway=(FRAME_SIZE,)),
    Frames("a connection window that overflows", raw(8, 0, 0, b"\x7f\xff\xff\xff"), "6.9.1", goaway=(FLOW,)),
    Frames(
        "PUSH_PROMISE of a client",
        raw(5, 4, 1, b"\0\0\0\2" + headers(fields())[9:]),
        "8.4",
        goaway=(PROTOCOL,),
    ),
    Frames("CONTINUATION without HEADERS", raw(9, 4, 1, headers(fields())[9:]), "6.10", goaway=(PROTOCOL,)),
    Frames(
        "a frame between HEADERS and CONTINUATION",
        headers(fields(), block_end=False) + raw(6, 0, 0, bytes(8)),
        "6.10",
        goaway=(PROTOCOL,),
    ),
    Frames(
        "CONTINUATION of another stream",
        headers(fields(), block_end=False) + raw(9, 4, 3, b""),
        "6.10",
        goaway=(PROTOCOL,),
    ),
    Frames(
        "CONTINUATION after the end of a block",
        headers(fields(method="POST"), end=False) + raw(9, 4, 1, b""),
        "6.10",
        "closed",
        (PROTOCOL,),
    ),
    Frames(
        "an unknown frame inside a block",
        headers(fields(), block_end=False) + raw(0xBA, 0, 0, b""),
        "5.5",
        goaway=(PROTOCOL,),
    ),
    Frames(
        "a block of 1 MB",
        headers(fields(), block_end=False) + raw(9, 0, 1, headers([("x-a", "a" * 16_000)])[9:]) * 64,
        "10.5.1",
        goaway=(PROTOCOL, ENHANCE_YOUR_CALM),
    ),
    *[
        Frames(f"a block with {what}", raw(1, 5, 1, block), "4.3", goaway=(COMPRESSION, PROTOCOL))
        for what, block in (
            ("index 0", b"\x80"),
            ("an index beyond the table", b"\xff\x80\x01"),
            ("a string longer than the block", b"\x00\x7f\x00x"),
            ("an integer without an end", b"\xff" * 30),
            ("the Huffman code of EOS", b"\x00\x84\xff\xff\xff\xff\x00"),
            ("a table larger than the setting", b"\x3f\xff\xff\xff\x7f" + headers(fields())[9:]),
        )
    ],
    Frames(
        "padding longer than HEADERS",
        raw(1, 0x0D, 1, b"\xff" + headers(fields())[9:]),
        "6.2",
        goaway=(PROTOCOL,),
    ),
    Frames(
        "DATA after the end of a stream", headers(fields()) + data(b"x"), "5.1", "either", (STREAM_CLOSED,)
    ),
    Frames("HEADERS after the end of a stream", headers(fields()) * 2, "5.1", "either", (STREAM_CLOSED,)),
    Frames("WINDOW_UPDATE of 0 on a stream", _post() + raw(8, 0, 1, bytes(4)), "6.9", "either", (PROTOCOL,)),
    Frames(
        "a stream window that overflows",
        _post() + raw(8, 0, 1, b"\x7f\xff\xff\xff"),
        "6.9.1",
        "either",
        (FLOW,),
    ),
    Frames("RST_STREAM on stream 0", raw(3, 0, 0, bytes(4)), "6.4", goaway=(PROTOCOL,)),
    Frames("PRIORITY on stream 0", raw(2, 0, 0, bytes(5)), "6.3", goaway=(PROTOCOL,)),
    Frames("GOAWAY on a stream", raw(7, 0, 1, bytes(8)), "6.8", goaway=(PROTOCOL,)),
    Frames("GOAWAY of the wrong size", raw(7, 0, 0, bytes(7)), "6.8", goaway=(FRAME_SIZE,)),
    Frames(
        "100 CONTINUATION frames",
        headers(fields(), block_end=False) + raw(9, 0, 1, b"") * 100,
        "10.5.1",
        goaway=(PROTOCOL, ENHANCE_YOUR_CALM),
    ),
    Frames(
        "a block that cannot be decoded",
        raw(1, 5, 1, b"\xff\xff\xff\xff"),
        "4.3",
        goaway=(COMPRESSION, PROTOCOL),
    ),
    Frames("padding longer than the frame", raw(0, 8, 1, b"\xff"), "6.1", goaway=(PROTOCOL, STREAM_CLOSED)),
    Frames("a frame over the maximum size", raw(0, 0, 1, b"", size=2**24 - 1), "4.2", goaway=(FRAME_SIZE,)),
    Frames("PRIORITY of the wrong size", raw(2, 0, 1, bytes(4)), "6.3", "either", (FRAME_SIZE,)),
    Frames("an unknown frame type", raw(0xBA, 0, 0, b"anything"), "5.5", "ignored"),
    Frames("an unknown frame type on a stream", raw(0xBA, 0xFF, 9, b"anything"), "5.5", "ignored"),
    Frames("an unknown setting", raw(4, 0, 0, b"\xba\xba" + bytes(4)), "6.5.2", "ignored"),
    Frames("PING flags that are unknown", raw(6, 0xFE, 0, bytes(8)), "4.1", "ignored"),
    Frames("PRIORITY on an idle stream", raw(2, 0, 9, bytes(4) + b"\1"), "6.3", "ignored"),
]

CASES = [
    (f"{group}: {case.name}", case)
    for group, cases in (
        ("request", REQUESTS),
        ("injection", INJECTION),
        ("malformed", MALFORMED),
        ("connection", CONNECTION),
    )
    for case in cases
]
