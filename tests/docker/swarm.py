"""The swarm of the tests: the one that this node is in, else one of its own, which is left when the last test ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

IMAGE = "flysim-test-swarm:latest"
_FOLDER = Path(tempfile.gettempdir()) / f"flysim-test-swarm-{os.getuid()}"
_MADE = "made"


def docker(*words: str, stdin: str | None = None) -> str:
    """Its output. Raises CalledProcessError, whose text says what docker said."""
    result = subprocess.run(
        ["docker", *words], capture_output=True, text=True, input=stdin, check=False, timeout=100
    )
    assert result.returncode == 0, f"docker {' '.join(words)}: {result.stderr}"
    return result.stdout.strip()


def build_image() -> None:
    docker("build", "--quiet", "--tag", IMAGE, str(Path(__file__).parent / "app"))


@contextmanager
def swarm() -> Iterator[None]:
    """Shared by all processes that run tests: who comes first may have to make it, and who leaves last leaves it."""
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
            if not _users() and _is_made_by_us():
                (_FOLDER / _MADE).unlink()
                docker("swarm", "leave", "--force")


def _cluster() -> str:
    """The id of the swarm that this node is in, if it is in one."""
    return docker("info", "--format", "{{if .Swarm.Cluster}}{{.Swarm.Cluster.ID}}{{end}}")


def _is_made_by_us() -> bool:
    """One that somebody made later, after tests that were killed had left no time to leave theirs, is not."""
    made = _FOLDER / _MADE
    return made.exists() and made.read_text() == _cluster()


def _users() -> list[int]:
    """Processes that use it; what those left that were killed does not count."""
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


def leftovers(stack: str) -> list[str]:
    """What there still is of a stack: services, containers, networks."""
    wanted = ("--quiet", "--filter", f"label=com.docker.stack.namespace={stack}")
    kinds = (("service", "ls"), ("container", "ls", "--all"), ("network", "ls"))
    return [f"{kind[0]} {each}" for kind in kinds for each in docker(*kind, *wanted).split()]
