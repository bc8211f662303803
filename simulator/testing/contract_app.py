"""App of the contract suite: a program that behaves like a `FakeApp`, configured on the command line.

python app.py HOST PORT '{"lines": ["hello"], "exits_with": 3}'
"""

from __future__ import annotations

import json
import signal
import socket
import sys


def main() -> None:
    host, port, behaviour = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN if behaviour["ignores_kill_signal"] else signal.SIG_DFL)
    for line in behaviour["lines"]:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    if behaviour["exits_with"] is not None:
        sys.exit(behaviour["exits_with"])
    if behaviour["listens"]:
        respond_to_all(host, port, f"HTTP/1.1 {behaviour['status']} Ok\r\ncontent-length: 0\r\n\r\n".encode())
    signal.pause()


def respond_to_all(host: str, port: int, response: bytes) -> None:
    with socket.create_server((host, port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(4096):
                    connection.sendall(response)


if __name__ == "__main__":
    main()
