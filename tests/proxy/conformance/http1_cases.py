"""Raw HTTP/1.1 requests: the bytes that a client sends, what it gets, and what the machine gets."""

from __future__ import annotations

from dataclasses import dataclass

CONTROL = [byte for byte in range(0x20) if byte != 0x09] + [0x7F]
"""Bytes that no field value may contain (RFC 9110, 5.5)."""


@dataclass(frozen=True)
class Case:
    """One connection of a client. The machine answers 200 to each request it gets."""

    name: str
    data: bytes
    section: str
    statuses: tuple[int, ...] = (200,)
    """The responses that the client gets; after one that is not 200, the connection is closed."""
    line: bytes | None = None
    """The request line that the machine gets."""
    has: tuple[tuple[bytes, bytes], ...] = ()
    """Fields of the last request that the machine gets: each is there once, with this value."""
    lacks: tuple[bytes, ...] = ()
    """Names of fields that it does not get."""
    body: bytes | None = None
    closes: bool = False
    """Whether the connection is closed after the last response, although all of them are 200."""
    is_incomplete: bool = False
    """Whether the proxy waits for the rest of the request."""

    @property
    def is_refused(self) -> bool:
        return self.statuses != () and self.statuses[-1] != 200


def head(*lines: bytes, request: bytes = b"GET / HTTP/1.1", host: bytes | None = b"web.test") -> bytes:
    hosts = [b"Host: " + host] if host is not None else []
    return b"\r\n".join([request, *hosts, *lines, b"", b""])


def refused(name: str, data: bytes, section: str, status: int = 400) -> Case:
    return Case(name, data, section, (status,))


def _chunked(body: bytes, *lines: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked", *lines, request=b"POST / HTTP/1.1") + body


def _sized(*lines: bytes, body: bytes = b"") -> bytes:
    return head(*lines, request=b"POST / HTTP/1.1") + body


REQUEST_LINE = [
    Case(
        "a path", head(request=b"GET /a/b;c?d=e&f HTTP/1.1"), "9112 3.2.1", line=b"GET /a/b;c?d=e&f HTTP/1.1"
    ),
    Case(
        "a method of its own", head(request=b"M-SEARCH /x HTTP/1.1"), "9112 3.1", line=b"M-SEARCH /x HTTP/1.1"
    ),
    Case("methods have a case", head(request=b"get / HTTP/1.1"), "9110 9.1", line=b"get / HTTP/1.1"),
    Case(
        "characters that clients do not encode",
        head(request=b'GET /a"b|{c}^ HTTP/1.1'),
        "9112 3.2",
        line=b'GET /a"b|{c}^ HTTP/1.1',
    ),
    Case(
        "UTF-8 in the path",
        head(request=b"GET /caf\xc3\xa9 HTTP/1.1"),
        "9112 3.2",
        line=b"GET /caf\xc3\xa9 HTTP/1.1",
    ),
    Case(
        "bytes that are not UTF-8",
        head(request=b"GET /caf\xe9 HTTP/1.1"),
        "9112 3.2",
        line=b"GET /caf\xe9 HTTP/1.1",
    ),
    Case(
        "dot segments stay", head(request=b"GET /a/../b HTTP/1.1"), "9112 3.2", line=b"GET /a/../b HTTP/1.1"
    ),
    Case("two slashes", head(request=b"GET //a HTTP/1.1"), "9112 3.2.1", line=b"GET //a HTTP/1.1"),
    Case("OPTIONS *", head(request=b"OPTIONS * HTTP/1.1"), "9112 3.2.4", line=b"OPTIONS * HTTP/1.1"),
    refused("GET *", head(request=b"GET * HTTP/1.1"), "9112 3.2.4"),
    Case(
        "absolute form",
        head(request=b"GET http://web.test/a?b HTTP/1.1"),
        "9112 3.2.2",
        line=b"GET /a?b HTTP/1.1",
    ),
    Case(
        "absolute form replaces Host",
        head(request=b"GET http://other.test/a HTTP/1.1"),
        "9112 3.2.2",
        line=b"GET /a HTTP/1.1",
        has=((b"host", b"other.test"),),
    ),
    Case(
        "absolute form with a port",
        head(request=b"GET http://other.test:81/ HTTP/1.1"),
        "9112 3.2.2",
        has=((b"host", b"other.test:81"),),
    ),
    Case(
        "absolute form without a path",
        head(request=b"GET http://web.test HTTP/1.1"),
        "9112 3.2.1",
        line=b"GET / HTTP/1.1",
    ),
    Case(
        "absolute form with only a query",
        head(request=b"GET http://web.test?a HTTP/1.1"),
        "9112 3.2.1",
        line=b"GET /?a HTTP/1.1",
    ),
    Case(
        "OPTIONS of an absolute form without a path",
        head(request=b"OPTIONS http://web.test HTTP/1.1"),
        "9112 3.2.4",
        line=b"OPTIONS * HTTP/1.1",
    ),
    Case(
        "the scheme has no case",
        head(request=b"GET HTTP://web.test/ HTTP/1.1"),
        "9110 4.2.3",
        line=b"GET / HTTP/1.1",
    ),
    refused(
        "absolute form without Host", head(request=b"GET http://web.test/ HTTP/1.1", host=None), "9112 3.2"
    ),
    refused(
        "absolute form with user information", head(request=b"GET http://me@web.test/ HTTP/1.1"), "9110 4.2.4"
    ),
    refused("absolute form without an authority", head(request=b"GET http:///a HTTP/1.1"), "9110 4.2.1"),
    refused(
        "absolute form with a port and no host", head(request=b"GET http://:80/a HTTP/1.1"), "9110 4.2.1"
    ),
    refused("absolute form with a list", head(request=b"GET http://a,b/ HTTP/1.1"), "9112 3.2.2"),
    refused("another scheme", head(request=b"GET ftp://web.test/ HTTP/1.1"), "9110 7.1"),
    refused("a path without a slash", head(request=b"GET index.html HTTP/1.1"), "9112 3.2"),
    refused("only a query", head(request=b"GET ?a=b HTTP/1.1"), "9112 3.2"),
    refused("a fragment", head(request=b"GET /a#b HTTP/1.1"), "9112 3.2"),
    refused("a fragment in absolute form", head(request=b"GET http://web.test/a#b HTTP/1.1"), "9112 3.2"),
    refused("CONNECT", head(request=b"CONNECT web.test:443 HTTP/1.1"), "9110 9.3.6"),
    refused("CONNECT with a path", head(request=b"CONNECT / HTTP/1.1"), "9112 3.2.3"),
    refused("CONNECT with a URL", head(request=b"CONNECT http://web.test/ HTTP/1.1"), "9112 3.2.3"),
    refused("authority form of another method", head(request=b"GET web.test:80 HTTP/1.1"), "9112 3.2.3"),
    refused("no target", head(request=b"GET HTTP/1.1"), "9112 3"),
    refused("no method", head(request=b" / HTTP/1.1"), "9112 3"),
    refused("two spaces", head(request=b"GET  / HTTP/1.1"), "9112 3"),
    refused("a space in the target", head(request=b"GET /a b HTTP/1.1"), "9112 3.2"),
    refused("a tab", head(request=b"GET\t/ HTTP/1.1"), "9112 3"),
    refused("a space at the end", head(request=b"GET / HTTP/1.1 "), "9112 3"),
    refused("a space at the start", head(request=b" GET / HTTP/1.1"), "9112 2.2"),
    refused("a method with parentheses", head(request=b"G(T / HTTP/1.1"), "9110 9.1"),
    refused("a method with a colon", head(request=b"GET: / HTTP/1.1"), "9110 9.1"),
    refused("HTTP/0.9", b"GET /\r\n\r\n", "9112 2.3"),
    refused("HTTP/2.0", head(request=b"GET / HTTP/2.0"), "9110 15.6.6", 505),
    refused("HTTP/3.0", head(request=b"GET / HTTP/3.0"), "9110 15.6.6", 505),
    refused("HTTP/0.9 written out", head(request=b"GET / HTTP/0.9"), "9110 15.6.6", 505),
    Case("HTTP/1.2 is treated as 1.1", head(request=b"GET / HTTP/1.2"), "9110 2.5", line=b"GET / HTTP/1.1"),
    refused("a version of two digits", head(request=b"GET / HTTP/1.10"), "9112 2.3"),
    refused("a version with a comma", head(request=b"GET / HTTP/1,1"), "9112 2.3"),
    refused("a version in lower case", head(request=b"GET / http/1.1"), "9112 2.3"),
    refused("another protocol", head(request=b"GET / ICY/1.1"), "9112 2.3"),
    refused("no version", head(request=b"GET / HTTP/"), "9112 2.3"),
    refused("TLS in plain text", b"\x80\x2e\x01\x03\r\n\r\n", "9112 3"),
    *[
        refused(f"byte {byte:#04x} in the target", head(request=b"GET /a%cb HTTP/1.1" % byte), "9112 3.2")
        for byte in (0x00, 0x01, 0x07, 0x09, 0x0B, 0x0C, 0x0D, 0x1B, 0x1F, 0x7F)
    ],
    *[
        refused(f"byte {byte:#04x} in the method", head(request=b"G%cT / HTTP/1.1" % byte), "9110 9.1")
        for byte in (0x00, 0x09, 0x0B, 0x0D, 0x7F, 0x80, 0xFF)
    ],
]

HEAD = [
    Case(
        "values keep their bytes",
        head(b"X-A: a\tb \xc3\xa9\xff"),
        "9110 5.5",
        has=((b"x-a", b"a\tb \xc3\xa9\xff"),),
    ),
    Case("whitespace around a value is dropped", head(b"X-A: \t b \t"), "9112 5.1", has=((b"x-a", b"b"),)),
    Case("no space after the colon", head(b"X-A:b"), "9112 5.1", has=((b"x-a", b"b"),)),
    Case("an empty value", head(b"X-A:"), "9112 5.1", has=((b"x-a", b""),)),
    Case("a value of colons", head(b"X-A: ::"), "9112 5.1", has=((b"x-a", b"::"),)),
    Case(
        "all characters of a name",
        head(b"!#$%&'*+-.^_`|~09aZ: 1"),
        "9110 5.6.2",
        has=((b"!#$%&'*+-.^_`|~09az", b"1"),),
    ),
    Case("empty lines before a request", b"\r\n\r\n" + head(), "9112 2.2"),
    Case("a bare LF before a request", b"\n" + head(), "9112 2.2"),
    refused("line folding with a space", head(b"X-A: a", b" b"), "9112 5.2"),
    refused("line folding with a tab", head(b"X-A: a", b"\tb"), "9112 5.2"),
    refused("a folded first line", b"GET / HTTP/1.1\r\n X-A: a\r\nHost: web.test\r\n\r\n", "9112 2.2"),
    refused(
        "folding that hides Transfer-Encoding", head(b"X-A: a", b" Transfer-Encoding: chunked"), "9112 5.2"
    ),
    refused("folding that hides fly-replay-src", head(b"X-A: a", b" fly-replay-src: instance=x"), "9112 5.2"),
    refused("folding of an empty line", head(b"X-A: a", b" "), "9112 5.2"),
    refused("a space before the colon", head(b"X-A : a"), "9112 5.1"),
    refused("a tab before the colon", head(b"X-A\t: a"), "9112 5.1"),
    refused(
        "a space before the colon of Content-Length", _sized(b"Content-Length : 1", body=b"x"), "9112 5.1"
    ),
    refused("no name", head(b": a"), "9112 5"),
    refused("no colon", head(b"X-A a"), "9112 5"),
    refused("a space in a name", head(b"X A: a"), "9110 5.1"),
    refused("a name in quotes", head(b'"X-A": a'), "9110 5.1"),
    refused("a name beyond ASCII", head("X-Ä: a".encode()), "9110 5.1"),
    refused("a bare CR in a value", head(b"X-A: a\rfly-replay-src: instance=x"), "9112 2.2"),
    refused("a bare CR before a name", head(b"\rX-A: a"), "9112 2.2"),
    refused("a bare LF after a value", head(b"X-A: a\nX-B: b"), "9112 2.2"),
    refused("a bare LF after the request line", b"GET / HTTP/1.1\nHost: web.test\r\n\r\n", "9112 2.2"),
    refused("bare LF everywhere", b"GET / HTTP/1.1\nHost: web.test\n\n", "9112 2.2"),
    refused("a bare LF at the end of a head", b"GET / HTTP/1.1\r\nHost: web.test\r\n\n", "9112 2.2"),
    refused("CR CR LF", b"GET / HTTP/1.1\r\nHost: web.test\r\r\n\r\n", "9112 2.2"),
    *[
        refused(f"byte {byte:#04x} in a value", head(b"X-A: a%cb" % byte), "9110 5.5")
        for byte in CONTROL
        if byte not in (0x0A, 0x0D)
    ],
    *[
        refused(f"byte {byte:#04x} in a name", head(b"X%cA: a" % byte), "9110 5.1")
        for byte in (0x00, 0x0B, 0x0C, 0x1F, 0x22, 0x28, 0x2C, 0x2F, 0x3B, 0x40, 0x5B, 0x7B, 0x7F, 0x80)
    ],
    Case("a head without its end", head()[:-2], "9112 2.1", (), is_incomplete=True),
    Case("a head of 250 kB", head(b"X-A: " + b"a" * 250_000), "9110 5.4"),
    refused("a head over the limit", head(b"X-A: " + b"a" * 262_144), "9110 15.5.20", 431),
    refused("many fields over the limit", head(*[b"X-A: a"] * 40_000), "9110 15.5.20", 431),
    refused("a target over the limit", head(request=b"GET /" + b"a" * 262_144 + b" HTTP/1.1"), "9112 3", 414),
    Case("a target of 200 kB", head(request=b"GET /" + b"a" * 200_000 + b" HTTP/1.1"), "9112 3"),
]

HOST = [
    Case("a port", head(host=b"web.test:8080"), "9110 7.2", has=((b"host", b"web.test:8080"),)),
    Case("an empty port", head(host=b"web.test:"), "9110 4.2.3", has=((b"host", b"web.test:"),)),
    Case("an IPv6 address", head(host=b"[::1]:80"), "9110 7.2", has=((b"host", b"[::1]:80"),)),
    Case("an empty host", head(host=b""), "9110 7.2", has=((b"host", b""),)),
    Case("an underscore", head(host=b"my_app.test"), "9110 7.2", has=((b"host", b"my_app.test"),)),
    refused("no Host in HTTP/1.1", head(host=None), "9112 3.2"),
    refused("two Hosts", head(b"Host: other.test"), "9112 3.2"),
    refused("two equal Hosts", head(b"host: web.test"), "9112 3.2"),
    refused("two Hosts in HTTP/1.0", head(b"Host: other.test", request=b"GET / HTTP/1.0"), "9112 3.2"),
    Case(
        "no Host in HTTP/1.0",
        head(request=b"GET / HTTP/1.0", host=None),
        "9112 3.2",
        has=((b"host", b""),),  # HTTP/1.1 requires one, which is empty if the client names none
        closes=True,
    ),
    refused("a list", head(host=b"web.test, other.test"), "9112 3.2"),
    refused("user information", head(host=b"me@web.test"), "9110 7.2"),
    refused("a space", head(host=b"web test"), "9110 7.2"),
    refused("a path", head(host=b"web.test/a"), "9110 7.2"),
    refused("a scheme", head(host=b"http://web.test"), "9110 7.2"),
    refused("a port that is no number", head(host=b"web.test:http"), "9110 7.2"),
    refused("two ports", head(host=b"web.test:80:80"), "9110 7.2"),
    refused("half an IPv6 address", head(host=b"[::1"), "9110 7.2"),
    refused("a NUL", head(host=b"web.test\0"), "9110 5.5"),
    refused("a backslash", head(host=b"web\\test"), "9110 7.2"),
    refused("a bare percent sign", head(host=b"web%zz"), "9110 7.2"),
    refused("bytes beyond ASCII", head(host=b"\xe9.test"), "9110 7.2"),
    refused("quotes", head(host=b'"web.test"'), "9110 7.2"),
]

FRAMING = [
    Case(
        "a length",
        _sized(b"Content-Length: 3", body=b"abc"),
        "9112 6.2",
        has=((b"content-length", b"3"),),
        body=b"abc",
    ),
    Case(
        "a length of 0", _sized(b"Content-Length: 0"), "9112 6.2", has=((b"content-length", b"0"),), body=b""
    ),
    Case("leading zeros", _sized(b"Content-Length: 003", body=b"abc"), "9110 8.6", body=b"abc"),
    Case("a body of GET", head(b"Content-Length: 1") + b"x", "9110 9.3.1", body=b"x"),
    Case("neither length nor chunks", _sized(), "9112 6.3", body=b""),
    Case(
        "a length that does not arrive",
        _sized(b"Content-Length: 5", body=b"abc"),
        "9112 6.3",
        (),
        is_incomplete=True,
    ),
    *[
        refused(f"length {value!r}", _sized(b"Content-Length: " + value, body=b"abc"), "9112 6.3")
        for value in (
            b"-1",
            b"+3",
            b"3.0",
            b"3,3",
            b"3, 4",
            b"0x3",
            b"3 3",
            b"",
            b"three",
            b"1_0",
            b"\xb2",
            b"9" * 19,
            b"9" * 400,
        )
    ],
    refused("two lengths", _sized(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"), "9112 6.3"),
    refused("two equal lengths", _sized(b"Content-Length: 3", b"content-length: 3", body=b"abc"), "9112 6.3"),
    refused(
        "length and chunks",
        _sized(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "9112 6.1",
    ),
    refused(
        "chunks and length",
        _sized(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
        "9112 6.1",
    ),
    Case(
        "chunks",
        _chunked(b"3\r\nabc\r\n0\r\n\r\n"),
        "9112 7.1",
        has=((b"transfer-encoding", b"chunked"),),
        body=b"abc",
    ),
    Case(
        "chunked in capitals",
        _sized(b"Transfer-Encoding: CHUNKED", body=b"1\r\na\r\n0\r\n\r\n"),
        "9112 7",
        body=b"a",
    ),
    Case(
        "gzip, chunked",
        _sized(b"Transfer-Encoding: gzip, chunked", body=b"1\r\na\r\n0\r\n\r\n"),
        "9112 6.1",
        body=b"a",
    ),
    *[
        refused(
            f"Transfer-Encoding {value!r}",
            _sized(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"),
            "9112 6.3",
        )
        for value in (
            b"gzip",
            b"identity",
            b"chunked, gzip",
            b"chunked, chunked",
            b"chunked;q=1",
            b"xchunked",
            b"chunked x",
            b"",
            b"\x0bchunked",
            b"\x0cchunked",
            b"chun\x00ked",
            b'"chunked"',
            b"chunked,",
            b"cow",
        )
    ],
    refused(
        "two Transfer-Encodings",
        _sized(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "9112 6.1",
    ),
    refused(
        "chunks in HTTP/1.0",
        head(b"Transfer-Encoding: chunked", request=b"POST / HTTP/1.0") + b"0\r\n\r\n",
        "9112 6.1",
    ),
    refused(
        "Transfer_Encoding hides nothing",
        _sized(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        "9112 5.1",
    ),
    Case(
        "an underscore is another name",
        _sized(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
        "9110 5.1",
        body=b"0\r\n\r\n",
    ),
]

CHUNKS = [
    Case("a size in capitals", _chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), "9112 7.1", body=b"0123456789"),
    Case("leading zeros", _chunked(b"0003\r\nabc\r\n000\r\n\r\n"), "9112 7.1", body=b"abc"),
    Case(
        "extensions are dropped", _chunked(b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n'), "9112 7.1.1", body=b"abc"
    ),
    Case("a space before an extension", _chunked(b"3 ;a\r\nabc\r\n0\r\n\r\n"), "9112 7.1.1", body=b"abc"),
    Case(
        "trailers",
        _chunked(b"1\r\na\r\n0\r\nX-A: 1\r\n\r\n"),
        "9110 6.5",
        body=b"a",
        has=((b"x-a", b"1"),),
    ),
    Case(
        "forged trailers are dropped",
        _chunked(b"0\r\nfly-replay-src: instance=x\r\n\r\n"),
        "9110 6.5.1",
        lacks=(b"fly-replay-src",),
    ),
    Case("line ends in the data", _chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), "9112 7.1", body=b"\r\n\r\n"),
    Case("a chunk that does not arrive", _chunked(b"5\r\nab"), "9112 7.1", (), is_incomplete=True),
    Case("no last chunk", _chunked(b"1\r\na\r\n"), "9112 7.1", (), is_incomplete=True),
    *[
        refused(f"size line {line!r}", _chunked(line + b"\r\nabc\r\n0\r\n\r\n"), "9112 7.1")
        for line in (
            b"-3",
            b"+3",
            b"0x3",
            b"3_0",
            b"3h",
            b"",
            b" 3",
            b"3 ",
            b"3\t",
            b"\xb2",
            b"1" * 16,
            b"3;a\x00",
            b"3;a\rb",
            b"3\x00",
            b"3,",
            b"g",
        )
    ],
    refused("a chunk longer than its size", _chunked(b"2\r\nabc\r\n0\r\n\r\n"), "9112 7.1"),
    refused("a chunk shorter than its size", _chunked(b"4\r\nabc\r\n0\r\n\r\n"), "9112 7.1"),
    refused("LF after a size", _chunked(b"3\nabc\r\n0\r\n\r\n"), "9112 7.1"),
    refused("LF after a chunk", _chunked(b"3\r\nabc\n0\r\n\r\n"), "9112 7.1"),
    refused("LF everywhere", _chunked(b"3\nabc\n0\n\n"), "9112 7.1"),
    refused("LF after the last chunk", _chunked(b"0\r\n\n"), "9112 7.1"),
    refused("an invalid trailer", _chunked(b"0\r\nX A: 1\r\n\r\n"), "9112 7.1.2"),
    refused("a folded trailer", _chunked(b"0\r\nX-A: 1\r\n 2\r\n\r\n"), "9112 5.2"),
    refused(
        "an extension over the limit", _chunked(b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n"), "9112 7.1.1"
    ),
    refused("trailers over the limit", _chunked(b"0\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n"), "9110 6.5.1"),
]

_PROXY_ONLY = (
    b"fly-replay-src",
    b"fly-replay-failed",
    b"fly-replay-cache-status",
    b"fly-preferred-instance-unavailable",
)

_OVERWRITTEN = (
    b"fly-client-ip",
    b"fly-forwarded-port",
    b"fly-forwarded-proto",
    b"fly-forwarded-ssl",
    b"fly-region",
    b"fly-request-id",
    b"fly-traceparent",
    b"fly-tracestate",
    b"x-request-start",
)

FORGING = [
    *[
        Case(f"forged {name.decode()}", head(name + b": x"), "F-4.18", lacks=(name.lower(),))
        for name in (*_PROXY_ONLY, *[name.upper() for name in _PROXY_ONLY])
    ],
    *[
        Case(f"forged {name.decode()}", head(name + b": x"), "K-15", lacks=(name,))
        for name in (
            *[name.replace(b"-", b"_") for name in _PROXY_ONLY],
            *[name.replace(b"-", b"_") for name in _OVERWRITTEN],
            b"fly-replay_src",
            b"fly_client-ip",
        )
    ],
    *[
        Case(f"forged {name.decode()}", head(name + b": x", name + b": y"), "F-4.17", has=((name, value),))
        for name, value in (
            (b"fly-client-ip", b"127.0.0.1"),
            (b"fly-region", b"ams"),
            (b"fly-forwarded-proto", b"http"),
        )
    ],
    Case(
        "Connection cannot drop a Fly header",
        head(b"Connection: fly-client-ip, fly-region"),
        "9110 7.6.1",
        has=((b"fly-region", b"ams"),),
    ),
]

CONNECTION = [
    Case(
        "fields named by Connection are dropped",
        head(b"Connection: x-a", b"X-A: 1", b"X-B: 2"),
        "9110 7.6.1",
        has=((b"x-b", b"2"),),
        lacks=(b"x-a", b"connection"),
    ),
    Case("Host is kept", head(b"Connection: keep-alive, host"), "9110 7.6.1", has=((b"host", b"web.test"),)),
    Case(
        "the length is kept",
        _sized(b"Connection: content-length", b"Content-Length: 1", body=b"x"),
        "9110 7.6.1",
        body=b"x",
    ),
    Case(
        "the chunks are kept",
        _chunked(b"1\r\nx\r\n0\r\n\r\n", b"Connection: transfer-encoding"),
        "9110 7.6.1",
        body=b"x",
    ),
    Case(
        "hop-by-hop fields are dropped",
        head(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: gzip"),
        "9110 7.6.1",
        lacks=(b"keep-alive", b"proxy-connection", b"te"),
    ),
    Case(
        "TE: trailers",
        head(b"Connection: TE", b"TE: gzip;q=0.5, trailers"),
        "9110 10.1.4",
        has=((b"te", b"trailers"), (b"connection", b"te")),
    ),
    Case("close", head(b"Connection: close"), "9112 9.6", closes=True, lacks=(b"connection",)),
    Case("close among others", head(b"Connection: x-a, Close"), "9112 9.6", closes=True),
    Case("close in a second field", head(b"Connection: x-a", b"Connection: close"), "9112 9.6", closes=True),
    Case("HTTP/1.0 closes", head(request=b"GET / HTTP/1.0"), "9112 9.3", closes=True),
    Case("HTTP/1.0 with keep-alive", head(b"Connection: keep-alive", request=b"GET / HTTP/1.0"), "9112 9.3"),
    Case(
        "h2c is not forwarded",
        head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        "9110 7.8",
        lacks=(b"upgrade", b"connection", b"http2-settings"),
    ),
    Case(
        "Upgrade without Connection",
        head(b"Upgrade: websocket"),
        "9110 7.8",
        lacks=(b"upgrade", b"connection"),
    ),
    Case(
        "WebSocket",
        head(b"Connection: Upgrade", b"Upgrade: websocket"),
        "9110 7.8",
        has=((b"upgrade", b"websocket"), (b"connection", b"Upgrade")),
    ),
    Case(
        "WebSocket among others",
        head(b"Connection: Upgrade", b"Upgrade: h2c, WebSocket"),
        "9110 7.8",
        has=((b"upgrade", b"websocket"),),
    ),
    Case(
        "WebSocket in HTTP/1.0",
        head(b"Connection: Upgrade", b"Upgrade: websocket", request=b"GET / HTTP/1.0"),
        "9110 7.8",
        lacks=(b"upgrade", b"connection"),
        closes=True,
    ),
    Case(
        "100-continue",
        _sized(b"Expect: 100-continue", b"Content-Length: 1", body=b"x"),
        "9110 10.1.1",
        (100, 200),
        body=b"x",
        lacks=(b"expect",),
    ),
    Case(
        "Max-Forwards",
        head(b"Max-Forwards: 0", request=b"OPTIONS / HTTP/1.1"),
        "9110 7.6.2",
        has=((b"max-forwards", b"0"),),
    ),
    Case(
        "an unknown expectation",
        _sized(b"Expect: something", b"Content-Length: 1", body=b"x"),
        "9110 10.1.1",
        body=b"x",
        lacks=(b"expect",),
    ),
    Case(
        "100-continue in HTTP/1.0",
        head(b"Expect: 100-continue", b"Content-Length: 1", request=b"POST / HTTP/1.0") + b"x",
        "9110 10.1.1",
        body=b"x",
        closes=True,
    ),
]

PIPELINING = [
    Case(
        "two requests",
        head() + head(request=b"GET /2 HTTP/1.1"),
        "9112 9.3.2",
        (200, 200),
        line=b"GET /2 HTTP/1.1",
    ),
    Case("after a length", _sized(b"Content-Length: 1", body=b"x") + head(), "9112 9.3.2", (200, 200)),
    Case("after chunks", _chunked(b"1\r\nx\r\n0\r\n\r\n") + head(), "9112 9.3.2", (200, 200)),
    Case("after an empty line", head() + b"\r\n" + head(), "9112 2.2", (200, 200)),
    Case("nothing after close", head(b"Connection: close") + head(), "9112 9.6", closes=True),
    Case("nothing after an invalid request", head(request=b"G(T / HTTP/1.1") + head(), "9112 9.6", (400,)),
    Case("an invalid request after a valid one", head() + head(b"X A: 1") + head(), "9112 9.3.2", (200, 400)),
    Case("nothing after an invalid chunk", _chunked(b"x\r\n") + head(), "9112 9.6", (400,)),
    Case(
        "a request within a body stays there",
        _sized(b"Content-Length: %d" % len(head()), body=head()),
        "9112 6.3",
        body=head(),
    ),
    Case("20 requests", head() * 20, "9112 9.3.2", (200,) * 20),
]

CASES = [
    (f"{group}: {case.name}", case)
    for group, cases in (
        ("request line", REQUEST_LINE),
        ("head", HEAD),
        ("host", HOST),
        ("framing", FRAMING),
        ("chunks", CHUNKS),
        ("forging", FORGING),
        ("connection", CONNECTION),
        ("pipelining", PIPELINING),
    )
    for case in cases
]
