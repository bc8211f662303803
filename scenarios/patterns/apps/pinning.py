"""Pages and clients that pin themselves: with `fly-force-instance-id`, which a browser's script can send (P-3).

- `/` embeds the machine's id for the page's script (Fly's blueprint "Session affinity").
- `/rpc` tells a client in the answer which header to send from now on (P-4, as vgi-rpc does it).
- `/owner` says who will take a large upload, `/upload` takes it: too large to be replayed (P-29).
- `/ping` tells the region, for a page that measures them with `fly-force-region` (P-30).
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
