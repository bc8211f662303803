"""This computer's engine as a remote one: reached by TCP, under a name that is not 127.0.0.1."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SOCKET = "/var/run/docker.sock"
_CHUNK_BYTES = 65536


class _Forwarding(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(_SOCKET)
            upload = threading.Thread(target=_pump, args=(self.request, engine))
            upload.start()
            _pump(engine, self.request)
            upload.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def remote_engine() -> Iterator[str]:
    """Yields its DOCKER_HOST."""
    with _Server(("127.0.0.1", 0), _Forwarding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://localhost:{server.server_address[1]}"
        server.shutdown()
