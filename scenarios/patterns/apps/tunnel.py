"""Tunnel relay: the machine with the tunnel of a hostname handles its requests (P-26).

In production the owners would be in a shared directory such as Redis; here `POST /moved` informs each machine. The
proxy caches the owner per host. After a tunnel has moved, a cached replay reaches the wrong machine, which replays to
the new owner and invalidates the entry. Bodies that are too large to replay are forwarded over the private network.
"""

from __future__ import annotations

from private import addresses, forward
from web import APP, MACHINE, Request, Response, json_response, replay, serve

MAX_REPLAY_BYTES = 1_000_000
owners: dict[str, str] = {}


async def app(request: Request) -> Response:
    if request.path == "/moved":
        owners[request.query["host"]] = request.query["to"]
        return Response(204)
    owner = owners.get(request.host)
    if owner is None:
        return Response(404, "no tunnel")
    status = request.headers.get("fly-replay-cache-status")
    if owner == MACHINE:
        return json_response({"machine": MACHINE, "bytes": len(request.body), "cache": status})
    if len(request.body) > MAX_REPLAY_BYTES:
        return await forward(request, (await addresses(f"{owner}.vm.{APP}.internal"))[0])
    if status == "hit":
        return replay(f"instance={owner}", fly_replay_cache="invalidate")
    return replay(f"instance={owner}", fly_replay_cache=f"{request.host}/*", fly_replay_cache_ttl_secs="600")


serve(app)
