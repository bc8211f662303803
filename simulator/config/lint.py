"""What is right, file by file, but together comes to less than a person may think: said as warnings.

A process group that no machine is of, a public port that no edge has, an organization that no app belongs to.
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
    for at, words in [*_edges(document, apps), *_organizations(document, apps)]:
        line = source.line(at)
        yield f"{source.path}:{line}: {words}" if line else f"{source.path}: {words}"


def _groups(config: AppConfig, fly: FlyToml) -> Iterator[str]:
    started = dict.fromkeys(machine.group for machine in config.machines)
    for group in fly.processes:
        if group not in started:
            names = ", ".join(f'"{name}"' for name in started) or "none"
            words = f'the process group "{group}" is not started: every machine here is of {names}'
            yield fly.remark(("processes", group), words)


def _ports(config: AppConfig, fly: FlyToml, ports: set[int]) -> Iterator[str]:
    """Public ports of its machines where nobody can come in."""
    groups = {machine.group for machine in config.machines}
    for service in fly.routed_services:
        if not any(service.is_offered_by(group) for group in groups):
            continue
        for index, port in enumerate(service.ports):
            if not any(port.start <= number <= port.end for number in ports):
                example = f"{{ 80 = 8080, {port.start} = {port.start} }}"
                words = (
                    f"no edge has port {_name(port)}: give one a table under [edges], such as ams = {example}"
                )
                yield fly.remark((*service.place, "ports", index), words)


def _name(port: ServicePort) -> str:
    return f"{port.start}" if port.start == port.end else f"{port.start} to {port.end}"


def _addresses(config: AppConfig, fly: FlyToml) -> Iterator[str]:
    """Machines that share 127.0.0.1 get one port each, which is that of their first service."""
    for group in dict.fromkeys(machine.group for machine in config.machines):
        internal = list(dict.fromkeys(s.internal_port for s in fly.services_of(group) if s.protocol == "tcp"))
        shared = [m for m in config.machines if m.group == group and not m.has_own_address and not m.url]
        if len(internal) > 1 and shared:
            rest = ", ".join(map(str, internal[1:]))
            yield fly.remark(
                (),
                f'machines of "{group}" listen on {internal[0]} and {rest}, but have one port each here: use '
                "{host} in the command or a variable, and each gets an address of its own with all of them",
            )


def _edges(document: Document, apps: Sequence[AppConfig]) -> Iterator[tuple[KeyPath, str]]:
    for region, ports in document.edges.items():
        for public in ports:
            if public not in _MAIN_PORTS and not any(config.app.serves(public) for config in apps):
                at = ("edges", region, str(public))
                yield at, f"{name_key(at)}: no app has a service with port {public}"


def _organizations(document: Document, apps: Sequence[AppConfig]) -> Iterator[tuple[KeyPath, str]]:
    known = {config.app.org for config in apps}
    named: list[tuple[KeyPath, str]] = [
        (("apps", name, "replay_sources", index), org)
        for name, app in document.apps.items()
        for index, org in enumerate(app.replay_sources)
    ]
    switched: tuple[str, ...] = document.proxy.cross_network_replays  # type: ignore[attr-defined]
    named += [(("proxy", "cross_network_replays", index), org) for index, org in enumerate(switched)]
    for at, org in named:
        if org not in known:
            yield at, f'{name_key(at)} is "{org}", and no app here is of that organization'
