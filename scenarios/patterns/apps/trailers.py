"""An app that counts the bytes of a chunked request and says so in a trailer, as gRPC says its status.

`?to=<machine id>` on another machine asks for a replay. `python trailers.py URL` is the client: it sends a request with
a trailer, announces that it reads trailers, and prints the response.
"""

from __future__ import annotations

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ID = os.environ.get("FLY_MACHINE_ID", "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = 0
        while chunk := int(self.rfile.readline(), 16):
            size += len(self.rfile.read(chunk))
            self.rfile.readline()
        trailers = b"".join(iter(self.rfile.readline, b"\r\n")).decode().strip()
        target = parse_qs(urlsplit(self.path).query).get("to", [ID])[0]
        if target != ID:
            self.send_response(307)
            self.send_header("fly-replay", f"instance={target}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = f"{ID} got {size} bytes, then {trailers}\n".encode()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\nx-status: %d\r\n\r\n" % (len(body), body, size))


def ask(url: str) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as connection:
        connection.sendall(
            f"POST {parts.path or '/'}?{parts.query} HTTP/1.1\r\nHost: web.fly.dev\r\nTE: trailers\r\n"
            "Connection: TE, close\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\nhello\r\n0\r\nx-checksum: 5d41\r\n\r\n".encode()
        )
        sys.stdout.writelines(iter(lambda: connection.recv(4096).decode(), ""))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ask(sys.argv[1])
    else:
        ThreadingHTTPServer((os.environ.get("HOST", ""), int(os.environ["PORT"])), Handler).serve_forever()
