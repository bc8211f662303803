"""Rooms of a game or a chat: each lives in the memory of one machine, and a directory says of which (P-17, P-18).

The directory would be in Redis. The framework here upgrades every WebSocket on its own, as some do, so the replay is
written to the bare connection. Guards as in production: a replay that failed is not tried again, and a directory that
wrongly points to this very machine is no reason for a loop.
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
        return await elsewhere(request, name, owner)
    if action == "open":
        rooms.add(name)
        return Response(201)
    if name not in rooms:
        return Response(410, "the directory is wrong: that room is over")
    if action == "join":
        return Response(200, f"{name} is on {MACHINE}", {"Set-Cookie": f"room-machine={MACHINE}; Path=/"})
    socket = await request.accept()
    await socket.send(f"{name} on {MACHINE}")
    async for text in socket:
        await socket.send(f"{name}: {text}")
    return None


async def elsewhere(request: Request, name: str, owner: str) -> Response | None:
    if "fly-replay-failed" in request.headers:
        return Response(503, f"{name} cannot be reached", {"Retry-After": "1"})
    directive = f"instance={owner};timeout=2s;fallback=force_self"
    if not request.is_upgrade:  # the cookie gets lost with this answer (F-12.18); the owner sets its own
        return replay(directive, 409, Set_Cookie=f"room-machine={owner}; Path=/; Max-Age=60")
    await request.raw(
        f"HTTP/1.1 307 Temporary Redirect\r\nfly-replay: {directive}\r\nConnection: close\r\n\r\n"
    )
    return None


serve(app)
