"""Router that checks the client before it replays: a token (P-13) and credit (P-27).

A cached replay would bypass both checks (F-2.9), so nothing is cached here. Sources: Fly's blueprint "Remote MCP
servers", 2witstudios/PageSpace.
"""

from __future__ import annotations

from web import Request, Response, replay, serve

USERS = {"token-of-alice": "dev-alice", "token-of-bob": "dev-bob"}
credit = {"dev-alice": 2, "dev-bob": 100}


async def app(request: Request) -> Response:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    name = USERS.get(token)
    if name is None:
        return Response(401, headers={"WWW-Authenticate": "Bearer"})
    if not credit[name]:
        return Response(402, "top up")  # The machine is not started.
    credit[name] -= 1
    return replay(f"app={name}", 200)


serve(app)
