"""Stream and viewers without a network."""

from __future__ import annotations

import asyncio
import json

from sample_app.directory import Machine
from sample_app.picture import FRAME_BYTES, HEIGHT, WIDTH, Picture
from sample_app.stream import LONGEST_LINE, PublishedStream, Stream, Traffic, Viewer

HOST = Machine("286533db064e58", "dfw", "Ochre Bittern")


def test_a_frame_starts_with_number_and_size_and_has_one_byte_per_pixel() -> None:
    frame = Picture(HOST.id).frame(258)
    assert frame[:6] == bytes((0, 0, 1, 2, WIDTH, HEIGHT))
    assert len(frame) == FRAME_BYTES


def test_the_picture_moves_and_differs_between_creators() -> None:
    picture = Picture(HOST.id)
    assert picture.frame(1)[6:] != picture.frame(2)[6:]
    assert picture.frame(1) != Picture("d8dd626f379508").frame(1)
    assert picture.frame(1) == Picture(HOST.id).frame(1)


async def test_a_chat_line_reaches_all_current_and_later_viewers() -> None:
    stream, early, late = Stream(HOST), Viewer("Ann"), Viewer("Bob")
    stream.join(early)
    await stream.say("Ann", "hello")
    stream.join(late)
    line = {"type": "chat", "from": "Ann", "text": "hello"}
    assert [json.loads(await viewer.next() or "") for viewer in (early, late)] == [line, line]


async def test_a_long_chat_line_is_truncated() -> None:
    stream, viewer = Stream(HOST), Viewer()
    stream.join(viewer)
    await stream.say("Ann", "x" * (LONGEST_LINE + 1))
    assert len(json.loads(await viewer.next() or "")["text"]) == LONGEST_LINE


async def test_a_slow_viewer_gets_every_message_and_only_the_latest_frame() -> None:
    stream, viewer = Stream(HOST), Viewer()
    stream.join(viewer)
    stream.watch(viewer, watches=True)
    for number in range(3):
        stream.show(bytes([number]))
        stream.send({"number": number})
    viewer.end()
    received = [await viewer.next() for _ in range(5)]
    assert received == ['{"number": 0}', '{"number": 1}', '{"number": 2}', None, b"\x02"]


async def test_frames_are_sent_only_to_watching_viewers() -> None:
    stream, viewer = Stream(HOST), Viewer()
    stream.join(viewer)
    stream.show(b"1")
    stream.watch(viewer, watches=True)
    stream.show(b"2")
    assert await viewer.next() == b"2"


async def test_no_frame_is_computed_without_a_watching_viewer() -> None:
    traffic = Traffic()
    stream, viewer = PublishedStream(HOST, traffic), Viewer()
    stream.join(viewer)
    running = asyncio.create_task(stream.run())
    await asyncio.sleep(0)
    assert traffic.frames_published == 0
    stream.watch(viewer, watches=True)
    assert len(await viewer.next() or b"") == FRAME_BYTES
    assert traffic.frames_published == 1
    running.cancel()
