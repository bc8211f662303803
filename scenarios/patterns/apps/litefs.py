"""Writes on the primary machine, which is known by its id: the LiteFS proxy (P-7) and litefs-js (P-8).

A replica replays writes. A cookie has the position of the visitor's last write. A replica that is behind that position
waits (P-7) or replays the read as well (P-8). `POST /replicate` simulates the replication. Sources: superfly/litefs
http/proxy_server.go, fly-apps/litefs-js src/http.ts.
"""

from __future__ import annotations

import asyncio
import os

from web import MACHINE, Request, Response, json_response, replay, serve

PRIMARY = os.environ.get("PRIMARY")
COOKIE = os.environ["POSITION_COOKIE"]
WAITS = COOKIE == "__txid"
WAIT_SECONDS, POLL_SECONDS = 5, 0.001
position = 0


async def reaches(wanted: int) -> bool:
    """Whether this replica has the position `wanted`, or reaches it during the wait."""
    for _ in range(int(WAIT_SECONDS / POLL_SECONDS) if WAITS else 1):
        if position >= wanted:
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False


async def app(request: Request) -> Response:
    global position
    if request.path == "/replicate":
        position = int(request.query["position"])
        return Response(204)
    if request.method not in ("GET", "HEAD"):
        if PRIMARY is None:
            return Response(503, "no primary")
        if MACHINE != PRIMARY:
            return replay(f"instance={PRIMARY}", 200 if WAITS else 409)
        position += 1
        return json_response({"position": position}, set_cookie=f"{COOKIE}={position}; Path=/")
    if MACHINE != PRIMARY and not await reaches(int(request.cookies.get(COOKIE, 0))):
        return Response(504, "replica is behind") if WAITS else replay(f"instance={PRIMARY}", 409)
    return json_response({"position": position, "machine": MACHINE})


serve(app)
