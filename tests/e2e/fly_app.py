"""A tiny app for the fly.toml files of tests/config/fly: it says which machine it is and what it was sent.

`?to=<machine id>` on any other machine answers with `fly-replay`, once. The group "admin" also answers raw
connections on port 7000 with what it got; "worker" listens nowhere. It is run as a
script, so it imports nothing of ours.
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
        wanted = parse_qs(urlsplit(self.path).query).get("to", [ID])[0]
        if wanted != ID and "fly-replay-src" not in self.headers:
            self._answer(307, b"", {"fly-replay": f"instance={wanted}"})
            return
        told = {
            "id": ID,
            "group": GROUP,
            "region": os.environ["FLY_REGION"],
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        self._answer(200, json.dumps(told).encode(), {"X-Powered-By": "tiny", "Server": "tiny"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": f"{len(body)}"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Raw(socketserver.StreamRequestHandler):
    """Gives back what comes, until a line ends."""

    def handle(self) -> None:
        got = b""
        while not got.endswith(b"hello\n") and (data := self.connection.recv(1024)):
            got += data
        self.connection.sendall(f"{ID} ".encode() + got)


def main() -> None:
    if GROUP == "worker":
        threading.Event().wait()
    if GROUP == "admin":
        raw = socketserver.ThreadingTCPServer((HOST, RAW_PORT), Raw)
        threading.Thread(target=raw.serve_forever, daemon=True).start()
    ThreadingHTTPServer((HOST, int(os.environ["PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
