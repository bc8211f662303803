"""Warm pool of unassigned machines: the router assigns one of them to each new user (P-11).

In production the list of machines would come from the Machines API. Source: Fly's blueprint "Warm pool of user
machines".
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
