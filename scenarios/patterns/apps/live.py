"""LiveView affinity: a page and its WebSocket must be on the same machine (P-19).

A plug in front of the WebSocket reads the machine id from the query or a cookie and replays with 307 before the
upgrade. Source: clutterstack, "Machine affinity with LiveView and fly-replay".
"""

from __future__ import annotations

from web import MACHINE, Request, Response, replay, serve


async def app(request: Request) -> Response | None:
    wanted = request.query.get("machine") or request.cookies.get("machine")
    if wanted and wanted != MACHINE and "fly-replay-src" not in request.headers:
        return replay(f"instance={wanted}", 307)
    if not request.is_upgrade:
        return Response(200, f"view {MACHINE}", {"Set-Cookie": f"machine={MACHINE}; Path=/"})
    socket = await request.accept()
    await socket.send(f"mounted on {MACHINE}")
    async for text in socket:
        await socket.send(f"{MACHINE} saw {text}")
    return None


serve(app)
