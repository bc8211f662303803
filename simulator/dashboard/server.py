"""HTTP server of the control API: uvicorn in the running event loop, without its signal handlers, logs and lifespan."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from simulator.dashboard.connection import RESPONSE_HEADERS, Connection
from simulator.dashboard.stream import Streams
from simulator.errors import EnvironmentFault
from simulator.retry import poll

GRACE_SECONDS = 0.25
"""How long open requests may continue after `stop`."""


class _Uvicorn(uvicorn.Server):
    """uvicorn's server with events for start and stop. It leaves signals to the command line."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()
        self.stop_requested = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stop_requested.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Like uvicorn's own method, without its pauses of 0.1 s."""
        for listening in self.servers:
            listening.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        await poll(self._is_drained, interval_seconds=0.005)

    def _is_drained(self) -> bool | None:
        """Polled, because uvicorn reports neither a closed connection nor a finished request."""
        return None if self.server_state.connections or self.server_state.tasks else True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ControlServer:
    """Serves `app` on one or several addresses; `port` 0 takes a free port."""

    def __init__(self, app: Starlette, host: str | Sequence[str] = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self._hosts = (host,) if isinstance(host, str) else tuple(host)
        self._port = port
        self._is_stopping = False
        self._uvicorn: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._listeners: list[socket.socket] = []

    async def start(self) -> int:
        """Returns the port once connections are accepted. Raises EnvironmentFault if it cannot listen there."""
        self._listeners = _listen_on_all(self._hosts, self._port)
        self._uvicorn = _Uvicorn(self._configure())
        serving = self._uvicorn.serve(sockets=list(self._listeners))
        self._serving = asyncio.create_task(serving, name="control API")
        listening = asyncio.create_task(self._uvicorn.is_listening.wait())
        await asyncio.wait([listening, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            listening.cancel()
            await self._serving  # The start failed: raise its error.
        return _port_of(self._listeners[0])

    def _configure(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._serve,
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            # Otherwise X-Forwarded-For would decide whether a client is on loopback.
            proxy_headers=False,
            headers=RESPONSE_HEADERS,
        )

    async def stop(self) -> None:
        """Ends live streams at once, and other open requests after GRACE_SECONDS."""
        if self._uvicorn is None or self._serving is None:
            return
        streams: Streams = self._app.state.streams
        streams.close()
        self._is_stopping = True
        self._uvicorn.stop_requested.set()
        await asyncio.wait([self._serving], timeout=GRACE_SECONDS)
        if not self._serving.done():
            await self._abort(self._uvicorn, self._serving)
        for listener in self._listeners:
            listener.close()  # uvicorn has closed them, unless it was aborted during its start.
        self._uvicorn = self._serving = None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise  # Otherwise `_abort` canceled it, and uvicorn would log an error.

    async def _abort(self, server: _Uvicorn, serving: asyncio.Task[None]) -> None:
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
    """Listen on the same port of every host. Raises EnvironmentFault."""
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
    # asyncio sets TCP_NODELAY only on sockets created with IPPROTO_TCP. Without it each response takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own listener.
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise _listen_error(host, port, error) from error
    listener.setblocking(False)
    return listener


def _listen_error(host: str, port: int, error: OSError) -> EnvironmentFault:
    if error.errno == errno.EADDRINUSE:
        problem = f"port {port} on {host} is in use, so the control API cannot listen there"
        return EnvironmentFault(
            problem,
            hint="stop the process that uses it, or set another `port` under [control], 0 for a free one",
        )
    problem = f"the control API cannot listen on {host}:{port}: {error.strerror or error}"
    if error.errno == errno.EADDRNOTAVAIL:
        return EnvironmentFault(problem, hint="use an address of this computer for --control-listen")
    return EnvironmentFault(problem, hint="set another `port` under [control]")
