"""ASGI application of the app: its routes, the sticky routing middleware and the background tasks.

Every machine serves the health check, the statistics, the static files, the creator links and the messages between
machines itself. The page and its WebSocket are behind the sticky routing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from sample_app import page, private_network
from sample_app.copying import Copies
from sample_app.creator_link import CreatorLink
from sample_app.directory import Directory, Machine, creator_on
from sample_app.discovery import Discovery
from sample_app.private_network import PrivateNetwork, came_through_proxy
from sample_app.request_log import RequestLog
from sample_app.settings import Settings
from sample_app.sticky import PARAMETER, StickyRouting
from sample_app.stream import PublishedStream, Stream, Traffic, Viewer
from sample_app.viewing import TRY_AGAIN_LATER, parse_object, serve_viewer

POLICY_VIOLATION = 1008


def build_site(settings: Settings) -> Starlette:
    site = Site(settings)
    links = CreatorLink(
        site.directory,
        parameter=site.parameter,
        replays=not settings.copies_streams,
        is_guarded=settings.is_guarded,
        stale=settings.stale_directory,
    )
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/stats", site.stats),
            Route("/creator/{name}", links.handle),
            WebSocketRoute(private_network.PATH, site.machines),
            Mount("/static", StaticFiles(directory=page.FOLDER)),
            Mount("/", behind_routing(site, settings)),
        ],
        lifespan=site.lifespan,
    )


def behind_routing(site: Site, settings: Settings) -> ASGIApp:
    app = RequestLog(Starlette(routes=[Route("/", site.page), WebSocketRoute("/ws", site.socket)]))
    if settings.copies_streams:
        return app
    return StickyRouting(
        app,
        own_id=settings.machine_id,
        cookie_max_age_seconds=settings.cookie_max_age_seconds,
        is_guarded=settings.is_guarded,
    )


async def healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n")


class Site:
    """The components of one machine and its request handlers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = Machine(settings.machine_id, settings.region, creator_on(settings.machine_id))
        self._traffic = Traffic()
        self._published = PublishedStream(self._own, self._traffic)
        self.directory = Directory(self._own)
        self.directory.on_change(self._send_machines_to_viewers)
        network = PrivateNetwork(
            app_name=settings.app_name, port=settings.port, dns_server=settings.dns_server
        )
        self._discovery = Discovery(self.directory, network, every_seconds=settings.discover_every_seconds)
        self._copies = Copies(self._own, network, self._traffic)
        self.parameter = "creator" if settings.copies_streams else PARAMETER

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._published.run()), asyncio.create_task(self._discovery.run())]
        yield
        for task in tasks:
            task.cancel()
        await self._discovery.announce_stop()

    async def page(self, request: Request) -> Response:
        watched = self._find_watched(request) or self._own
        text = page.render_page(self._settings, self.directory, watched, self.parameter)
        return HTMLResponse(text, headers={"cache-control": "no-store"})

    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        host = self._find_watched(websocket)
        if host is None:
            await websocket.close(TRY_AGAIN_LATER, "unknown creator")
            return
        viewer = Viewer()
        viewer.send(self._hello(viewer, host))
        with self._stream_of(host) as stream:
            await serve_viewer(websocket, stream, viewer, self._count_sent)

    async def machines(self, websocket: WebSocket) -> None:
        """Messages of other machines. Connections through the proxy are rejected."""
        if came_through_proxy(websocket):
            await websocket.close()
            return
        await websocket.accept()
        try:
            await self._serve_machine(websocket)
        except ValueError as error:
            await websocket.close(POLICY_VIOLATION, str(error)[:100])

    async def _serve_machine(self, websocket: WebSocket) -> None:
        """Raises ValueError for an invalid message."""
        while (received := await websocket.receive())["type"] == "websocket.receive":
            message = parse_object(received.get("text") or "")
            if message.get("type") == "copy_request":
                copier = Viewer(is_machine=True, watches=True)
                await serve_viewer(websocket, self._published, copier, self._count_copied)
                return
            reply = self._discovery.handle(message)
            if reply:
                await websocket.send_json(reply)

    async def stats(self, request: Request) -> Response:
        """Load of this machine: its viewers, the machines that copy from it, and bytes of streams."""
        are_machines = [viewer.is_machine for stream in self._streams for viewer in stream.viewers]
        load = {
            "viewers": are_machines.count(False),
            "copiers": are_machines.count(True),
            **asdict(self._traffic),
        }
        design = "copy" if self._settings.copies_streams else "sticky"
        return JSONResponse({**self._own.as_json(), "design": design, **load})

    @property
    def _streams(self) -> tuple[Stream, ...]:
        return (self._published, *self._copies.streams)

    def _find_watched(self, request: HTTPConnection) -> Machine | None:
        """The machine of the requested creator; in the sticky design always this machine."""
        machine_id = request.query_params.get(self.parameter) if self._settings.copies_streams else None
        return self.directory.find(machine_id) if machine_id else self._own

    @contextmanager
    def _stream_of(self, host: Machine) -> Iterator[Stream]:
        if host is self._own:
            yield self._published
        else:
            with self._copies.stream_of(host) as copy:
                yield copy

    def _hello(self, viewer: Viewer, host: Machine) -> dict[str, object]:
        watched = {"creator": host.creator, "host": host.id}
        return {
            "type": "hello",
            **self._own.as_json(),
            **watched,
            "you": viewer.name,
            **self._machines_as_json(),
        }

    def _machines_as_json(self) -> dict[str, object]:
        return {
            "machines": [{**machine.as_json(), "city": machine.city} for machine in self.directory.machines]
        }

    def _send_machines_to_viewers(self) -> None:
        """Machines that copy a stream do not get this message: they have their own directory."""
        message = {"type": "machines", **self._machines_as_json()}
        for stream in self._streams:
            for viewer in stream.viewers:
                if not viewer.is_machine:
                    viewer.send(message)

    def _count_sent(self, size: int) -> None:
        self._traffic.bytes_to_viewers += size

    def _count_copied(self, size: int) -> None:
        self._traffic.bytes_copied_out += size
