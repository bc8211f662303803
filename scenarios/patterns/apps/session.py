"""Sticky sessions by lookup: a hash of the session id determines the machine that owns the session (P-1).

Source: Fly's blueprint "Session affinity", which uses a table instead of a hash.
"""

from __future__ import annotations

import os
from zlib import crc32

from web import MACHINE, Request, Response, json_response, replay, serve

MACHINES = os.environ["MACHINES"].split()
visits: dict[str, int] = {}
"""The session data, which is only in this machine's memory."""


async def app(request: Request) -> Response:
    session = request.cookies.get("session_id")
    if request.path == "/login":
        return Response(204, headers={"Set-Cookie": f"session_id={request.query['as']}; Path=/; HttpOnly"})
    owner = MACHINES[crc32(session.encode()) % len(MACHINES)] if session else MACHINE
    if owner != MACHINE:
        return replay(f"instance={owner}", 307)
    if session:
        visits[session] = visits.get(session, 0) + 1
    return json_response(
        {
            "machine": MACHINE,
            "visits": visits.get(session or ""),
            "cache": request.headers.get("fly-replay-cache-status"),
            "source": request.field("fly-replay-src", "instance"),
        }
    )


serve(app)
