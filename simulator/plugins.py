"""Plugins: objects that other distributions offer through entry points, by group and name.

The groups are `flysim.backends` and `flysim.reporters`; docs/extending.md shows one of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from simulator.crash_report import write_traceback
from simulator.errors import EnvironmentFault, InputError, SimulatorError

T = TypeVar("T")


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
        except (Exception, SystemExit) as error:
            owner = f" of {point.dist.name}" if point.dist else ""
            raise InputError(
                f"the plugin {name!r}{owner} cannot be loaded: {type(error).__name__}: {error}",
                expected=f"{point.value} to be importable (entry point group {group})",
            ) from error
    return None


def call_plugin(plugin: str, function: Callable[..., T], *arguments: object) -> T:
    """Call a plugin's function. Raises EnvironmentFault that names `plugin`, not flysim, if it fails."""
    try:
        return function(*arguments)
    except SimulatorError:
        raise
    except Exception as error:
        raise EnvironmentFault(
            f"{plugin} failed: {type(error).__name__}: {error}", hint=f"traceback: {write_traceback(error)}"
        ) from error
