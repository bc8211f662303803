"""The Docker engine: its answers awaited in threads of our own, its failures told in the user's words.

The SDK blocks, so every request has a thread. A request that was begun is carried out also when whoever asked has
been cancelled, and `settle` waits for all of them: a container that is being made is never overlooked at the end.
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

_THREADS = 16
_SOCKETS = 256
"""Log streams stay open for as long as their machines run."""
_SLOWEST_SECONDS = 60
LOOPBACK = "127.0.0.1"
USE_PROCESSES = "or run the machines as processes: --backend process, and no --compose"


class Refusal(EnvironmentFault):
    """The engine answers, and will not: 404 for what is not there, 409 for what its state does not allow."""

    def __init__(self, explanation: str, status: int) -> None:
        self.explanation = explanation
        self.status = status
        super().__init__(f"the Docker engine refuses: {explanation}")

    @property
    def is_out_of_date(self) -> bool:
        """Whether it is only that somebody else was quicker: what was to be changed is gone, or so already."""
        return self.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class Engine:
    """One engine, as DOCKER_HOST and the like name it."""

    def __init__(self, api: APIClient) -> None:
        self.api = api
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._pending: set[asyncio.Future[Any]] = set()

    @classmethod
    async def connect(cls) -> Engine:
        """Raises EnvironmentFault when no engine answers, or when it may not be asked."""
        return await asyncio.to_thread(_connect)

    async def do(self, request: Callable[..., T], *args: Any, **options: Any) -> T:
        """One request. Raises Refusal; EnvironmentFault for an engine that has gone."""
        answer: Future[T] = (
            Future()
        )  # Not asyncio's: that tells the terminal of errors for which nobody waits any more.
        work = partial(request, *args, **options)
        done = asyncio.get_running_loop().run_in_executor(self._threads, set_outcome, answer, work)
        self._pending.add(done)
        done.add_done_callback(self._pending.discard)
        await asyncio.shield(done)
        with self._in_words():
            return answer.result()

    async def do_abandonable(self, request: Callable[..., T], *args: Any) -> T:
        """As `do`, for what may take minutes and leaves nothing behind: given up together with whoever asked."""
        with self._in_words():
            return await run_abandonable(request, *args)

    async def settle(self) -> None:
        """Wait until nothing is under way; what is goes on also when this is cancelled."""
        while self._pending:
            await asyncio.wait(self._pending)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        from docker.errors import APIError
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except APIError as error:
            raise Refusal(str(error.explanation or error), error.status_code or 0) from error
        except (RequestException, HTTPError) as error:  # It cannot be reached, or broke off in mid-answer.
            raise EnvironmentFault(
                f"the Docker engine at {self.address} does not answer any more: {_root_cause(error)}",
                hint=f"see whether it runs: docker info; {USE_PROCESSES}",
            ) from error

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self.api.close()

    @property
    def address(self) -> str:
        return os.environ.get("DOCKER_HOST") or "its usual socket"

    @property
    def is_local(self) -> bool:
        return self.published_host == LOOPBACK

    @property
    def published_host(self) -> str:
        """Where ports are that containers publish: on this computer, or on the engine's."""
        url = urlsplit(os.environ.get("DOCKER_HOST", ""))
        return url.hostname if url.scheme in ("tcp", "http", "https", "ssh") and url.hostname else LOOPBACK

    @property
    def publishing_address(self) -> str:
        """On which of the engine's addresses to publish them."""
        return LOOPBACK if self.is_local or self.published_host == "localhost" else "0.0.0.0"


async def give_up(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Let no task ask for anything more; a request that is under way is waited for by `settle`."""
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _connect() -> Engine:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(use_ssh_client=True, timeout=_SLOWEST_SECONDS, max_pool_size=_SOCKETS)
        client.ping()
    except (DockerException, OSError, ValueError) as error:
        raise _no_engine(error) from error
    return Engine(client.api)


def _no_engine(error: BaseException) -> EnvironmentFault:
    cause = _root_cause(error)
    where = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
    if isinstance(cause, PermissionError):
        return EnvironmentFault(
            f"the Docker engine at {where} may not be used by this user",
            hint=f"ask for membership in the group docker (it is as good as root), {USE_PROCESSES}",
        )
    if isinstance(cause, FileNotFoundError | ConnectionRefusedError | socket.gaierror):
        return EnvironmentFault(
            f"no Docker engine answers at {where}: {cause.strerror}",
            hint=f"start it, or let DOCKER_HOST name the one to use; {USE_PROCESSES}",
        )
    if isinstance(cause, NameError):  # What the SDK comes to where that is missing.
        return EnvironmentFault(
            f"no Docker engine is reached by {where}: that takes paramiko, which is not installed",
            hint="pip install paramiko where flysim is, or let DOCKER_HOST name a socket that is forwarded: "
            "ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST",
        )
    return EnvironmentFault(
        f"no Docker engine answers at {where}: {cause}",
        hint=f"see what `docker info` says; {USE_PROCESSES}",
    )


def _root_cause(error: BaseException) -> BaseException:
    """The SDK wraps requests' errors, which wrap urllib3's, which wrap the operating system's."""
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
