"""Router with one app per user, chosen by the first path segment (P-9), and a maintenance page (P-25).

The key in `state` proves to the user's app that the router sent the request. If no machine of that app is available,
the router gets the request back with fly-replay-failed. Sources: Fly's blueprint "Connecting to user machines",
rubys/navigator.
"""

from __future__ import annotations

import os

from web import Request, Response, replay, serve

KEY = os.environ["REPLAY_KEY"]
APPS = dict(pair.split("=") for pair in os.environ["APPS"].split())


async def app(request: Request) -> Response:
    name = APPS.get(request.path.split("/")[1])
    if name is None:
        return Response(404, "no such user")
    if "fly-replay-failed" in request.headers:
        reason = request.field("fly-replay-failed", "reason")
        return Response(503, f"{name} is starting ({reason})", {"Retry-After": "5"})
    return replay(f"app={name};state={KEY};timeout=5s;fallback=force_self")


serve(app)
