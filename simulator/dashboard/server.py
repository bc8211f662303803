"""Serves the control API inside the event loop that is running: uvicorn without its signals, logs and lifespan."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from simulator.dashboard.stream import Streams
from simulator.errors import EnvironmentFault

GRACE_SECONDS = 0.25
"""How long requests under way may go on once the API is asked to stop."""


class _Uvicorn(uvicorn.Server):
    """Tells when it listens, and leaves signals alone: they are the command line's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()
        self.leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, but for its pauses of a tenth of a second each."""
        for listening in self.servers:
            listening.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.005)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ControlServer:
    """`app` on `host`, one address or several; `port` 0 takes a free one."""

    def __init__(self, app: Starlette, host: str | Sequence[str] = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self._hosts = (host,) if isinstance(host, str) else tuple(host)
        self._port = port
        self._is_stopping = False
        self._uvicorn: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._listeners: list[socket.socket] = []

    async def start(self) -> int:
        """Returns the port once connections are accepted. Raises EnvironmentFault if there is no having it."""
        self._listeners = _listen_on_all(self._hosts, self._port)
        self._uvicorn = _Uvicorn(self._configure())
        serving = self._uvicorn.serve(sockets=list(self._listeners))
        self._serving = asyncio.create_task(serving, name="control API")
        listening = asyncio.create_task(self._uvicorn.is_listening.wait())
        await asyncio.wait([listening, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            listening.cancel()
            await self._serving  # it has failed, and says why
        return _port_of(self._listeners[0])

    def _configure(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._answer,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
        )

    async def stop(self) -> None:
        """Ends live streams at once, and whatever else is under way after a moment."""
        if self._uvicorn is None or self._serving is None:
            return
        streams: Streams = self._app.state.streams
        streams.close()
        self._is_stopping = True
        self._uvicorn.leaving.set()
        await asyncio.wait([self._serving], timeout=GRACE_SECONDS)
        if not self._serving.done():
            await self._break_off(self._uvicorn, self._serving)
        for listener in self._listeners:
            listener.close()  # uvicorn does that, unless it was broken off while it started
        self._uvicorn = self._serving = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise  # else it was broken off below, and uvicorn would report it

    async def _break_off(self, server: _Uvicorn, serving: asyncio.Task[None]) -> None:
        for connection in tuple(server.server_state.connections):
            transport = connection.transport
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        for task in tuple(server.server_state.tasks):
            task.cancel()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        for listening in server.servers:
            listening.close()


def _listen_on_all(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """On the same port of each. Raises EnvironmentFault."""
    listeners: list[socket.socket] = []
    try:
        for host in hosts:
            listeners.append(_listen(host, _port_of(listeners[0]) if listeners else port))
    except EnvironmentFault:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off (40 ms for every answer) only where it sees that the protocol is TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a listener of its own.
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise _fault(host, port, error) from error
    listener.setblocking(False)
    return listener


def _fault(host: str, port: int, error: OSError) -> EnvironmentFault:
    if error.errno == errno.EADDRINUSE:
        problem = f"port {port} of the control API is taken on {host}"
        return EnvironmentFault(
            problem, hint="stop what holds it, or set another `port` under [control]; 0: any"
        )
    problem = f"the control API cannot listen on {host}:{port}: {error.strerror or error}"
    return EnvironmentFault(problem, hint="set another `port` under [control]")
