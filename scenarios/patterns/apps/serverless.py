"""Machines for background tasks that replay web requests to any other machine (P-21).

Source: katiayn/django-fly-replay, a middleware.
"""

from __future__ import annotations

import os

from web import MACHINE, Request, Response, replay, serve

IS_SERVERLESS = MACHINE in os.environ["SERVERLESS"].split()


async def app(request: Request) -> Response:
    if IS_SERVERLESS:
        return replay("elsewhere=true", 200)
    return Response(200, f"page of {MACHINE}")


serve(app)
