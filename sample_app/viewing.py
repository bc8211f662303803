"""WebSocket protocol between a viewer and a stream.

The viewer sends JSON text messages: `{"type": "watch"}` and `{"type": "unwatch"}` start and stop the picture, and
`{"type": "chat", "text": …}` adds a chat line. It receives JSON text messages of the types `hello` (always first),
`chat`, `machines` and `error`, and binary frames, see `picture`.
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
    """Serves the viewer until either side closes. `count` is called with the size of each sent message in bytes."""
    stream.join(viewer)
    sender = asyncio.create_task(_send_all(websocket, viewer, count))
    try:
        async for text in _texts(websocket):
            await _handle_text(text, stream, viewer)
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
        return  # The reading side detects this too.


async def _handle_text(text: str, stream: Stream, viewer: Viewer) -> None:
    try:
        match parse_object(text):
            case {"type": "watch" | "unwatch" as kind}:
                stream.watch(viewer, watches=kind == "watch")
            case {"type": "chat", "from": str(name), "text": str(line)} if viewer.is_machine:
                await stream.say(name, line)
            case {"type": "chat", "text": str(line)} if line.strip():
                await stream.say(viewer.name, line.strip())
            case _:
                raise ValueError
    except ValueError:
        expected = 'expected {"type": "watch"}, {"type": "unwatch"} or {"type": "chat", "text": "…"}'
        viewer.send({"type": "error", "text": expected})


def parse_object(text: str) -> dict[str, object]:
    """Parses a JSON object. Raises ValueError."""
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError(f"expected a JSON object, got {text!r}")
    return message
