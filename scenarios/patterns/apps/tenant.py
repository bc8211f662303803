"""App behind the routers, which returns the request that it received. REPLAY_KEY restricts it to the router (P-9).

The header fly-replay-src alone proves nothing, because any app of the organization can replay here (F-1.45). With
ADMIN_PORT the app also listens on a second port (P-32).
"""

from __future__ import annotations

import os

from web import APP, MACHINE, Request, Response, json_response, serve

KEY = os.environ.get("REPLAY_KEY")
ADMIN_PORT = os.environ.get("ADMIN_PORT")


async def app(request: Request) -> Response:
    if KEY and request.field("fly-replay-src", "state") != KEY:
        return Response(403, "not from the router")
    return json_response(
        {
            "app": APP,
            "machine": MACHINE,
            "request": f"{request.method} {request.target}",
            "host": request.host,
            "headers": request.headers,
            "body": request.body.decode(),
        }
    )


async def admin(request: Request) -> Response:
    return Response(200, f"{APP}: management of {MACHINE}")


serve(app, *([(admin, int(ADMIN_PORT))] if ADMIN_PORT else []))
