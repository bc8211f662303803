"""Swarm for the tests: the node's own swarm, otherwise a new one, which is left when the last test ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from simulator.retry import poll_blocking, retry_on_blocking

IMAGE = "flysim-test-swarm:latest"
_FOLDER = Path(tempfile.gettempdir()) / f"flysim-test-swarm-{os.getuid()}"
_MADE = "made"


class ConcurrentUpdateError(AssertionError):
    """Swarm itself changed the service between the command's read and its write."""


def docker(*arguments: str, stdin: str | None = None) -> str:
    """The output of a docker command. Raises AssertionError with its stderr if it fails."""
    return retry_on_blocking(ConcurrentUpdateError, attempts=5)(_docker, *arguments, stdin=stdin)


def _docker(*arguments: str, stdin: str | None) -> str:
    result = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, input=stdin, check=False, timeout=100
    )
    failure = f"docker {' '.join(arguments)}: {result.stderr}"
    if "update out of sequence" in result.stderr:
        raise ConcurrentUpdateError(failure)
    assert result.returncode == 0, failure
    return result.stdout.strip()


def build_image() -> None:
    docker("build", "--quiet", "--tag", IMAGE, str(Path(__file__).parent / "app"))


@contextmanager
def swarm() -> Iterator[None]:
    """Shared by all test processes: the first creates it if there is none, the last one leaves it."""
    own = _FOLDER / str(os.getpid())
    with _locked():
        if not _cluster():
            docker("swarm", "init", "--advertise-addr", "127.0.0.1")
            (_FOLDER / _MADE).write_text(_cluster())
        own.touch()
    try:
        yield
    finally:
        with _locked():
            own.unlink(missing_ok=True)
            if not _users() and _is_ours():
                (_FOLDER / _MADE).unlink()
                docker("swarm", "leave", "--force")


def _cluster() -> str:
    """The id of this node's swarm; "" if there is none."""
    return docker("info", "--format", "{{if .Swarm.Cluster}}{{.Swarm.Cluster.ID}}{{end}}")


def _is_ours() -> bool:
    """Compares the ids: after killed tests, another swarm may have been created."""
    made = _FOLDER / _MADE
    return made.exists() and made.read_text() == _cluster()


def _users() -> list[int]:
    """Running processes that use the swarm; entries of killed processes do not count."""
    return [
        int(each.name)
        for each in _FOLDER.iterdir()
        if each.name.isdigit() and psutil.pid_exists(int(each.name))
    ]


@contextmanager
def _locked() -> Iterator[None]:
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_stack(name: str) -> None:
    """Wait until nothing of the stack is left. The command fails as long as a task uses the stack's network."""

    def is_removed() -> bool | None:
        subprocess.run(["docker", "stack", "rm", name], capture_output=True, check=False, timeout=100)
        return not leftovers(name) or None

    removed = poll_blocking(is_removed, timeout_seconds=60, interval_seconds=0.2)
    assert removed, f"stack {name} is not removed: {leftovers(name)}"


def leftovers(stack: str) -> list[str]:
    """Services, containers and networks of a stack."""
    wanted = ("--quiet", "--filter", f"label=com.docker.stack.namespace={stack}")
    kinds = (("service", "ls"), ("container", "ls", "--all"), ("network", "ls"))
    return [f"{kind[0]} {each}" for kind in kinds for each in docker(*kind, *wanted).split()]
