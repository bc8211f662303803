"""A server on a socket that answers as a Docker engine does which refuses everything: real bytes for the real SDK."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    status = 500
    words = ""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path.endswith("/_ping"):
            self._answer(200, b"OK")
        elif self.path.endswith("/version"):
            self._answer(200, json.dumps({"ApiVersion": "1.41"}).encode())
        else:
            self._answer(self.server.status, json.dumps({"message": self.server.words}).encode())

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...

    def address_string(self) -> str:
        return "unix"


@contextmanager
def refusing_engine(socket: Path, status: int, words: str) -> Iterator[str]:
    """The DOCKER_HOST that leads to it."""
    with _Server(str(socket), _Answering) as server:
        server.status, server.words = status, words
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"unix://{socket}"
        finally:
            server.shutdown()
            serving.join()
