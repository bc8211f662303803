"""Consistency checks across the keys of a fly.toml. `fly deploy` rejects the same files."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.config.fly.document import FlyDocument, HttpOptionsTable, PortTable
from simulator.config.problems import name_key
from simulator.config.toml_positions import KeyPath
from simulator.routing.headers import HOP_BY_HOP

_FRAMING = {name.decode() for name in HOP_BY_HOP} | {"content-length", "trailer", "transfer-encoding"}

MAX_STATICS = 10
"""F-10.15."""

FlyProblems = Iterator[tuple[KeyPath, str, str]]
"""(path of the key, problem, expected)"""


def list_problems(document: FlyDocument) -> FlyProblems:
    for index, service in enumerate(document.services):
        for number, port in enumerate(service.ports):
            at: KeyPath = ("services", index, "ports", number)
            yield from _port(port, at)
            yield from _framing_headers(port.http_options, at)
    if document.http_service:
        yield from _framing_headers(document.http_service.http_options, ("http_service",))
    yield from _statics(document)


def _port(port: PortTable, at: KeyPath) -> FlyProblems:
    one_or_range = "either port = 443, or start_port and end_port"
    if port.port is not None and (port.start_port or port.end_port) is not None:
        yield at, f"{name_key(at)} has both a port and a port range", one_or_range
    elif port.port is None and (port.start_port is None or port.end_port is None):
        yield at, f"{name_key(at)} has no port", one_or_range
    elif port.start_port and port.end_port and port.end_port < port.start_port:
        expected = f"{port.start_port} (its start_port) or more"
        yield (*at, "end_port"), f"{name_key((*at, 'end_port'))} is {port.end_port}", expected
    if port.force_https and "http" not in port.handlers:
        # F-9.3: the deploy fails.
        key = (*at, "force_https")
        yield key, f"{name_key(key)} is set on a port without the http handler", 'handlers = ["http"]'


def _framing_headers(table: HttpOptionsTable, at: KeyPath) -> FlyProblems:
    """Response headers that would contradict the body or the connection that they are sent with."""
    for name, values in table.response.headers.items():
        if values is not None and name.lower() in _FRAMING:
            key = (*at, "http_options", "response", "headers", name)
            yield key, f"{name_key(key)} is set, but the proxy sets {name} itself", "another header, or false"


def _statics(document: FlyDocument) -> FlyProblems:
    """F-9.16."""
    if len(document.statics) > MAX_STATICS:
        problem = f"the file has {len(document.statics)} [[statics]] tables"
        yield ("statics", MAX_STATICS), problem, f"at most {MAX_STATICS}"
    seen: set[str] = set()
    for index, static in enumerate(document.statics):
        if static.url_prefix in seen:
            key = ("statics", index, "url_prefix")
            problem = (
                f'{name_key(key)}: url_prefix "{static.url_prefix}" is already used by an earlier [[statics]]'
            )
            yield key, problem, "a unique url_prefix"
        seen.add(static.url_prefix)
