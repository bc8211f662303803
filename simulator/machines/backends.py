"""Backends by name: those of flysim, and those of other distributions (entry point group `flysim.backends`).

`--backend` takes NAME or, where the backend allows it, NAME:ARGUMENT, such as `swarm:STACK`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.config.model import Config
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Backend, FindEdge
from simulator.plugins import call_plugin, load_plugin, plugin_names

GROUP = "flysim.backends"
PROCESS, DOCKER, SWARM = "process", "docker", "swarm"
BACKENDS = (PROCESS, DOCKER, SWARM)
"""flysim's own backends. A plugin cannot replace them."""
_METHODS = tuple(name for name in vars(Backend) if not name.startswith("_"))


def _unchanged(config: Config) -> Config:
    return config


@dataclass(frozen=True, slots=True)
class BackendKind:
    """How a simulator gets its backend; a plugin's entry point is one of these.

    `make(config, find_edge, argument)` returns a new backend for one simulator. `find_edge` returns the address of
    the edge for a public port and a region; `argument` is the text after `NAME:`, or None.
    """

    make: Callable[[Config, FindEdge, str | None], Backend]
    adapt: Callable[[Config], Config] = _unchanged
    """Returns the config as the backend can run it. Raises InputError for a config that it cannot run."""
    takes_argument: bool = False


def backend_name(text: str) -> str:
    """The name in NAME or NAME:ARGUMENT. Raises InputError for a backend that does not exist."""
    name, _, _ = _find(text)
    return name


def adapt_config(config: Config, backend: str) -> Config:
    """The config of the same fleet, as the backend can run it. Raises InputError."""
    name, kind, _ = _find(backend)
    if name in BACKENDS:
        return kind.adapt(config)
    adapted: object = call_plugin(f"the backend {name!r}", kind.adapt, config)
    if not isinstance(adapted, Config):
        raise EnvironmentFault(
            f"the backend {name!r} adapted the config to {adapted!r}", hint="return a Config"
        )
    return adapted


def make_backend(text: str, config: Config, find_edge: FindEdge) -> Backend:
    """A new backend for a config that `adapt_config` has returned. Raises InputError."""
    name, kind, argument = _find(text)
    if name in BACKENDS:
        return kind.make(config, find_edge, argument)
    backend = call_plugin(f"the backend {name!r}", kind.make, config, find_edge, argument)
    missing = [method for method in _METHODS if not callable(getattr(backend, method, None))]
    if missing:
        raise EnvironmentFault(
            f"the backend {name!r} made {backend!r}, which lacks {', '.join(missing)}",
            hint="return an object that implements simulator.machines.Backend",
        )
    return backend


def _find(text: str) -> tuple[str, BackendKind, str | None]:
    name, colon, argument = text.partition(":")
    kind = _BUILT_IN[name]() if name in _BUILT_IN else load_plugin(GROUP, name)
    if kind is not None and not isinstance(kind, BackendKind):
        raise InputError(f"the plugin {name!r} is not a backend: {kind!r}", expected="a BackendKind")
    if kind is None or (colon and not (kind.takes_argument and argument)):
        names = ", ".join(dict.fromkeys((*BACKENDS, *plugin_names(GROUP))))
        expected = f"one of {names}, or {SWARM}:NAME for a stack that is already deployed"
        raise InputError(f"there is no backend {text!r}", expected=expected)
    return name, kind, argument or None


def _process() -> BackendKind:
    from simulator.machines.processes.backend import ProcessBackend

    return BackendKind(lambda config, find_edge, argument: ProcessBackend())


def _docker() -> BackendKind:
    from simulator.machines.docker import DockerBackend

    return BackendKind(
        lambda config, find_edge, argument: DockerBackend(
            [app.app for app in config.apps], find_edge=find_edge
        )
    )


def _swarm() -> BackendKind:
    from simulator.machines.swarm import SwarmBackend, as_tasks

    return BackendKind(
        lambda config, find_edge, argument: SwarmBackend(config, stack=argument),
        adapt=as_tasks,
        takes_argument=True,
    )


_BUILT_IN: dict[str, Callable[[], BackendKind]] = {PROCESS: _process, DOCKER: _docker, SWARM: _swarm}
