"""Jobs that must run in one region (P-22), and jobs whose owner may have died (P-23).

- `POST /in/<region>` is run there or not at all: the fallback tells that it did not work, and nothing is run here.
- `POST /of/<machine>` is run by its owner; if that is gone, by the machine that noticed, from then on.
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
                return Response(503, f"nobody in {target}")
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
