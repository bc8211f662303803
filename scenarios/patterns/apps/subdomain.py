"""Router for *.example.com with one app per subdomain; the replay cache makes the router decide only once (P-10).

Source: Fly's blueprint "Per-user dev environments".
"""

from __future__ import annotations

from web import Request, Response, replay, serve

APPS = {"alice": "dev-alice", "bob": "dev-bob"}


async def app(request: Request) -> Response:
    name = APPS.get(request.host.removesuffix(".example.com"))
    if name is None:
        return Response(404, "no such environment")
    cached = {"fly_replay_cache": f"{request.host}/*", "fly_replay_cache_ttl_secs": "300"}
    return replay(f"app={name}", 307, **cached)


serve(app)
