"""WebSocket frames and handshakes built by hand (RFC 6455), so that tests can compare bytes exactly."""

from __future__ import annotations

import base64
import hashlib
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
COMPRESSED = 0x40  # RSV1: permessage-deflate (RFC 7692)
KEY = base64.b64encode(b"sixteen bytes it").decode()
MASK = b"\x01\x80\xfe\x0d"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes = b"", flags: int = 0) -> bytes:
    """One frame. `mask`: for a client's frames."""
    head = bytes([(0x80 if fin else 0) | flags | opcode])
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 2**16:
        head += bytes([masked | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", len(payload))
    if mask:
        payload = bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))
    return head + mask + payload


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, flags: int = 0) -> bytes:
    """A client's frame."""
    return frame(opcode, payload, fin=fin, mask=MASK, flags=flags)


def close(code: int, reason: str = "") -> bytes:
    """The payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()


def upgrade(path: str = "/ws", headers: str = "") -> bytes:
    """A client's handshake."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: streams.fly.dev\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
    ).encode()


def accept_key(key: str) -> str:
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


def accept(key: str = KEY, headers: str = "") -> bytes:
    """A machine's handshake response."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n{headers}\r\n"
    ).encode()
