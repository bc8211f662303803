"""ASGI app of the control API and its web page."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from simulator.dashboard.access_guard import AccessGuard
from simulator.dashboard.controls import Controls
from simulator.dashboard.flysim_api import FlysimApi
from simulator.dashboard.machine_history import MachineHistories
from simulator.dashboard.machines_api import MachinesApi
from simulator.dashboard.request_body import RequestBodies
from simulator.dashboard.responses import (
    ApiError,
    respond_to_api_error,
    respond_to_bug,
    respond_to_http_error,
    respond_to_simulator_error,
)
from simulator.dashboard.stream import Streams
from simulator.errors import SimulatorError

_PAGE = Path(__file__).with_name("page.html")
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def make_app(controls: Controls, *, streams: Streams | None = None, token: str | None = None) -> Starlette:
    """The app. Its live streams are in `app.state.streams`; the server closes them when it stops.

    `token`: what connections that are not from loopback must present; None refuses all of them.
    """
    streams = Streams(controls.bus) if streams is None else streams
    histories = MachineHistories(controls.bus, controls.fleet, controls.clock.now)
    app = Starlette(
        routes=[
            Route("/", _page, methods=["GET"]),
            *MachinesApi(controls, histories, streams).routes(),
            *FlysimApi(controls, streams).routes(),
        ],
        middleware=[Middleware(AccessGuard, token=token), Middleware(RequestBodies)],
        exception_handlers={
            ApiError: respond_to_api_error,
            HTTPException: respond_to_http_error,
            SimulatorError: respond_to_simulator_error,
            Exception: respond_to_bug,
        },
    )
    app.router.redirect_slashes = False
    app.state.streams = streams
    return app


async def _page(request: Request) -> Response:
    return HTMLResponse(_PAGE.read_bytes(), headers=_PAGE_HEADERS)
