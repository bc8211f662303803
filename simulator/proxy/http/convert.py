"""Between mitmproxy's messages and routing's values: heads, framing, error codes, kinds of failure.

Both mitmproxy 11 and 12 are served; what differs between them is settled here.
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

_ErrorCode: Any = getattr(http_events, "ErrorCode", None)  # mitmproxy 12; before it, HTTP status codes
CLIENT_LEFT: Any = _ErrorCode.CLIENT_DISCONNECTED if _ErrorCode else status_codes.CLIENT_CLOSED_REQUEST
BROKEN_RESPONSE: Any = _ErrorCode.GENERIC_SERVER_ERROR if _ErrorCode else status_codes.BAD_GATEWAY
INVALID_REQUEST: Any = _ErrorCode.REQUEST_VALIDATION_FAILED if _ErrorCode else status_codes.BAD_REQUEST

_BROKEN_OFF = re.compile(r"unexpected server response: b['\"]HTTP")
"""mitmproxy's words for a response head that ends in the middle."""
NO_HTTP2 = "no HTTP/2 settings"
"""Our own words for a machine that does not begin with what HTTP/2 begins with."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_CONNECT_FAILURES = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ECONNRESET: Failure.RESET,
    errno.ECONNABORTED: Failure.ABORTED,
    errno.EHOSTUNREACH: Failure.HOST_UNREACHABLE,
    errno.ENETUNREACH: Failure.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Failure.TIMED_OUT,
}


TIMED_OUT = f"[Errno {errno.ETIMEDOUT}] no way through"
"""What is told of a connection that the network did not let come about."""


def edge_of(client: Client) -> str:
    """The region of the edge that accepted this connection: our listeners carry it as their upstream's host name."""
    address: tuple[str, int] = client.proxy_mode.address  # type: ignore[attr-defined]
    return address[0]


def public_port_of(client: Client) -> int | None:
    """The public port that the listener stands for; None for that of plain HTTP and TLS alike."""
    port: int = client.proxy_mode.address[1]  # type: ignore[attr-defined]
    return None if port == HTTP_PORT else port


def to_request(request: http.Request, client: Client) -> Request:
    """The client's request head; HTTP/2's authority and split cookies become what they are in HTTP/1.1."""
    fields = request.headers.fields
    host = request.host_header or ""
    if request.is_http2:
        fields = _as_http1(fields, request.authority)
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


def _as_http1(fields: Fields, authority: str) -> Fields:
    cookies = [value for key, value in fields if key.lower() == b"cookie"]
    kept = [field for field in fields if field[0].lower() != b"cookie"]
    if cookies:
        kept.append((b"cookie", b"; ".join(cookies)))
    if not any(key.lower() == b"host" for key, _ in kept):
        kept.insert(0, (b"host", authority.encode()))
    return tuple(kept)


def to_delivery(request: http.Request, decision: Deliver, *, has_body: bool) -> http.Request:
    """The request as it goes to a machine: in origin form, the body framed as it came, else chunked."""
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


def _reason(response: http.Response) -> bytes:
    """HTTP/2 has no reason phrases; an HTTP/1.1 client gets the usual one."""
    return response.data.reason or status_codes.RESPONSES.get(response.status_code, "").encode()


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
        # The machine marks the end by closing; towards the client the connection stays open.
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


def rejection(reject: Reject, request_id: str, request: http.Request) -> http.Response:
    """The proxy's own answer: a status and an empty body (F-1.99)."""
    return _own_response(reject.status, request_id, request)


def redirection(redirect: Redirect, request_id: str, request: http.Request) -> http.Response:
    """The proxy's word that the same is to be had over TLS (F-4.26)."""
    return _own_response(redirect.status, request_id, request, (b"location", redirect.location.encode()))


def _own_response(
    status: int, request_id: str, request: http.Request, *fields: tuple[bytes, bytes]
) -> http.Response:
    version = "2" if request.is_http2 else request.http_version.removeprefix("HTTP/")
    head = (*fields, *rejection_fields(request_id, version, formatdate(usegmt=True).encode()))
    reason = status_codes.RESPONSES.get(status, "").encode()
    return http.Response(
        b"HTTP/1.1", status, reason, IndexedHeaders(head), b"", None, time.time(), time.time()
    )


def is_out_of_place(response: http.Response, request: http.Request) -> bool:
    """Whether the client cannot get this response: HTTP/2 knows no 101. A replay is not for the client (F-1.23)."""
    return response.status_code == 101 and request.is_http2 and "fly-replay" not in response.headers


def expects_continue(request: http.Request) -> bool:
    """Whether the client waits for a 100 before it sends the body; one of HTTP/1.0 cannot (RFC 9110, 10.1.1)."""
    return request.headers.get("expect", "").lower() == "100-continue" and request.http_version != "HTTP/1.0"


def continue_response() -> http.Response:
    return http.Response(b"HTTP/1.1", 100, b"Continue", http.Headers(), b"", None, time.time(), time.time())


def connect_failure(error: str) -> Failure:
    """What kind of failure mitmproxy's words for an unopened connection mean."""
    if "cancelled" in error:
        return Failure.TIMED_OUT
    number = _ERRNO.search(error)
    return _CONNECT_FAILURES.get(int(number[1]), Failure.UNREACHABLE) if number else Failure.UNREACHABLE


def failure_of(problem: OSError) -> Failure:
    """The same of a connection that asyncio did not open."""
    if isinstance(problem, TimeoutError):
        return Failure.TIMED_OUT
    return _CONNECT_FAILURES.get(problem.errno or 0, Failure.UNREACHABLE)


def is_silent(message: str) -> bool:
    """Whether mitmproxy's words mean that the connection ended without a single byte of an answer."""
    return message == "server closed connection"


def answer_failure(message: str) -> Failure:
    """What kind of failure mitmproxy's words for a connection without a whole response head mean."""
    if message == NO_HTTP2:
        return Failure.NO_HTTP2
    return Failure.CLOSED if is_silent(message) or _BROKEN_OFF.match(message) else Failure.UNREADABLE


def declared_length(request: http.Request) -> int:
    """The request body's declared size in bytes, 0 where none is declared; mitmproxy has refused invalid ones."""
    return int(request.headers.get("content-length", "0") or "0")
