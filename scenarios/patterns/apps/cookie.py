"""Sticky session by a cookie with the id of the first machine (P-2, P-35).

`GUARDED=1` also handles a machine that no longer exists (P-24). Source: Fly's page about Meteor.
"""

from __future__ import annotations

import os

from web import MACHINE, Request, Response, replay, serve

GUARDED = bool(os.environ.get("GUARDED"))
OWN_COOKIE = {"Set-Cookie": f"fly-machine-id={MACHINE}; Path=/; Max-Age=86400; HttpOnly"}


async def app(request: Request) -> Response:
    pinned = request.cookies.get("fly-machine-id")
    if not pinned:
        return Response(200, f"{MACHINE}: a new session", OWN_COOKIE)
    if pinned == MACHINE:
        return Response(200, f"{MACHINE}: your session")
    if "fly-replay-failed" in request.headers:  # A request cannot be replayed after a fallback (F-1.56).
        return Response(200, f"{MACHINE}: a new session, the old one is lost", OWN_COOKIE)
    return replay(
        f"instance={pinned};timeout=3s;fallback=force_self" if GUARDED else f"instance={pinned}", 307
    )


serve(app)
