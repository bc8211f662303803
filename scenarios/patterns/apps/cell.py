"""Cells: the first path segment is the id of the machine that handles the request (P-14).

Only valid machine ids are copied into a header. Source: Fly's blueprint "Cell-based architecture".
"""

from __future__ import annotations

import re

from web import MACHINE, Request, Response, replay, serve

MACHINE_ID = re.compile(r"[0-9a-f]{14}")


async def app(request: Request) -> Response:
    cell, _, rest = request.path.lstrip("/").partition("/")
    if not MACHINE_ID.fullmatch(cell):
        return Response(404, "no such cell")
    if cell == MACHINE:
        return Response(200, f"cell {MACHINE}: /{rest}")
    if "fly-replay-src" in request.headers:  # A replay for another cell ended here: do not loop.
        return Response(508)
    return replay(f"instance={cell}", 409)


serve(app)
