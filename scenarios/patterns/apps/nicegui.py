"""Socket.IO as NiceGUI's website has it (P-20): polling keeps to its machine by a header, the WebSocket by a query.

A browser can set no header on a WebSocket (F-1.93), and the framework can only answer one by accepting it, so the
replay stands on a 101 (F-1.90). Whether the machine is still there is asked of the name server first (F-8.14).
Source: zauberzeug/nicegui website/fly.py.
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
