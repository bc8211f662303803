"""Conversion between mitmproxy's messages and routing's values: heads, framing, error codes, failures.

The differences between mitmproxy 11 and 12 are handled here; both are supported.
"""

from __future__ import annotations

import errno
import re
from email.utils import formatdate
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.net.http import status_codes
from mitmproxy.proxy.layers.http import _events as http_events

from simulator.file_limit import is_shortage
from simulator.proxy.core import ProxyCore
from simulator.proxy.http.message_head import InvalidMessage, accepts_trailers, new_request, new_response
from simulator.routing import Deliver, Failure, Fields, Redirect, Reject, Request, Response
from simulator.routing.headers import FLY_REPLAY, find_field, rejection_fields
from simulator.routing.service import HTTP_PORT
from simulator.text import encode_uri

_ErrorCode: Any = getattr(http_events, "ErrorCode", None)  # mitmproxy 12; mitmproxy 11 uses HTTP status codes
BROKEN_RESPONSE: Any = _ErrorCode.GENERIC_SERVER_ERROR if _ErrorCode else status_codes.BAD_GATEWAY
CLIENT_DISCONNECTED: Any = (
    _ErrorCode.CLIENT_DISCONNECTED if _ErrorCode else status_codes.CLIENT_CLOSED_REQUEST
)

CLOSED_WITHOUT_RESPONSE = "server closed connection"
NOT_PROCESSED = "machine went away before it processed the request"
RESET = "connection reset"
"""The error of a connection that the machine has reset."""
TRUNCATED_HEAD = "connection closed in the middle of a response head"
"""Our own messages for a machine that closes its connection before its response has begun."""
NO_HTTP2 = "no HTTP/2 settings"
"""Our own message for a machine that does not begin with a SETTINGS frame."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_CONNECT_FAILURES = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ECONNRESET: Failure.RESET,
    errno.ECONNABORTED: Failure.ABORTED,
    errno.EHOSTUNREACH: Failure.HOST_UNREACHABLE,
    errno.ENETUNREACH: Failure.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Failure.TIMED_OUT,
}
_WITHOUT_BODY = frozenset({101, 204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
CONNECT_TIMED_OUT = f"[Errno {errno.ETIMEDOUT}] connection timed out"
"""The error of a connection that the simulated network did not establish in time."""


def edge_of(client: Client) -> str:
    """The region of the edge that accepted this connection: our listeners use it as their upstream's host name."""
    address: tuple[str, int] = client.proxy_mode.address  # type: ignore[attr-defined]
    return address[0]


def public_port_of(client: Client) -> int | None:
    """The public port that the listener represents; None for the one that serves both plain HTTP and TLS."""
    port: int = client.proxy_mode.address[1]  # type: ignore[attr-defined]
    return None if port == HTTP_PORT else port


def to_request(request: http.Request, client: Client) -> Request:
    """The client's request head; an HTTP/2 authority and split cookies are converted to their HTTP/1.1 form."""
    data = request.data
    fields = data.headers.fields
    is_http2 = request.is_http2
    if is_http2:
        fields = _as_http1(fields, data.authority)
    if find_field(fields, b"expect") is not None:
        fields = tuple(field for field in fields if field[0].lower() != b"expect")
    peer, local = client.peername, client.sockname
    return Request(
        method=data.method.decode(),
        target=data.path.decode("utf-8", "surrogateescape"),
        host=find_field(fields, b"host") or "",
        scheme="https" if client.tls else "http",
        fields=fields,
        client_ip=_plain_ip(peer[0]),
        edge_ip=_plain_ip(local[0]),
        edge_port=local[1],
        http_version="2" if is_http2 else data.http_version.decode().removeprefix("HTTP/"),
        service_port=public_port_of(client),
    )


def _plain_ip(address: str) -> str:
    return address.removeprefix("::ffff:")


def _as_http1(fields: Fields, authority: bytes) -> Fields:
    cookies = [value for key, value in fields if key.lower() == b"cookie"]
    kept = [field for field in fields if field[0].lower() != b"cookie"]
    if cookies:
        kept.append((b"cookie", b"; ".join(cookies)))
    if not any(key.lower() == b"host" for key, _ in kept):
        kept.insert(0, (b"host", authority))
    return tuple(kept)


def to_delivery(request: http.Request, decision: Deliver, *, has_body: bool) -> http.Request:
    """The request as a machine gets it: in origin form, with the client's body framing, else chunked."""
    fields = decision.fields
    if has_body and not any(key.lower() in (b"content-length", b"transfer-encoding") for key, _ in fields):
        fields = (*fields, (b"transfer-encoding", b"chunked"))
    if accepts_trailers(request):
        fields = (*fields, (b"te", b"trailers"))
        if not decision.h2 and find_field(fields, b"connection") is None:
            fields = (*fields, (b"connection", b"te"))  # RFC 9110, 10.1.4
    target = decision.target.encode("utf-8", "surrogateescape")
    host, port = decision.machine.host, decision.port
    return new_request(request.data.method, target, b"HTTP/1.1", fields, host=host, port=port)


def to_response_head(response: http.Response) -> Response:
    return Response(response.data.status_code, response.data.headers.fields)


def to_client_response(
    response: http.Response, fields: Fields, request: http.Request, *, ends_with_head: bool
) -> http.Response:
    """The machine's response as the client gets it. The body is framed for the client's own HTTP version."""
    data, version = response.data, request.data.http_version
    if data.status_code < 200 or data.status_code == 204:  # RFC 9110, 8.6; RFC 9112, 6.1
        fields = tuple(field for field in fields if field[0].lower() not in _FRAMING)
    elif request.is_http2 or version == b"HTTP/1.0":
        fields = tuple(field for field in fields if field[0].lower() != b"transfer-encoding")
    if not (request.is_http2 or any(key.lower() in _FRAMING for key, _ in fields)):
        if not ends_with_head and version != b"HTTP/1.0":
            # The machine ends the body by closing its connection; the client's connection stays open.
            fields = (*fields, (b"transfer-encoding", b"chunked"))
        elif ends_with_head and data.status_code not in _WITHOUT_BODY and request.data.method != b"HEAD":
            fields = (*fields, (b"content-length", b"0"))  # over HTTP/2, the stream ends instead
    version = b"HTTP/1.0" if version == b"HTTP/1.0" else b"HTTP/1.1"
    return new_response(data.status_code, data.reason, fields, version)


def rejection_response(reject: Reject, request_id: str, request: http.Request) -> http.Response:
    """The proxy's own error response: a status and an empty body (F-1.99)."""
    return _proxy_response(reject.status, request_id, _version(request))


def bug_response(core: ProxyCore, client: Client, request_id: str) -> http.Response:
    """The response if flysim itself fails: like a rejection. `request_id` is empty if the request has none yet."""
    request_id = request_id or core.new_request_id(edge_of(client), core.clock.now())
    return _proxy_response(502, request_id, "2" if client.alpn == b"h2" else "1.1")


def redirect_response(redirect: Redirect, request_id: str, request: http.Request) -> http.Response:
    """The proxy's own redirect to the same URL over TLS (F-4.26)."""
    return _proxy_response(
        redirect.status, request_id, _version(request), (b"location", encode_uri(redirect.location))
    )


def _proxy_response(
    status: int, request_id: str, http_version: str, *fields: tuple[bytes, bytes]
) -> http.Response:
    reason = status_codes.RESPONSES.get(status, "").encode()
    date = formatdate(usegmt=True).encode()
    return new_response(status, reason, (*fields, *rejection_fields(request_id, http_version, date)))


def _version(request: http.Request) -> str:
    return "2" if request.is_http2 else request.http_version.removeprefix("HTTP/")


def refusal_response(core: ProxyCore, client: Client, error: InvalidMessage) -> http.Response:
    """Log an invalid request of this client. Returns the proxy's own error response: a status and an empty body."""
    now, edge = core.clock.now(), edge_of(client)
    core.log_invalid_request(str(error), edge, now)
    version = "2" if client.alpn == b"h2" else "1.1"
    return _proxy_response(error.status, core.new_request_id(edge, now), version)


def is_upgrade(response: http.Response) -> bool:
    """Whether this response switches protocols; a 101 with a replay does not, as it is not relayed (F-1.23)."""
    return response.status_code == 101 and find_field(response.data.headers.fields, FLY_REPLAY) is None


def check_upgrade(delivery: Deliver, *, is_request_complete: bool) -> None:
    """Check that a machine may switch protocols now (RFC 9110, 7.8). Raises InvalidMessage."""
    if find_field(delivery.fields, b"upgrade") is None:
        raise InvalidMessage("101 without a request to upgrade")
    if not is_request_complete:
        raise InvalidMessage("101 before the end of the request")


def expects_continue(request: http.Request) -> bool:
    """Whether the client waits for a 100 before it sends the body; HTTP/1.0 has no 100 (RFC 9110, 10.1.1)."""
    expectation = find_field(request.data.headers.fields, b"expect")
    return (
        expectation is not None
        and expectation.lower() == "100-continue"
        and request.data.http_version != b"HTTP/1.0"
    )


def continue_response() -> http.Response:
    return new_response(100, b"Continue", ())


def connect_failure_from_text(error: str) -> Failure:
    """The kind of failure, from mitmproxy's message for a connection that was not established."""
    if "cancelled" in error:
        return Failure.TIMED_OUT
    number = _ERRNO.search(error)
    return _CONNECT_FAILURES.get(int(number[1]), Failure.UNREACHABLE) if number else Failure.UNREACHABLE


def names_shortage(error: str) -> bool:
    """Whether mitmproxy's message means that this computer, not the machine, is the reason."""
    number = _ERRNO.search(error)
    return number is not None and is_shortage(int(number[1]))


def connect_failure_from_error(error: OSError) -> Failure:
    """The kind of failure, from asyncio's exception for a connection that was not established."""
    if isinstance(error, TimeoutError):
        return Failure.TIMED_OUT
    return _CONNECT_FAILURES.get(error.errno or 0, Failure.UNREACHABLE)


def is_closed_without_response(message: str) -> bool:
    """Whether mitmproxy's message means that the connection closed without a single byte of a response."""
    return message == CLOSED_WITHOUT_RESPONSE


def response_failure(message: str) -> Failure:
    """The kind of failure, from mitmproxy's message for a connection without a complete response head."""
    if message == NO_HTTP2:
        return Failure.NO_HTTP2
    if message in (CLOSED_WITHOUT_RESPONSE, NOT_PROCESSED, TRUNCATED_HEAD):
        return Failure.CLOSED
    return Failure.UNREADABLE


def declared_length(request: http.Request) -> int:
    """The request body's declared size in bytes, 0 if none is declared; invalid values have been refused."""
    return int(find_field(request.data.headers.fields, b"content-length") or 0)
