"""Cells: the first segment of a path is the machine that the rest is about (P-14).

Source: Fly's blueprint "Cell-based architecture". Whatever does not look like an id is never echoed into a header.
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
    if "fly-replay-src" in request.headers:  # it was sent here as this cell and is not: no loop
        return Response(508)
    return replay(f"instance={cell}", 409)


serve(app)
