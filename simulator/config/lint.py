"""Config lint: warnings about settings that are valid but have no effect together.

Examples: a process group without a machine, a public port that no edge serves, an organization without an app.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simulator.config.document import Document
from simulator.config.fly.model import FlyToml
from simulator.config.model import AppConfig
from simulator.config.problems import name_key
from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath
from simulator.routing.service import HTTP_PORT, HTTPS_PORT, ServicePort

_MAIN_PORTS = (HTTP_PORT, HTTPS_PORT)


def lint_config(document: Document, apps: Sequence[AppConfig], source: Source) -> Iterator[str]:
    ports = {port for edge in document.edges.values() for port in edge} | set(_MAIN_PORTS)
    for config in apps:
        if config.fly is not None:
            yield from _groups(config, config.fly)
            yield from _ports(config, config.fly, ports)
            yield from _addresses(config, config.fly)
    for at, warning in [*_edges(document, apps), *_organizations(document, apps)]:
        line = source.line(at)
        yield f"{source.path}:{line}: {warning}" if line else f"{source.path}: {warning}"


def _groups(config: AppConfig, fly: FlyToml) -> Iterator[str]:
    started = dict.fromkeys(machine.group for machine in config.machines)
    for group in fly.processes:
        if group not in started:
            names = ", ".join(f'"{name}"' for name in started) or "no group"
            warning = f'no machine runs the process group "{group}"; the configured machines run {names}'
            yield fly.format_warning(("processes", group), warning)


def _ports(config: AppConfig, fly: FlyToml, ports: set[int]) -> Iterator[str]:
    """Public ports of the app's machines that no edge serves."""
    groups = {machine.group for machine in config.machines}
    for service in fly.routed_services:
        if not any(service.is_offered_by(group) for group in groups):
            continue
        for index, port in enumerate(service.ports):
            if not any(port.start <= number <= port.end for number in ports):
                example = f"{{ 80 = 8080, {port.start} = {port.start} }}"
                warning = f"no edge serves port {_format_port(port)}; add it under [edges]: ams = {example}"
                yield fly.format_warning((*service.key_path, "ports", index), warning)


def _format_port(port: ServicePort) -> str:
    return f"{port.start}" if port.start == port.end else f"{port.start} to {port.end}"


def _addresses(config: AppConfig, fly: FlyToml) -> Iterator[str]:
    """Machines that share 127.0.0.1 get one port each, for their first service."""
    for group in dict.fromkeys(machine.group for machine in config.machines):
        internal = list(dict.fromkeys(s.internal_port for s in fly.services_of(group) if s.protocol == "tcp"))
        shared = [m for m in config.machines if m.group == group and not m.has_own_address and not m.url]
        if len(internal) > 1 and shared:
            listed = ", ".join(map(str, internal))
            yield fly.format_warning(
                (),
                f'machines of "{group}" have services on ports {listed}, but get only one port each; with '
                "{host} in the command or in an env value, each gets its own address and all its ports",
            )


def _edges(document: Document, apps: Sequence[AppConfig]) -> Iterator[tuple[KeyPath, str]]:
    for region, ports in document.edges.items():
        for public in ports:
            if public not in _MAIN_PORTS and not any(config.app.serves(public) for config in apps):
                at = ("edges", region, str(public))
                yield at, f"{name_key(at)}: no app has a service on port {public}"


def _organizations(document: Document, apps: Sequence[AppConfig]) -> Iterator[tuple[KeyPath, str]]:
    known = {config.app.org for config in apps}
    named: list[tuple[KeyPath, str]] = [
        (("apps", name, "replay_sources", index), org)
        for name, app in document.apps.items()
        for index, org in enumerate(app.replay_sources)
    ]
    enabled: tuple[str, ...] = document.proxy.cross_network_replays  # type: ignore[attr-defined]
    named += [(("proxy", "cross_network_replays", index), org) for index, org in enumerate(enabled)]
    for at, org in named:
        if org not in known:
            yield at, f'{name_key(at)} is "{org}", but no app belongs to that organization'
