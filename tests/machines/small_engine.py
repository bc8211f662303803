"""A server on a socket that answers the real SDK as a Docker engine does: what it is told to, or with a refusal."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Answers = dict[str, tuple[int, Any]]
"""The last part of a request's path -> status, and what is said as JSON."""


class SmallEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, socket: Path, answers: Answers, otherwise: tuple[int, Any]) -> None:
        super().__init__(str(socket), _Answering)
        self.host = f"unix://{socket}"
        self.answers: Answers = {"_ping": (200, "OK"), "version": (200, {"ApiVersion": "1.41"}), **answers}
        self.otherwise = otherwise
        self.asked: list[str] = []

    def was_asked(self, what: str) -> bool:
        return any(f"/{what}" in each for each in self.asked)


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallEngine

    def do_GET(self) -> None:
        what = urlsplit(self.path).path.rpartition("/")[2]
        self.server.asked.append(self.path)
        status, said = self.server.answers.get(what, self.server.otherwise)
        body = json.dumps(said).encode() if said is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None: ...

    def address_string(self) -> str:
        return "unix"


@contextmanager
def small_engine(socket: Path, answers: Answers, otherwise: tuple[int, Any]) -> Iterator[SmallEngine]:
    with SmallEngine(socket, answers, otherwise) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def refusing_engine(socket: Path, status: int, words: str) -> Iterator[str]:
    """The DOCKER_HOST that leads to one that refuses everything."""
    with small_engine(socket, {}, (status, {"message": words})) as server:
        yield server.host
