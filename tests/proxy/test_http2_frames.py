"""Frame reader of HTTP/2: how many frames of one connection are processed per turn."""

from __future__ import annotations

from itertools import pairwise

import pytest
from h2.exceptions import FrameTooLargeError, ProtocolError
from hypothesis import given
from hypothesis import strategies as st

from simulator.proxy.http.http2 import MAX_WORK_PER_TURN, FrameReader
from tests.proxy.conformance.raw_http2 import PREFACE, raw

MAX_FRAME_BYTES = 2**17
SETTINGS = raw(4, 0, 0, b"")


def reader_of(*frames: bytes, preface: bytes = b"") -> FrameReader:
    reader = FrameReader(len(preface))
    reader.feed(preface + SETTINGS + b"".join(frames))
    return reader


def take_all(reader: FrameReader, streams: int = 0) -> list[int]:
    """How many frames each turn takes."""
    turns = [len(reader.take(streams, MAX_FRAME_BYTES))]
    while reader.has_more:
        turns.append(len(reader.take(streams, MAX_FRAME_BYTES)))
    return turns


@pytest.mark.parametrize(
    ("frame", "streams", "at_most"),
    [
        (raw(6, 0, 0, bytes(8)), 0, 128),
        (raw(0, 0, 1, b""), 0, 128),
        (raw(2, 0, 1, bytes(5)), 0, 128),
        (raw(8, 0, 1, bytes(4)), 1000, 128),
        (raw(1, 5, 1, bytes(50)), 0, 8),
        (raw(1, 5, 1, bytes(500)), 0, 2),
        (raw(9, 0, 1, bytes(16_000)), 0, 2),
        (SETTINGS, 0, 8),
        (SETTINGS, 1000, 1),
        (raw(8, 0, 0, bytes(4)), 1000, 1),
    ],
    ids=[
        "PING",
        "empty DATA",
        "PRIORITY",
        "window of a stream",
        "HEADERS",
        "large HEADERS",
        "CONTINUATION",
        "SETTINGS",
        "SETTINGS that change 1000 windows",
        "window of a connection with 1000 streams",
    ],
)
def test_a_turn_takes_frames_by_their_work(frame: bytes, streams: int, at_most: int) -> None:
    reader = FrameReader()
    reader.feed(SETTINGS)
    reader.take(streams, MAX_FRAME_BYTES)
    reader.feed(frame * 1000)
    turns = take_all(reader, streams)
    assert sum(turns) == 1000
    assert max(turns) <= at_most


def test_a_reset_is_taken_together_with_its_request() -> None:
    reader = reader_of(*[raw(1, 5, n, bytes(50)) + raw(3, 0, n, bytes(4)) for n in range(1, 201, 2)])
    reader.take(0, MAX_FRAME_BYTES)
    while reader.has_more:
        kinds = [frame[3] for frame in reader.take(0, MAX_FRAME_BYTES)]
        assert kinds == [1, 3] * (len(kinds) // 2)


def test_resets_alone_do_not_extend_a_turn_without_limit() -> None:
    assert max(take_all(reader_of(raw(3, 0, 1, bytes(4)) * 5000))) <= 2 * MAX_WORK_PER_TURN


@given(st.lists(st.integers(0, 300), max_size=5), st.lists(st.integers(0, 2000), max_size=8))
def test_frames_are_the_same_however_they_arrive(sizes: list[int], places: list[int]) -> None:
    frames = [SETTINGS, *[raw(0, 0, 1, bytes(size)) for size in sizes]]
    data = PREFACE + b"".join(frames)
    cuts = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    reader, taken = FrameReader(len(PREFACE)), b""
    for start, end in pairwise(cuts):
        reader.feed(data[start:end])
        taken += b"".join(reader.take(0, MAX_FRAME_BYTES))
    assert taken == data
    assert not reader.has_more


def test_a_frame_that_is_too_large_is_not_waited_for() -> None:
    with pytest.raises(FrameTooLargeError, match="131073 bytes: expected at most 131072"):
        reader_of(raw(0, 0, 1, bytes(2**17 + 1))[:9]).take(0, MAX_FRAME_BYTES)


def test_the_first_frame_must_be_settings() -> None:
    """RFC 9113, 3.4"""
    reader = FrameReader()
    reader.feed(b"HTT")
    assert reader.take(0, MAX_FRAME_BYTES) == []
    assert reader.awaits_settings
    reader.feed(b"P/1.1 200 OK")
    with pytest.raises(ProtocolError):
        reader.take(0, MAX_FRAME_BYTES)
