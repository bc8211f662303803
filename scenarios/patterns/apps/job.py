"""Jobs bound to a region (P-22), and jobs whose owner may no longer exist (P-23).

- `POST /in/<region>` runs in that region or not at all: after a fallback the app responds with 503.
- `POST /of/<machine>` runs on its owner. If that no longer exists, the replaying machine takes over its jobs.
"""

from __future__ import annotations

from web import MACHINE, REGION, Request, Response, json_response, replay, serve

taken_over: set[str] = set()


async def app(request: Request) -> Response:
    _, kind, target = request.path.split("/")
    has_failed = "fly-replay-failed" in request.headers
    if kind == "in":
        if target != REGION:
            if has_failed:
                return Response(503, f"no machine in {target}")
            return replay(f"region={target};fallback=force_self", 202)
        return Response(202, f"queued in {REGION}")
    if has_failed:
        taken_over.add(target)
    if target != MACHINE and target not in taken_over:
        return replay(f"instance={target};timeout=5s;fallback=prefer_self", 307)
    return json_response(
        {"machine": MACHINE, "owner": target, "why": request.headers.get("fly-replay-failed")}
    )


serve(app)
