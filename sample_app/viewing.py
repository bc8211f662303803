"""One WebSocket of a stream: what a viewer says goes in, pictures and words come out.

From the viewer, JSON text: `{"type": "watch"}` and `{"type": "unwatch"}` begin and end the picture,
`{"type": "chat", "text": …}` says something. To the viewer, JSON text of type `hello` (always the first),
`chat`, `machines` and `error`; and binary frames, see `picture`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.websockets import WebSocket, WebSocketDisconnect

from sample_app.stream import Stream, Viewer

TRY_AGAIN_LATER = 1013


async def serve_viewer(
    websocket: WebSocket, stream: Stream, viewer: Viewer, count: Callable[[int], None]
) -> None:
    """Until either side leaves. `count` is told the bytes of everything sent."""
    stream.join(viewer)
    sender = asyncio.create_task(_send_all(websocket, viewer, count))
    try:
        async for text in _texts(websocket):
            await _take(text, stream, viewer)
    finally:
        stream.leave(viewer)
        sender.cancel()


async def _texts(websocket: WebSocket) -> AsyncIterator[str]:
    while (message := await websocket.receive())["type"] == "websocket.receive":
        yield message.get("text") or ""


async def _send_all(websocket: WebSocket, viewer: Viewer, count: Callable[[int], None]) -> None:
    try:
        while (item := await viewer.next()) is not None:
            if isinstance(item, bytes):
                await websocket.send_bytes(item)
                count(len(item))
            else:
                await websocket.send_text(item)
                count(len(item.encode()))
        await websocket.close(TRY_AGAIN_LATER, "the stream ended")
    except WebSocketDisconnect:
        return  # the reading side has noticed, too


async def _take(text: str, stream: Stream, viewer: Viewer) -> None:
    try:
        match parse_object(text):
            case {"type": "watch" | "unwatch" as kind}:
                stream.watch(viewer, watches=kind == "watch")
            case {"type": "chat", "from": str(name), "text": str(words)} if viewer.is_machine:
                await stream.say(name, words)
            case {"type": "chat", "text": str(words)} if words.strip():
                await stream.say(viewer.name, words.strip())
            case _:
                raise ValueError
    except ValueError:
        expected = 'expected {"type": "watch"}, {"type": "unwatch"} or {"type": "chat", "text": "…"}'
        viewer.tell({"type": "error", "text": expected})


def parse_object(text: str) -> dict[str, object]:
    """A JSON object. Raises ValueError."""
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError(f"expected a JSON object, read {text!r}")
    return message
