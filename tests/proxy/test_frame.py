"""WebSocket frame scanner: finds frame boundaries and the close code in data split at any byte."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from simulator.proxy.http.websocket_tunnel import FrameScanner
from tests.proxy import websocket as ws

masks = st.sampled_from([b"", ws.MASK])
sizes = st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536])
frames = st.builds(
    lambda opcode, size, fin, mask: ws.frame(opcode, bytes(size), fin=fin, mask=mask),
    st.sampled_from([ws.CONTINUATION, ws.TEXT, ws.BINARY, ws.PING, ws.PONG]),
    sizes,
    st.booleans(),
    masks,
)
codes = st.none() | st.integers(1000, 4999)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def scan(scanner: FrameScanner, data: bytes) -> None:
    """Scan all of `data`, in as many turns as it takes."""
    while data:
        size = scanner.scan(data)
        assert size > 0
        data = data[size:]


@given(
    st.lists(frames, max_size=6),
    codes,
    masks,
    st.lists(st.integers(0, 10**6), max_size=12),
    st.integers(1, 8),
)
def test_frames_are_counted_and_the_close_code_is_read(
    sent: list[bytes], code: int | None, mask: bytes, places: list[int], frames_per_turn: int
) -> None:
    """RFC 6455, 5.2 and 7.4.1: a close frame without a code counts as 1005."""
    payload = b"" if code is None else ws.close(code, "reason")
    data = b"".join(sent) + ws.frame(ws.CLOSE, payload, mask=mask)
    scanner = FrameScanner(frames_per_turn)
    for piece in cut(data, places):
        scan(scanner, piece)
    assert scanner.frames == len(sent) + 1
    assert scanner.close_code == (code or 1005)
    assert scanner.at_boundary


@given(frames, st.integers(1, 10**6))
def test_there_is_no_boundary_within_a_frame(sent: bytes, place: int) -> None:
    scanner = FrameScanner()
    scanner.scan(sent[: place % len(sent) or 1])
    assert scanner.at_boundary == (len(sent) == 1)
    assert scanner.close_code is None


@given(frames, frames, st.integers(1, 10**6))
def test_the_rest_of_a_frame_is_known_before_it_arrives(sent: bytes, more: bytes, place: int) -> None:
    start = place % len(sent) or 1
    scanner = FrameScanner()
    scanner.scan(sent[:start])
    rest = sent[start:] + more
    if not scanner.at_boundary:
        assert scanner.next_boundary(rest) == len(sent) - start
        assert scanner.next_boundary(sent[start:-1]) in (None, 0)


@given(st.lists(frames, min_size=3, max_size=6))
def test_a_turn_ends_after_a_number_of_frames(sent: list[bytes]) -> None:
    scanner = FrameScanner(2)
    scanner.scan(b"".join(sent))
    assert scanner.frames == 2


def test_of_a_close_frame_only_its_code_is_kept() -> None:
    scanner = FrameScanner()
    scanner.scan(b"\x88\xff" + (2**62).to_bytes(8, "big") + bytes(4))
    scanner.scan(ws.close(4000) + bytes(2**20))
    assert scanner._close_payload is not None
    assert len(scanner._close_payload) == 2
    assert scanner.close_code is None  # the frame is not complete


def test_nothing_is_looked_for_after_a_close_frame() -> None:
    scanner = FrameScanner()
    scan(scanner, ws.frame(ws.CLOSE, ws.close(4001)) * 5000)
    assert (scanner.close_code, scanner.frames) == (4001, 1)
