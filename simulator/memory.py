"""Settings for the memory of a process that runs for long."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1  # malloc.h
_TRIM_THRESHOLD_BYTES = 128 * 1024


def prepare_for_long_run() -> None:
    """Call it once everything is loaded, before the first request."""
    gc.freeze()  # else a full collection visits all modules, and requests wait for it
    _return_freed_memory()


def _return_freed_memory() -> None:
    """Let glibc return freed memory to the system. By default it keeps more of it after each larger block.

    The default is the same 128 KiB, but grows to twice the largest freed block (mallopt(3), M_MMAP_THRESHOLD). Other
    C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
