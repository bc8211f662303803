"""Front end that replays parts of its requests to other apps.

- `/api/…` goes to the API app without the prefix and with the front end's own credentials (P-28).
- `/data/…` goes to the API app too, and the proxy caches the replay, as for a Next.js front end (P-34).
- `*.pdf` goes to an appliance app that is stopped most of the time (P-16, Fly's blueprint "Shared nothing").
"""

from __future__ import annotations

from web import Request, Response, json_response, replay, serve

KIND = "application/vnd.fly.replay+json"


async def app(request: Request) -> Response:
    if request.path.endswith(".pdf"):
        return replay("app=smooth-pdf", 307)
    if request.path.startswith("/data/"):
        cached = {"fly_replay_cache": f"{request.host}/data/*", "fly_replay_cache_ttl_secs": "60"}
        return replay("app=api", 307, **cached)
    if request.path.startswith("/api/"):
        transform = {
            "path": request.target.removeprefix("/api"),
            "delete_headers": ["cookie"],
            "set_headers": [{"name": "authorization", "value": "Bearer of-the-front-end"}],
        }
        return json_response({"app": "api", "transform": transform}, kind=KIND)
    return Response(200, "<h1>The shop</h1>", {"Content-Type": "text/html"})


serve(app)
