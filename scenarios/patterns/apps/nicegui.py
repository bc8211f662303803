"""Socket.IO affinity as on NiceGUI's website (P-20): by a header for polling, by a query parameter for the WebSocket.

A browser cannot set headers on a WebSocket (F-1.93), and the framework can only accept an upgrade, so the replay is
part of a 101 response (F-1.90). The app first checks in DNS whether the machine still exists (F-8.14). Source:
zauberzeug/nicegui website/fly.py.
"""

from __future__ import annotations

from private import addresses
from web import APP, MACHINE, Request, Response, serve


async def app(request: Request) -> Response | None:
    if not request.is_upgrade:
        return Response(200, MACHINE)
    wanted = request.query.get("fly_instance_id", MACHINE)
    if wanted != MACHINE and await addresses(f"{wanted}.vm.{APP}.internal"):
        await request.accept({"fly-replay": f"instance={wanted}"})
        return None
    socket = await request.accept()
    await socket.send(f"connected to {MACHINE}")
    async for text in socket:
        await socket.send(text)
    return None


serve(app)
