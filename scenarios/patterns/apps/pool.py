"""A warm pool: machines that belong to nobody yet; the router gives each new user one of them (P-11).

Source: Fly's blueprint "Warm pool of user machines". Which machines there are would come from the Machines API.
"""

from __future__ import annotations

import os

from web import Request, Response, replay, serve

unassigned = os.environ["POOL"].split()
assigned: dict[str, str] = {}


async def app(request: Request) -> Response:
    user = request.headers.get("x-user")
    if user is None:
        return Response(401)
    if user not in assigned:
        if not unassigned:
            return Response(503, "the pool is empty")
        assigned[user] = unassigned.pop(0)
    return replay(f"app=pool;instance={assigned[user]}", 307)


serve(app)
