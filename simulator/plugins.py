"""Plugins: objects that other distributions offer through entry points, by group and name.

The groups are `flysim.backends` and `flysim.reporters`; docs/extending.md shows one of each.
"""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError


def plugin_names(group: str) -> list[str]:
    """The names that installed distributions offer in this group, sorted."""
    from importlib.metadata import entry_points  # takes several milliseconds, so only when needed

    return sorted(entry_points(group=group).names)


def load_plugin(group: str, name: str) -> Any | None:
    """The object that an installed distribution offers; None if there is none.

    Raises InputError if it cannot be imported, with the distribution and the cause.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except Exception as error:
            owner = f" of {point.dist.name}" if point.dist else ""
            raise InputError(
                f"the plugin {name!r}{owner} cannot be loaded: {type(error).__name__}: {error}",
                expected=f"{point.value} to be importable (entry point group {group})",
            ) from error
    return None
