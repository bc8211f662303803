"""Serves the control API inside the event loop that is running: uvicorn without its signals, logs and lifespan."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette

from simulator.dashboard.stream import Streams
from simulator.errors import EnvironmentFault

GRACE_SECONDS = 0.25
"""How long requests under way may go on once the API is asked to stop."""


class _Uvicorn(uvicorn.Server):
    """Tells when it listens, and leaves signals alone: they are the command line's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ControlServer:
    """`app` on `host`; `port` 0 takes a free one."""

    def __init__(self, app: Starlette, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._uvicorn: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Returns the port once connections are accepted. Raises EnvironmentFault if there is no having it."""
        listener = _listen(self._host, self._port)
        config = uvicorn.Config(
            self._app, http="h11", ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
            server_header=False, date_header=False,
        )  # fmt: skip
        self._uvicorn = _Uvicorn(config)
        self._serving = asyncio.create_task(self._uvicorn.serve(sockets=[listener]), name="control API")
        await self._uvicorn.is_listening.wait()
        port: int = listener.getsockname()[1]
        return port

    async def stop(self) -> None:
        """Ends live streams at once, and whatever else is under way after a moment."""
        if self._uvicorn is None or self._serving is None:
            return
        streams: Streams = self._app.state.streams
        streams.close()
        self._uvicorn.should_exit = True
        await asyncio.wait([self._serving], timeout=GRACE_SECONDS)
        if not self._serving.done():
            await self._break_off(self._uvicorn, self._serving)
        self._uvicorn = self._serving = None

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


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
            problem, mend="stop what holds it, or set another `port` under [control]; 0: any"
        )
    problem = f"the control API cannot listen on {host}:{port}: {error.strerror or error}"
    return EnvironmentFault(problem, mend="set another `port` under [control]")
