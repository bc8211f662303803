"""Whether a replay may go to another app: it exists, same organization, same network, unless switched on (1.9)."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.routing import errors
from simulator.routing.errors import ProxyError
from simulator.routing.model import App
from simulator.routing.options import RoutingOptions


def refuse(
    apps: Mapping[str, App], source: str, target: str | None, options: RoutingOptions
) -> ProxyError | None:
    """Why a machine of `source` may not replay to `target`; None if it may (F-1.63, F-1.68 to F-1.72)."""
    if target is None or target == source:
        return None
    if target not in apps:
        return errors.app_not_found(source, target)
    ours, theirs = apps[source], apps[target]
    if ours.org != theirs.org:
        return None if ours.org in theirs.replay_sources else errors.not_permitted(source, target)
    if ours.network != theirs.network and ours.org not in options.cross_network_replays:
        return errors.cross_network(source, target)
    return None
