"""Client-side pinning with `fly-force-instance-id`, which a script in a page can send (P-3).

- `/` contains the machine id for the page's script (Fly's blueprint "Session affinity").
- `/rpc` names the header that the client should send from then on (P-4, as in vgi-rpc).
- `/owner` returns the machine for a large upload, `/upload` accepts it: it is too large to be replayed (P-29).
- `/ping` returns the region, for a page that measures regions with `fly-force-region` (P-30).
"""

from __future__ import annotations

from web import MACHINE, REGION, Request, Response, json_response, serve

PAGE = """<script>
  const machine = "{machine}"
  const call = (path) => fetch(path, {{ headers: {{ "fly-force-instance-id": machine }} }})
</script>"""


async def app(request: Request) -> Response:
    match request.path:
        case "/":
            return Response(200, PAGE.format(machine=MACHINE), {"Content-Type": "text/html"})
        case "/rpc":
            return json_response({"machine": MACHINE}, x_echo=f"fly-force-instance-id: {MACHINE}")
        case "/owner":
            return json_response({"machine": MACHINE})
        case "/upload":
            return json_response({"machine": MACHINE, "bytes": len(request.body)}, 201)
        case "/ping":
            return json_response({"region": REGION, "edge": request.headers["fly-region"]})
    return Response(404)


serve(app)
