"""Asynchronous access to the Docker engine: SDK calls in threads, SDK exceptions mapped to faults.

The SDK blocks, so every call runs in a thread. The engine carries out a request even if its caller is canceled;
`wait_for_pending` waits for all requests in flight, so that cleanup sees every container that was being created.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from simulator.cancellation import run_abandonable, set_outcome
from simulator.errors import EnvironmentFault

if TYPE_CHECKING:
    from docker.api.client import APIClient

T = TypeVar("T")

_MAX_THREADS = 16
_MAX_CONNECTIONS = 256
"""Each running container holds one connection for its log stream."""
_REQUEST_TIMEOUT_SECONDS = 60
LOOPBACK = "127.0.0.1"
PROCESS_BACKEND_HINT = "or run the machines as processes: --backend process, without --compose"


class EngineError(EnvironmentFault):
    """The engine responded with an error: 404 for a missing object, 409 for a conflict with the object's state."""

    def __init__(self, explanation: str, status: int) -> None:
        self.explanation = explanation
        self.status = status
        super().__init__(f"error response from the Docker engine: {explanation}")

    @property
    def is_container_gone(self) -> bool:
        """Whether the container has been removed."""
        return self.status == HTTPStatus.NOT_FOUND and "no such container" in self.explanation.lower()

    @property
    def is_gone_or_conflict(self) -> bool:
        """Whether the object has been removed, or is in the requested state already."""
        return self.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class Engine:
    """One engine, selected by DOCKER_HOST and the other variables of the Docker SDK."""

    def __init__(self, api: APIClient) -> None:
        self.api = api
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="docker")
        self._pending: set[asyncio.Future[Any]] = set()

    @classmethod
    async def connect(cls) -> Engine:
        """Raises EnvironmentFault if no engine answers, or if this user may not use it."""
        return await asyncio.to_thread(_connect)

    async def call(self, request: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run one request. Raises EngineError for an error response, EnvironmentFault if the connection fails."""
        # Not an asyncio.Future: it logs an error that is never retrieved, and the caller may have been canceled.
        outcome: Future[T] = Future()
        work = partial(request, *args, **options)
        done = asyncio.get_running_loop().run_in_executor(self._threads, set_outcome, outcome, work)
        self._pending.add(done)
        done.add_done_callback(self._pending.discard)
        await asyncio.shield(done)
        with self._translated_errors():
            return outcome.result()

    async def call_cancellable(self, request: Callable[..., T], *args: Any) -> T:
        """Like `call`, for a request that may take minutes and has no effect to undo: abandoned on cancellation."""
        with self._translated_errors():
            return await run_abandonable(request, *args)

    async def wait_for_pending(self) -> None:
        """Wait until no request is in flight. If this is canceled, the requests continue."""
        while self._pending:
            await asyncio.wait(self._pending)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        from docker.errors import APIError
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except APIError as error:
            raise EngineError(str(error.explanation or error), error.status_code or 0) from error
        except (RequestException, HTTPError) as error:  # No connection, or an incomplete response.
            raise EnvironmentFault(
                f"the connection to the Docker engine at {self.address} failed: {_root_cause(error)}",
                hint=f"check that it runs: docker info; {PROCESS_BACKEND_HINT}",
            ) from error

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self.api.close()

    @property
    def address(self) -> str:
        return os.environ.get("DOCKER_HOST") or "its default socket"

    @property
    def is_local(self) -> bool:
        return self.published_host == LOOPBACK

    @property
    def published_host(self) -> str:
        """The host on which published ports are reachable: this computer, or the engine's."""
        url = urlsplit(os.environ.get("DOCKER_HOST", ""))
        return url.hostname if url.scheme in ("tcp", "http", "https", "ssh") and url.hostname else LOOPBACK

    @property
    def publishing_address(self) -> str:
        """The address on the engine's host to which ports are published."""
        return LOOPBACK if self.is_local or self.published_host == "localhost" else "0.0.0.0"


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for them. Their requests in flight continue: see `Engine.wait_for_pending`."""
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _connect() -> Engine:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(
            use_ssh_client=True, timeout=_REQUEST_TIMEOUT_SECONDS, max_pool_size=_MAX_CONNECTIONS
        )
        client.ping()
    except (DockerException, OSError, ValueError) as error:
        raise _connection_fault(error) from error
    return Engine(client.api)


def _connection_fault(error: BaseException) -> EnvironmentFault:
    cause = _root_cause(error)
    where = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
    if isinstance(cause, PermissionError):
        return EnvironmentFault(
            f"permission denied: this user may not access the Docker engine at {where}",
            hint=f"add the user to the group docker (equivalent to root access), {PROCESS_BACKEND_HINT}",
        )
    if isinstance(cause, FileNotFoundError | ConnectionRefusedError | socket.gaierror):
        return EnvironmentFault(
            f"cannot connect to a Docker engine at {where}: {cause.strerror}",
            hint=f"start the engine, or set DOCKER_HOST to the address of one; {PROCESS_BACKEND_HINT}",
        )
    if isinstance(cause, NameError):  # The SDK raises it if paramiko is not installed.
        return EnvironmentFault(
            f"cannot connect to a Docker engine at {where}: this needs paramiko, which is not installed",
            hint="run pip install paramiko in flysim's environment, or forward the socket and set DOCKER_HOST to it: "
            "ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST",
        )
    return EnvironmentFault(
        f"cannot connect to a Docker engine at {where}: {cause}",
        hint=f"check the output of docker info; {PROCESS_BACKEND_HINT}",
    )


def _root_cause(error: BaseException) -> BaseException:
    """The SDK wraps exceptions of requests, which wraps those of urllib3, which wraps OSError."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or error.__context__ or _first_exception(error.args)
        if inner is None or (isinstance(error, OSError) and error.errno is not None):
            break
        error = inner
    return error


def _first_exception(args: tuple[object, ...]) -> BaseException | None:
    return next((each for each in args if isinstance(each, BaseException)), None)
