"""A relay of tunnels: whoever holds the tunnel of a hostname answers for it (P-26).

The owner is in a directory that all machines see, in Redis; here `POST /moved` tells each of them. The proxy is asked
to remember the owner per host. When the tunnel moves, a remembered request comes to the wrong machine: that one sends
it on and has the entry forgotten. What is too large to be replayed is passed on over the private network.
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
