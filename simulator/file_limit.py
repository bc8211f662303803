"""Limit of open files: flysim uses as many as the system allows it, its machines as many as without flysim.

A proxied request needs two file descriptors. The soft limit is 1,024 on most Linux systems, 256 on macOS.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from contextlib import suppress

_MACOS_MAX_FILES = 10_240
"""`OPEN_MAX`: macOS refuses a higher limit, although it reports an infinite hard limit."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_original: tuple[int, int] | None = None


def raise_file_limit() -> None:
    """Raise the soft limit of this process to its hard limit."""
    global _original
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _MACOS_MAX_FILES) if sys.platform == "darwin" and hard > 0 else hard
    if sys.platform == "darwin" and hard == resource.RLIM_INFINITY:
        wanted = _MACOS_MAX_FILES
    if soft == wanted or (wanted != resource.RLIM_INFINITY and soft > wanted):
        return
    with suppress(OSError, ValueError):  # a sandbox may forbid it: flysim works with the lower limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        _original = _original or (soft, hard)


def restore_file_limit(pid: int) -> None:
    """Give a child process the limit that flysim itself was started with. Without effect on macOS, which cannot."""
    if _original is not None and sys.platform == "linux":
        with suppress(OSError):  # the process has ended
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _original)


def file_limit() -> int:
    """How many files this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def is_shortage(number: int | None) -> bool:
    """Whether this error number means that the process or the system has no more file descriptors or buffers."""
    return number in _SHORTAGES


def describe_shortage(error: OSError) -> str:
    """What is short, and how to get more of it, in one line."""
    reason = os.strerror(error.errno or errno.EMFILE).lower()
    return (
        f"{reason}; this process may open {file_limit()} files; hint: raise the limit with `ulimit -n` before flysim "
        "is started, or use fewer connections"
    )
