"""Rooms of a game or chat: each is in the memory of one machine, and a directory maps rooms to machines (P-17, P-18).

In production the directory would be in Redis. As in some frameworks, every WebSocket is upgraded automatically, so the
replay is written to the raw connection. Guards: a failed replay is not repeated, and a directory that wrongly names
this machine causes no loop.
"""

from __future__ import annotations

import os

from web import MACHINE, Request, Response, replay, serve

OWNERS = dict(pair.split("=") for pair in os.environ["ROOMS"].split())
rooms: set[str] = set()


async def app(request: Request) -> Response | None:
    _, action, name = request.path.split("/")
    owner = OWNERS.get(name)
    if owner is None:
        return Response(404, "no such room")
    if owner != MACHINE:
        return await replay_to_owner(request, name, owner)
    if action == "open":
        rooms.add(name)
        return Response(201)
    if name not in rooms:
        return Response(410, "the directory is wrong: this room no longer exists")
    if action == "join":
        return Response(200, f"{name} is on {MACHINE}", {"Set-Cookie": f"room-machine={MACHINE}; Path=/"})
    socket = await request.accept()
    await socket.send(f"{name} on {MACHINE}")
    async for text in socket:
        await socket.send(f"{name}: {text}")
    return None


async def replay_to_owner(request: Request, name: str, owner: str) -> Response | None:
    if "fly-replay-failed" in request.headers:
        return Response(503, f"{name} cannot be reached", {"Retry-After": "1"})
    directive = f"instance={owner};timeout=2s;fallback=force_self"
    if not request.is_upgrade:  # The client never gets this cookie (F-12.18); the owner sets its own.
        return replay(directive, 409, Set_Cookie=f"room-machine={owner}; Path=/; Max-Age=60")
    await request.raw(
        f"HTTP/1.1 307 Temporary Redirect\r\nfly-replay: {directive}\r\nConnection: close\r\n\r\n"
    )
    return None


serve(app)
