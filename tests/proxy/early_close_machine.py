"""Machine process that replays every request and closes in the same packet: `early_close_machine.py DIRECTIVE`.

It writes the port it listens on to stdout. Data and FIN leave in one segment, because the socket is corked until it is
closed. A request's body is not read, so that its connection ends with a reset. The request path selects the shape of
the response.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

TCP_CORK = getattr(socket, "TCP_CORK", getattr(socket, "TCP_NOPUSH", None))


def responses(directive: str) -> dict[bytes, bytes]:
    replay = f"fly-replay: {directive}\r\n"
    handshake = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    )
    shapes = {
        "bare": f"HTTP/1.1 101 Switching Protocols\r\n{replay}\r\n",
        "full": f"HTTP/1.1 101 Switching Protocols\r\n{handshake}{replay}\r\n",
        "frames": f"HTTP/1.1 101 Switching Protocols\r\n{handshake}{replay}\r\n\x81\x05wrong",
        "empty": f"HTTP/1.1 307 Temporary Redirect\r\n{replay}content-length: 0\r\n\r\n",
        "until-close": f"HTTP/1.1 200 OK\r\n{replay}\r\nredirecting...",
        "cut-off": f"HTTP/1.1 409 Conflict\r\n{replay}content-length: 100\r\n\r\nredir",
    }
    return {name.encode(): response.encode("latin-1") for name, response in shapes.items()}


def serve(directive: str) -> None:
    shapes = responses(directive)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201 - the test reads it
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                with suppress(ConnectionError):
                    respond(connection, shapes)


def respond(connection: socket.socket, shapes: dict[bytes, bytes]) -> None:
    head = connection.recv(65536)
    while head and b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    if not head:
        return
    method, target, _ = head.split(b" ", 2)
    if TCP_CORK is not None and method == b"GET":  # an unread body turns FIN into RST
        connection.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 1)
    connection.sendall(shapes[target.lstrip(b"/")])


if __name__ == "__main__":
    serve(sys.argv[1])
