"""Shared nothing: each site has its data in one region, which every machine knows (P-15).

WebSockets are replayed to that region. Everything else goes there over the private network, because uploads may exceed
the body limit of a replay (F-1.32, F-1.37). Source: Fly's blueprint "Shared nothing", where nginx does this.
"""

from __future__ import annotations

from private import addresses, forward
from web import APP, REGION, Request, Response, replay, serve

SITES = {"amersfoort": "ams", "austin": "dfw"}


async def app(request: Request) -> Response | None:
    _, site, action = request.path.split("/", 2)
    home = SITES.get(site)
    if home is None:
        return Response(404)
    if home != REGION:
        if request.is_upgrade:
            return replay(f"region={home}", 307)
        return await forward(request, (await addresses(f"{home}.{APP}.internal"))[0])
    if not request.is_upgrade:
        return Response(200, f"{site} in {REGION}: {action}, {len(request.body)} bytes")
    socket = await request.accept()
    await socket.send(f"cable of {site} in {REGION}")
    async for _ in socket:
        pass
    return None


serve(app)
