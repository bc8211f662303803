"""Fake Docker engine: a server on a Unix socket that gives the real SDK predefined responses."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Response = tuple[int, Any]
"""A status and a body: bytes are sent as they are, everything else as JSON."""
_BLOCK_SECONDS = 10.0


class Truncated(bytes):
    """A body after which the connection is closed too early."""


class FakeEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """`responses`: by method and path, for example `GET /containers/json`, or by the last part of the path.

    A list has one response for each request; the last one is for all further requests. `default`: the response to
    all other requests.
    """

    daemon_threads = True

    def __init__(
        self, socket: Path, responses: Mapping[str, Response | list[Response]], default: Response
    ) -> None:
        super().__init__(str(socket), _RequestHandler)
        self.host = f"unix://{socket}"
        self.responses: dict[str, Response | list[Response]] = {
            "_ping": (200, "OK"),
            "version": (200, {"ApiVersion": "1.41"}),
            **responses,
        }
        self.default = default
        self.requests: list[str] = []
        """Method, path without the API version, and query of each request."""
        self.blocked: dict[str, threading.Event] = {}
        """Last part of the path -> event for which the response waits."""
        self.bodies: list[Any] = []
        """The JSON bodies of requests."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect before the response."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def has_request(self, what: str) -> bool:
        return any(f"/{what}" in each for each in self.requests)

    def find_response(self, request: str) -> Response:
        found = self.responses.get(request) or self.responses.get(request.rpartition("/")[2], self.default)
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


class _RequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEngine

    def do_GET(self) -> None:
        if size := int(self.headers.get("Content-Length", 0)):
            self.server.bodies.append(json.loads(self.rfile.read(size)))
        url = urlsplit(self.path)
        path = "/" + url.path.split("/", 2)[2] if url.path.startswith("/v1.") else url.path
        self.server.requests.append(f"{self.command} {path}{'?' if url.query else ''}{url.query}")
        if blocked := self.server.blocked.get(path.rpartition("/")[2]):
            blocked.wait(_BLOCK_SECONDS)
        status, content = self.server.find_response(f"{self.command} {path}")
        self.close_connection = is_truncated = isinstance(content, Truncated)
        body = (
            content
            if isinstance(content, bytes)
            else json.dumps(content).encode()
            if content is not None
            else b""
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + is_truncated))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None: ...

    def address_string(self) -> str:
        return "unix"


@contextmanager
def run_fake_engine(
    socket: Path, responses: Mapping[str, Response | list[Response]], default: Response
) -> Iterator[FakeEngine]:
    with FakeEngine(socket, responses, default) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def run_rejecting_engine(
    socket: Path, status: int = 500, message: str = "", responses: Mapping[str, Sequence[Any]] | None = None
) -> Iterator[FakeEngine]:
    """An engine that rejects every request except those in `responses`; None in a list is a rejection, too."""
    rejection = status, {"message": message}
    content = {
        request: [rejection if body is None else (200, body) for body in bodies]
        for request, bodies in (responses or {}).items()
    }
    with run_fake_engine(socket, content, rejection) as server:
        yield server
