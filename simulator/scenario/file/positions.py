"""Where in a file something stands that a model calls by another path.

The models see steps after `request: {path: …}` was opened into keys of the step, and pydantic puts the names of
union members between the keys. Here such a path is followed through what was really written.
"""

from __future__ import annotations

from typing import Any

from simulator.config.yaml_document import KeyPath
from simulator.scenario.steps import STEPS, find_kind


def path_in_file(path: KeyPath, data: Any) -> KeyPath:
    """The path through `data` that comes as near to the end of `path` as it can."""
    found: list[str | int] = []
    for key in path:
        for step in _keys_in_file(key, data):
            found.append(step)
            data = data[step]
    return tuple(found)


def _keys_in_file(key: str | int, data: Any) -> tuple[str | int, ...]:
    """The key or keys that lead from `data` on to what `path` calls `key`; none where it names nothing here."""
    if isinstance(data, list):
        return (key,) if isinstance(key, int) and key < len(data) else ()
    if not isinstance(data, dict):
        # A list of one may be written without its brackets; then the place does not change.
        return ()
    inner = _inner_key(data)
    if key == inner and isinstance(data[inner], dict):
        names = [name for name in STEPS[inner].inner_keys if name in data[inner]]
        return (inner, names[0]) if names else (inner,)
    if key in data:
        return (key,)
    if inner is not None and isinstance(data[inner], dict):
        if key in data[inner]:
            return (inner, key)
        if key == "condition":
            return (inner,)
    return ()


def _inner_key(data: dict[str, Any]) -> str | None:
    return find_kind(data)
