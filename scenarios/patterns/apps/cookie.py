"""A sticky session by a cookie with the id of the machine that was there first (P-2, P-35).

Source: Fly's page about Meteor. `GUARDED=1` mends what is missing there: a machine that is gone (P-24).
"""

from __future__ import annotations

import os

from web import MACHINE, Request, Response, replay, serve

GUARDED = bool(os.environ.get("GUARDED"))
OURS = {"Set-Cookie": f"fly-machine-id={MACHINE}; Path=/; Max-Age=86400; HttpOnly"}


async def app(request: Request) -> Response:
    pinned = request.cookies.get("fly-machine-id")
    if not pinned:
        return Response(200, f"{MACHINE}: a new session", OURS)
    if pinned == MACHINE:
        return Response(200, f"{MACHINE}: your session")
    if "fly-replay-failed" in request.headers:  # a fallback cannot be replayed again (F-1.56)
        return Response(200, f"{MACHINE}: a new session, the old one is lost", OURS)
    return replay(
        f"instance={pinned};timeout=3s;fallback=force_self" if GUARDED else f"instance={pinned}", 307
    )


serve(app)
