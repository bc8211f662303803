"""Gate for message heads: every head that enters or leaves the proxy is parsed, checked and written here.

The rules are those of RFC 9110, 9112 and 9113 that prevent request smuggling and response splitting. They do not
depend on the version of h2 or mitmproxy, and apply to heads of any origin: clients, machines, replays, transforms,
fly.toml and the proxy itself.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Any

from mitmproxy import http

from simulator.routing import Fields
from simulator.routing.headers import find_field

MAX_HEAD_BYTES = 256 * 1024
"""A message head larger than this ends the connection; Fly does not document its limit (F-10.12)."""
MAX_FIELDS = 500
"""A head with more header fields is refused: each costs time, however small it is (F-10.12)."""
MAX_LENGTH_DIGITS = 18
"""Longest Content-Length: larger sizes than these digits hold are invalid, as no body has them."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_is_token = re.compile(_TOKEN).fullmatch
_is_value = re.compile(_VALUE).fullmatch
are_field_lines = re.compile(rb"(?:%b:%b\r\n)*" % (_TOKEN, _VALUE)).fullmatch
_parse_request_line = re.compile(rb"(%b) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)" % _TOKEN).fullmatch
_parse_status_line = re.compile(rb"HTTP/1\.(\d) ([1-5]\d\d)(?: (%b))?" % _VALUE).fullmatch
_is_origin_form = re.compile(rb"/[\x21\x22\x24-\x7e\x80-\xff]*").fullmatch
"""A path and query. RFC 9112, 3.2.1 allows fewer characters, but clients send them; a fragment is never allowed."""
_parse_absolute_form = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch
_is_authority = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})*)(?::\d*)?"
).fullmatch
_is_length = re.compile(rb"\d{1,%d}" % MAX_LENGTH_DIGITS).fullmatch
_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_NOT_IN_TRAILERS = _CONNECTION_SPECIFIC | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"server",
    b"set-cookie",
    b"te",
    b"trailer",
    b"via",
    b"www-authenticate",
}
"""Names that change framing, routing, authentication or processing of a message (RFC 9110, 6.5.1)."""
_PREFIXES_NOT_IN_TRAILERS = (b"fly-", b"x-forwarded-", b"if-")
_TRANSFER_CODINGS = frozenset({b"chunked", b"gzip,chunked", b"compress,chunked", b"deflate,chunked"})


class InvalidMessage(ValueError):
    """A message that must not be passed on. Its text says what is invalid and where; `status` is for the client."""

    def __init__(self, reason: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.status = int(status)


# Reading: HTTP/1.1 heads, without the empty line at their end.


def parse_request(head: bytes) -> http.Request:
    """The request of an HTTP/1.1 client, its target in origin form (RFC 9112, 3). Raises InvalidMessage."""
    line, _, rest = head.partition(b"\r\n")
    match = _parse_request_line(line)
    if match is None:
        raise InvalidMessage(
            f"request line {_shown(line)}: expected a method, a target and HTTP/1.1, one space apart"
        )
    method, target, major, minor = match.groups()
    if major != b"1":
        raise InvalidMessage(
            f"HTTP/{major.decode()}.{minor.decode()} on a connection of HTTP/1.1",
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
        )
    fields = _parse_fields(rest)
    is_http11 = minor != b"0"  # RFC 9110, 2.5: treat a higher minor version as the highest that is known
    if _find_host(fields, is_required=is_http11) is None:
        fields = ((b"Host", b""), *fields)  # the machine gets HTTP/1.1, which requires one (RFC 9112, 3.2)
    target, authority = _split_target(method, target)
    if authority is not None:  # RFC 9112, 3.2.2: the target replaces Host
        fields = ((b"Host", authority), *[field for field in fields if field[0].lower() != b"host"])
    version = b"HTTP/1.1" if is_http11 else b"HTTP/1.0"
    check_framing(fields, allows_transfer_encoding=is_http11)
    return new_request(method, target, version, fields)


def parse_response(head: bytes) -> http.Response:
    """The response of a machine (RFC 9112, 4). Raises InvalidMessage."""
    line, _, rest = head.partition(b"\r\n")
    match = _parse_status_line(line)
    if match is None:
        raise InvalidMessage(f"status line {_shown(line)}: expected HTTP/1.1 and a status from 100 to 599")
    minor, status, reason = match.groups()
    version = b"HTTP/1.0" if minor == b"0" else b"HTTP/1.1"
    return new_response(int(status), reason or b"", _parse_fields(rest), version)


def _parse_fields(block: bytes) -> Fields:
    if not block:
        return ()
    block += b"\r\n"
    if (count := block.count(b"\n")) > MAX_FIELDS:
        raise InvalidMessage(
            f"{count} header fields: expected at most {MAX_FIELDS}",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        )
    if are_field_lines(block) is None:
        raise InvalidMessage(_first_invalid_line(block))
    return tuple(
        [
            (name, value.strip(b" \t"))
            for name, _, value in [line.partition(b":") for line in block[:-2].split(b"\r\n")]
        ]
    )


def parse_trailers(block: bytes) -> Fields:
    """The trailer section of a chunked body: lines, each with its CRLF (RFC 9112, 7.1.2). Raises InvalidMessage."""
    return _parse_fields(block.removesuffix(b"\r\n"))


def _first_invalid_line(block: bytes) -> str:
    for line in block[:-2].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            return f"header line {_shown(line)}: obsolete line folding"  # RFC 9112, 5.2
        if not colon or _is_token(name) is None:
            return f"header line {_shown(line)}: expected a name without spaces, then a colon"
        if _is_value(value) is None:
            return f"header {_shown(name)}: control character in {_shown(value)}"
    return "invalid header"


def _find_host(fields: Fields, *, is_required: bool) -> bytes | None:
    """The value of Host: exactly one in HTTP/1.1, at most one in HTTP/1.0 (RFC 9112, 3.2)."""
    hosts = [value for name, value in fields if len(name) == 4 and name.lower() == b"host"]
    if len(hosts) > 1:
        raise InvalidMessage(f"{len(hosts)} Host headers: expected one")
    if not hosts:
        if is_required:
            raise InvalidMessage("no Host header: HTTP/1.1 requires one")
        return None
    _check_authority(hosts[0], "Host header")
    return hosts[0]


def _check_authority(authority: bytes, where: str) -> None:
    if _is_authority(authority) is None:
        raise InvalidMessage(f"{where} {_shown(authority)}: expected a host and an optional port")


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """The target in origin or asterisk form, and the authority of an absolute form (RFC 9112, 3.2)."""
    if method == b"CONNECT":  # RFC 9110, 9.3.6
        raise InvalidMessage(f"CONNECT {_shown(target)}: the proxy opens no tunnels")
    if _is_origin_form(target) or (target == b"*" and method == b"OPTIONS"):
        return target, None
    match = _parse_absolute_form(target)
    if match is None:
        raise InvalidMessage(f"request target {_shown(target)}: expected a path")
    authority, path = match.groups()
    if not authority or authority.startswith(b":"):
        raise InvalidMessage(f"request target {_shown(target)}: expected a host")
    _check_authority(authority, "host of the request target")
    if not path.startswith(b"/"):
        path = b"*" if not path and method == b"OPTIONS" else b"/" + path
    if path != b"*" and _is_origin_form(path) is None:
        raise InvalidMessage(f"request target {_shown(target)}: expected a path without a fragment")
    return path, authority


# Checking: framing, HTTP/2 requests, machine responses.


def check_framing(fields: Fields, *, allows_transfer_encoding: bool) -> None:
    """Check that the fields define one body length (RFC 9112, 6.3). Raises InvalidMessage."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in fields:
        if len(name) == 14 and name.lower() == b"content-length":
            lengths.append(value)
        elif len(name) == 17 and name.lower() == b"transfer-encoding":
            codings.append(value)
    if not lengths and not codings:
        return
    if lengths and codings:
        raise InvalidMessage("both Content-Length and Transfer-Encoding")
    if len(lengths) + len(codings) > 1:
        raise InvalidMessage("more than one Content-Length" if lengths else "more than one Transfer-Encoding")
    if lengths and _is_length(lengths[0]) is None:
        raise InvalidMessage(f"Content-Length {_shown(lengths[0])}: expected a number of bytes")
    if codings and not allows_transfer_encoding:
        raise InvalidMessage("Transfer-Encoding in HTTP/1.0")
    if codings and _without_whitespace(codings[0]).lower() not in _TRANSFER_CODINGS:
        raise InvalidMessage(f"Transfer-Encoding {_shown(codings[0])}: expected chunked")


def check_http2_request(request: http.Request, *, has_body: bool) -> None:
    """Check an HTTP/2 request (RFC 9113, 8.2 and 8.3), whatever the h2 library accepted. Raises InvalidMessage."""
    data = request.data
    if _is_token(data.method) is None or data.method == b"CONNECT":
        raise InvalidMessage(f":method {_shown(data.method)}")
    if _is_origin_form(data.path) is None and not (data.path == b"*" and data.method == b"OPTIONS"):
        raise InvalidMessage(f":path {_shown(data.path)}: expected a path")
    if data.scheme not in (b"http", b"https"):
        raise InvalidMessage(f":scheme {_shown(data.scheme)}: expected http or https")
    fields = data.headers.fields
    _check_http2_fields(fields)
    host = _find_host(fields, is_required=not data.authority)
    if data.authority:
        _check_authority(data.authority, ":authority")
        if host is not None and host.lower() != data.authority.lower():
            raise InvalidMessage(f"Host {_shown(host)} differs from :authority {_shown(data.authority)}")
    check_framing(fields, allows_transfer_encoding=False)
    if not has_body and int(find_field(fields, b"content-length") or 0):
        raise InvalidMessage("Content-Length of a request without a body")  # RFC 9113, 8.1.1


def _check_http2_fields(fields: Fields) -> None:
    for name, value in fields:
        if _is_token(name) is None or name != name.lower() or name in _CONNECTION_SPECIFIC:
            raise InvalidMessage(f"header name {_shown(name)} in HTTP/2")
        if _is_value(value) is None or value != value.strip(b" \t"):
            raise InvalidMessage(f"header {_shown(name)}: invalid value {_shown(value)}")
        if name == b"te" and value.lower() != b"trailers":
            raise InvalidMessage(f"TE {_shown(value)}: expected trailers")


def check_response(response: http.Response) -> None:
    """Check the response of a machine before it is relayed (RFC 9112, 6). Raises InvalidMessage."""
    data = response.data
    if not 100 <= data.status_code <= 599:
        raise InvalidMessage(f"status {data.status_code}: expected 100 to 599")
    write_fields(data.headers.fields)
    check_framing(data.headers.fields, allows_transfer_encoding=data.http_version == b"HTTP/1.1")


def check_trailers(fields: Fields) -> Fields:
    """The trailers of a message that are passed on: those that no head needs (RFC 9110, 6.5). Raises InvalidMessage."""
    write_fields(fields)
    return tuple([(name, value) for name, value in fields if not _belongs_in_head(name.lower())])


def _belongs_in_head(name: bytes) -> bool:
    plain = name.replace(b"_", b"-")  # CGI and WSGI apps cannot tell these names apart
    return plain in _NOT_IN_TRAILERS or plain.startswith(_PREFIXES_NOT_IN_TRAILERS)


def accepts_trailers(request: http.Request) -> bool:
    """Whether the client announced that it reads trailers: `TE: trailers` (RFC 9110, 10.1.4)."""
    return any(
        option.strip(b" \t").lower() == b"trailers"
        for name, value in request.data.headers.fields
        if len(name) == 2 and name.lower() == b"te"
        for option in value.split(b",")
    )


# Writing: the bytes of a head, which are checked again.


def write_request(request: http.Request) -> bytes:
    """The bytes of an HTTP/1.1 request head. Raises InvalidMessage."""
    check_delivery(request)
    data = request.data
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (data.method, data.path, write_fields(data.headers.fields))


def check_delivery(request: http.Request) -> None:
    """Check the line and the host of a request to a machine. Raises InvalidMessage."""
    data = request.data
    if _is_token(data.method) is None or not (data.path == b"*" or _is_origin_form(data.path)):
        raise InvalidMessage(f"request line {_shown(data.method)} {_shown(data.path)}")
    _find_host(data.headers.fields, is_required=False)


def write_response(response: http.Response, connection_option: bytes = b"") -> bytes:
    """The bytes of an HTTP/1 response head. Raises InvalidMessage.

    `connection_option`: the value of the Connection header that the proxy adds for this connection, if any.
    """
    data = response.data
    if not 100 <= data.status_code <= 599 or _is_value(data.reason) is None:
        raise InvalidMessage(f"status line {data.status_code} {_shown(data.reason)}")
    fields = write_fields(data.headers.fields)
    if connection_option:
        fields += b"connection: %b\r\n" % connection_option
    return b"%b %d %b\r\n%b\r\n" % (data.http_version, data.status_code, data.reason, fields)


def write_fields(fields: Fields) -> bytes:
    """The header lines of a message. Raises InvalidMessage if a name or value would end its line or the head."""
    block = b"".join([b"%b: %b\r\n" % field for field in fields])
    if block.count(b"\n") != len(fields) or are_field_lines(block) is None:
        name, value = next(pair for pair in fields if not (_is_token(pair[0]) and _is_value(pair[1])))
        raise InvalidMessage(f"header {_shown(name)}: invalid name or value {_shown(value)}")
    return block


# Messages, without the conversions and checks of mitmproxy's constructors.


def new_request(
    method: bytes, path: bytes, version: bytes, fields: Fields, *, host: str = "", port: int = 0
) -> http.Request:
    request = http.Request.__new__(http.Request)
    request.data = http.RequestData(
        **_common_data(version, fields),
        host=host,
        port=port,
        method=method,
        scheme=b"http",
        authority=b"",
        path=path,
    )
    return request


def new_response(status: int, reason: bytes, fields: Fields, version: bytes = b"HTTP/1.1") -> http.Response:
    response = http.Response.__new__(http.Response)
    response.data = http.ResponseData(**_common_data(version, fields), status_code=status, reason=reason)
    return response


def _common_data(version: bytes, fields: Fields) -> dict[str, Any]:
    headers = http.Headers.__new__(http.Headers)
    headers.fields = fields
    return {
        "http_version": version,
        "headers": headers,
        "content": None,
        "trailers": None,
        "timestamp_start": time.time(),
        "timestamp_end": None,
    }


def drop_debug_checks() -> None:
    """Switch off mitmproxy's type checks of every message field, which run unless Python is started with -O.

    mypy checks the types of our messages.
    """
    http.MessageData.__post_init__ = lambda self: None  # type: ignore[attr-defined, method-assign]


def _without_whitespace(value: bytes) -> bytes:
    return b",".join([part.strip(b" \t") for part in value.split(b",")])


def _shown(data: bytes) -> str:
    """Bytes of a message, for an error text: printable, and not longer than a line."""
    return ascii(data[:80].decode("latin-1")) + ("…" if len(data) > 80 else "")
