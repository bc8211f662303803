"""A server on a socket that answers as a Docker engine does which refuses everything: real bytes for the real SDK.

What it is not to refuse is said by method and path, such as `GET /containers/json`: the bodies of its answers, one
after the other and the last for good. A body of None is a refusal, too.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answers = Mapping[str, Sequence[Any]]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    status = 500
    words = ""
    answers: dict[str, list[Any]]
    asked: list[str]
    told: list[Any]


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if size := int(self.headers.get("Content-Length", 0)):
            self.server.told.append(json.loads(self.rfile.read(size)))
        if self.path.endswith("/_ping"):
            self._answer(200, b"OK")
        elif self.path.endswith("/version"):
            self._answer(200, json.dumps({"ApiVersion": "1.41"}).encode())
        elif (body := self._next_body()) is not None:
            self._answer(200, json.dumps(body).encode())
        else:
            self._answer(self.server.status, json.dumps({"message": self.server.words}).encode())

    def _next_body(self) -> Any:
        path = "/" + self.path.partition("?")[0].split("/", 2)[2]  # Without the version of the API.
        self.server.asked.append(f"{self.command} {path}")
        bodies = self.server.answers.get(self.server.asked[-1], [None])
        return bodies.pop(0) if len(bodies) > 1 else bodies[0]

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
def refusing_engine(
    socket: Path,
    status: int = 500,
    words: str = "",
    answers: Answers | None = None,
    asked: list[str] | None = None,
    told: list[Any] | None = None,
) -> Iterator[str]:
    """The DOCKER_HOST that leads to it. It fills `asked` with the requests, `told` with the bodies that came along."""
    with _Server(str(socket), _Answering) as server:
        server.status, server.words = status, words
        server.asked = [] if asked is None else asked
        server.told = [] if told is None else told
        server.answers = {request: list(bodies) for request, bodies in (answers or {}).items()}
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"unix://{socket}"
        finally:
            server.shutdown()
            serving.join()
