"""Tiny app for the fly.toml files of tests/config/fly: responds with its machine id and the request's headers.

`?to=<machine id>` on another machine responds with `fly-replay`, once. The group "admin" also echoes raw TCP
connections on port 7000; "worker" listens on no port. Runs as a script, so it imports nothing from flysim.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ID, GROUP = os.environ["FLY_MACHINE_ID"], os.environ["FLY_PROCESS_GROUP"]
HOST, RAW_PORT = os.environ.get("HOST", "127.0.0.1"), 7000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        target = parse_qs(urlsplit(self.path).query).get("to", [ID])[0]
        if target != ID and "fly-replay-src" not in self.headers:
            self._respond(307, b"", {"fly-replay": f"instance={target}"})
            return
        description = {
            "id": ID,
            "group": GROUP,
            "region": os.environ["FLY_REGION"],
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        self._respond(200, json.dumps(description).encode(), {"X-Powered-By": "tiny", "Server": "tiny"})

    def _respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": f"{len(body)}"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class Raw(socketserver.StreamRequestHandler):
    """Echoes its input up to the line `hello`."""

    def handle(self) -> None:
        data = b""
        while not data.endswith(b"hello\n") and (chunk := self.connection.recv(1024)):
            data += chunk
        self.connection.sendall(f"{ID} ".encode() + data)


def main() -> None:
    if GROUP == "worker":
        threading.Event().wait()
    if GROUP == "admin":
        raw = socketserver.ThreadingTCPServer((HOST, RAW_PORT), Raw)
        threading.Thread(target=raw.serve_forever, daemon=True).start()
    ThreadingHTTPServer((HOST, int(os.environ["PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
