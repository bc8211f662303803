"""Conversion between mitmproxy's messages and routing's values: heads, framing, error codes, failures.

The differences between mitmproxy 11 and 12 are handled here; both are supported.
"""

from __future__ import annotations

import errno
import re
import time
from email.utils import formatdate
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.net.http import status_codes
from mitmproxy.proxy.layers.http import _events as http_events

from simulator.proxy.http.fast_path import IndexedHeaders
from simulator.routing import Deliver, Failure, Fields, Redirect, Reject, Request, Response
from simulator.routing.headers import rejection_fields
from simulator.routing.service import HTTP_PORT
from simulator.text import encode_uri

_ErrorCode: Any = getattr(http_events, "ErrorCode", None)  # mitmproxy 12; mitmproxy 11 uses HTTP status codes
BROKEN_RESPONSE: Any = _ErrorCode.GENERIC_SERVER_ERROR if _ErrorCode else status_codes.BAD_GATEWAY
INVALID_REQUEST: Any = _ErrorCode.REQUEST_VALIDATION_FAILED if _ErrorCode else status_codes.BAD_REQUEST

_TRUNCATED_HEAD = re.compile(r"unexpected server response: b['\"]HTTP")
"""mitmproxy's message for an incomplete response head."""
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
    fields = request.headers.fields
    host = request.host_header or ""
    if request.is_http2:
        # Not `request.authority`: mitmproxy decodes names in xn-- form, which then match no hostname of an app.
        authority = request.data.authority
        host = authority.decode("utf-8", "surrogateescape") or host
        fields = _as_http1(fields, authority)
    peer, local = client.peername, client.sockname
    return Request(
        method=request.method,
        target=request.path,
        host=host,
        scheme="https" if client.tls else "http",
        fields=tuple(field for field in fields if field[0].lower() != b"expect"),
        client_ip=_plain_ip(peer[0]),
        edge_ip=_plain_ip(local[0]),
        edge_port=local[1],
        http_version="2" if request.is_http2 else request.http_version.removeprefix("HTTP/"),
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
    return http.Request(
        decision.machine.host,
        decision.port,
        request.data.method,
        b"http",
        b"",
        decision.target.encode("utf-8", "surrogateescape"),
        b"HTTP/1.1",
        IndexedHeaders(fields),
        None,
        None,
        time.time(),
        None,
    )


def to_response_head(response: http.Response) -> Response:
    return Response(response.status_code, response.headers.fields)


def to_client_response(
    response: http.Response, fields: Fields, request: http.Request, *, ends_with_head: bool
) -> http.Response:
    """The machine's response as the client gets it. The body is framed for the client's own HTTP version."""
    framed = {key.lower() for key, _ in fields} & {b"content-length", b"transfer-encoding"}
    if request.is_http2 or request.http_version == "HTTP/1.0":
        fields = tuple(field for field in fields if field[0].lower() != b"transfer-encoding")
    elif not framed and not ends_with_head:
        # The machine ends the body by closing its connection; the client's connection stays open.
        fields = (*fields, (b"transfer-encoding", b"chunked"))
    version = b"HTTP/1.0" if request.http_version == "HTTP/1.0" else b"HTTP/1.1"
    return http.Response(
        version,
        response.status_code,
        response.data.reason,
        IndexedHeaders(fields),
        None,
        None,
        time.time(),
        None,
    )


def rejection_response(reject: Reject, request_id: str, request: http.Request) -> http.Response:
    """The proxy's own error response: a status and an empty body (F-1.99)."""
    return _proxy_response(reject.status, request_id, request)


def bug_response(request_id: str, http_version: str) -> http.Response:
    """The response if flysim itself fails: like a rejection; an HTTP/1.1 connection closes after it."""
    head = rejection_fields(request_id, http_version, formatdate(usegmt=True).encode())
    if http_version != "2":
        head = (*head, (b"connection", b"close"))
    return http.Response(
        b"HTTP/1.1", 502, b"Bad Gateway", http.Headers(head), b"", None, time.time(), time.time()
    )


def redirect_response(redirect: Redirect, request_id: str, request: http.Request) -> http.Response:
    """The proxy's own redirect to the same URL over TLS (F-4.26)."""
    return _proxy_response(redirect.status, request_id, request, (b"location", encode_uri(redirect.location)))


def _proxy_response(
    status: int, request_id: str, request: http.Request, *fields: tuple[bytes, bytes]
) -> http.Response:
    version = "2" if request.is_http2 else request.http_version.removeprefix("HTTP/")
    head = (*fields, *rejection_fields(request_id, version, formatdate(usegmt=True).encode()))
    reason = status_codes.RESPONSES.get(status, "").encode()
    return http.Response(
        b"HTTP/1.1", status, reason, IndexedHeaders(head), b"", None, time.time(), time.time()
    )


def is_invalid_upgrade(response: http.Response, request: http.Request) -> bool:
    """Whether this is a 101 for an HTTP/2 client; a 101 with a replay is valid, as it is not relayed (F-1.23)."""
    return response.status_code == 101 and request.is_http2 and "fly-replay" not in response.headers


def expects_continue(request: http.Request) -> bool:
    """Whether the client waits for a 100 before it sends the body; HTTP/1.0 has no 100 (RFC 9110, 10.1.1)."""
    return request.headers.get("expect", "").lower() == "100-continue" and request.http_version != "HTTP/1.0"


def continue_response() -> http.Response:
    return http.Response(b"HTTP/1.1", 100, b"Continue", http.Headers(), b"", None, time.time(), time.time())


def connect_failure_from_text(error: str) -> Failure:
    """The kind of failure, from mitmproxy's message for a connection that was not established."""
    if "cancelled" in error:
        return Failure.TIMED_OUT
    number = _ERRNO.search(error)
    return _CONNECT_FAILURES.get(int(number[1]), Failure.UNREACHABLE) if number else Failure.UNREACHABLE


def connect_failure_from_error(error: OSError) -> Failure:
    """The kind of failure, from asyncio's exception for a connection that was not established."""
    if isinstance(error, TimeoutError):
        return Failure.TIMED_OUT
    return _CONNECT_FAILURES.get(error.errno or 0, Failure.UNREACHABLE)


def is_closed_without_response(message: str) -> bool:
    """Whether mitmproxy's message means that the connection closed without a single byte of a response."""
    return message == "server closed connection"


def response_failure(message: str) -> Failure:
    """The kind of failure, from mitmproxy's message for a connection without a complete response head."""
    if message == NO_HTTP2:
        return Failure.NO_HTTP2
    if is_closed_without_response(message) or _TRUNCATED_HEAD.match(message):
        return Failure.CLOSED
    return Failure.UNREADABLE


def declared_length(request: http.Request) -> int:
    """The request body's declared size in bytes, 0 if none is declared; mitmproxy has refused invalid values."""
    return int(request.headers.get("content-length", "0") or "0")
