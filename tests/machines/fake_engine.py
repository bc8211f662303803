"""Fake Docker engine for tests: an HTTP server on a Unix socket that returns prepared responses to the real SDK."""

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

Answer = tuple[int, Any]
"""A status and a body: bytes are sent unchanged, everything else as JSON."""
_PATIENCE_SECONDS = 10.0


class Broken(bytes):
    """A body after which the connection is closed, although more was announced."""


class SmallEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """`answers` maps a method and path, as in `GET /containers/json`, or the last part of a path to a response.

    A list contains successive responses; the last one is repeated. Every other request gets `otherwise`.
    """

    daemon_threads = True

    def __init__(self, socket: Path, answers: Mapping[str, Answer | list[Answer]], otherwise: Answer) -> None:
        super().__init__(str(socket), _Answering)
        self.host = f"unix://{socket}"
        self.answers: dict[str, Answer | list[Answer]] = {
            "_ping": (200, "OK"),
            "version": (200, {"ApiVersion": "1.41"}),
            **answers,
        }
        self.otherwise = otherwise
        self.asked: list[str] = []
        """The methods and paths of all requests, without the API version, with the query unchanged."""
        self.held: dict[str, threading.Event] = {}
        """Last part of a path -> an event: the response is delayed until it is set."""
        self.told: list[Any] = []
        """The JSON bodies of all requests."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect before the response."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def was_asked(self, what: str) -> bool:
        return any(f"/{what}" in each for each in self.asked)

    def answer(self, request: str) -> Answer:
        found = self.answers.get(request) or self.answers.get(request.rpartition("/")[2], self.otherwise)
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallEngine

    def do_GET(self) -> None:
        if size := int(self.headers.get("Content-Length", 0)):
            self.server.told.append(json.loads(self.rfile.read(size)))
        url = urlsplit(self.path)
        path = "/" + url.path.split("/", 2)[2] if url.path.startswith("/v1.") else url.path
        self.server.asked.append(f"{self.command} {path}{'?' if url.query else ''}{url.query}")
        if held := self.server.held.get(path.rpartition("/")[2]):
            held.wait(_PATIENCE_SECONDS)
        status, said = self.server.answer(f"{self.command} {path}")
        self.close_connection = is_broken = isinstance(said, Broken)
        body = said if isinstance(said, bytes) else json.dumps(said).encode() if said is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + is_broken))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None: ...

    def address_string(self) -> str:
        return "unix"


@contextmanager
def small_engine(
    socket: Path, answers: Mapping[str, Answer | list[Answer]], otherwise: Answer
) -> Iterator[SmallEngine]:
    with SmallEngine(socket, answers, otherwise) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def refusing_engine(
    socket: Path, status: int = 500, words: str = "", answers: Mapping[str, Sequence[Any]] | None = None
) -> Iterator[SmallEngine]:
    """An engine that refuses all requests except `answers`, which are successive bodies; None is a refusal, too."""
    refusal = status, {"message": words}
    said = {
        request: [refusal if body is None else (200, body) for body in bodies]
        for request, bodies in (answers or {}).items()
    }
    with small_engine(socket, said, refusal) as server:
        yield server
