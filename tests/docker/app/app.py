"""Minimal app for the container tests: reports its machine, replays, echoes over WebSocket and exits on request.

`?to=<machine id>` on any other machine responds with `fly-replay`, once. `/ws` is a WebSocket that sends the machine's
id and then echoes. `/names/<name>` returns the IPv4 addresses of a name; `/exit/<code>` exits with that exit code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ID, REGION = os.environ["FLY_MACHINE_ID"], os.environ["FLY_REGION"]
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        wanted = parse_qs(url.query).get("to", [ID])[0]
        if wanted != ID and "fly-replay-src" not in self.headers:
            self._respond({}, 307, {"fly-replay": f"instance={wanted}"})
        elif self.headers.get("upgrade", "").lower() == "websocket":
            self._serve_websocket()
        elif url.path.startswith("/exit/"):
            log("asked to exit")
            os._exit(int(url.path.removeprefix("/exit/")))
        elif url.path.startswith("/names/"):
            self._respond({"addresses": addresses(url.path.removeprefix("/names/"))})
        else:
            env = {name: value for name, value in os.environ.items() if name.startswith(("FLY_", "APP_"))}
            self._respond({"id": ID, "region": REGION, "host": socket.gethostname(), "env": env})

    def _respond(
        self, content: dict[str, object], status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps(content).encode()
        self.send_response_only(status)
        for name, value in {**(headers or {}), "Content-Length": f"{len(body)}"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _serve_websocket(self) -> None:
        digest = hashlib.sha1(self.headers["sec-websocket-key"].encode() + _ACCEPT).digest()
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.end_headers()
        self._send_frame(0x81, ID.encode())
        while (frame := self._read_frame()) and frame[0] & 0xF != 8:
            self._send_frame(frame[0], frame[1])
        self._send_frame(0x88, b"\x03\xe8")
        self.close_connection = True

    def _send_frame(self, first: int, payload: bytes) -> None:
        self.wfile.write(bytes([first, len(payload)]) + payload)

    def _read_frame(self) -> tuple[int, bytes] | None:
        """A masked frame of a client, with up to 125 bytes."""
        head = self.rfile.read(6)
        if len(head) < 6:
            return None
        payload = self.rfile.read(head[1] & 0x7F)
        return head[0], bytes(each ^ head[2 + at % 4] for at, each in enumerate(payload))

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


def log(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def addresses(name: str) -> list[str]:
    try:
        return sorted({each[4][0] for each in socket.getaddrinfo(name, None, socket.AF_INET)})
    except socket.gaierror:
        return []


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    log(f"{ID} listens")
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
