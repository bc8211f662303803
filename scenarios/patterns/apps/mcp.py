"""MCP server with sessions in memory: the session id starts with the id of its machine (P-12).

It uses `prefer_instance` instead of `instance`: if the machine no longer exists, the client gets a 404, which starts a
new session in the protocol, instead of a 502. Source: hyodotdev/openiap packages/mcp-server/src/session-routing.ts.
"""

from __future__ import annotations

from web import MACHINE, Request, Response, json_response, replay, serve

REPLAY_HEADERS = ("fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable")
calls: dict[str, int] = {}


async def app(request: Request) -> Response:
    session = request.headers.get("mcp-session-id")
    if session is None:
        session = f"{MACHINE}.{len(calls)}"
        calls[session] = 0
        return json_response({"machine": MACHINE}, mcp_session_id=session)
    if session in calls:
        calls[session] += 1
        return json_response({"machine": MACHINE, "calls": calls[session]})
    owner = session.partition(".")[0]
    if owner == MACHINE or any(
        name in request.headers for name in REPLAY_HEADERS
    ):  # Replay only once (F-1.40).
        return json_response({"error": "no such session"}, 404)
    return replay(f"prefer_instance={owner};timeout=5s", 307)


serve(app)
