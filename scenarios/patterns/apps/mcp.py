"""An MCP server with sessions in memory: the session id begins with the machine that holds it (P-12).

`prefer_instance` and not `instance`: where the machine is gone the client is told to begin anew, with a 404 as the
protocol asks, and does not run into a 502. Source: hyodotdev/openiap packages/mcp-server/src/session-routing.ts.
"""

from __future__ import annotations

from web import MACHINE, Request, Response, json_response, replay, serve

ROUTED = ("fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable")
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
    if owner == MACHINE or any(name in request.headers for name in ROUTED):  # once only (F-1.40)
        return json_response({"error": "no such session"}, 404)
    return replay(f"prefer_instance={owner};timeout=5s", 307)


serve(app)
