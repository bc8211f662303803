"""Warnings about fly.toml settings that flysim does not emulate or does not know.

Settings for build and deploy, and those that the proxy never uses (top-level `[checks]`: F-5.17), get no warning.
When flysim starts to emulate a setting, remove its warning here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from simulator.config.fly.document import FlyDocument, FlyTable, HttpServiceTable, PortTable
from simulator.config.fly.model import FlyService
from simulator.config.fly.services import make_service, service_tables
from simulator.config.problems import name_key, suggest
from simulator.config.toml_positions import KeyPath
from simulator.routing.service import ServicePort

_NOT_EMULATED = frozenset({"mounts", "mount", "files", "restart", "experimental", "machine_config"})
_WITHOUT_EFFECT = frozenset({
    "deploy", "console_command", "swap_size_mb", "metrics", "host_dedication_id", "checks", "machine_checks",
    "container", "version",
})  # fmt: skip
_HANDLERS = ("http", "tls", "pg_tls", "proxy_proto")  # F-9.4

Warnings = Iterator[tuple[KeyPath, str]]


def list_warnings(document: FlyDocument) -> Warnings:
    """Yields (key path, message)."""
    if not document.http_service and not document.services:
        # F-9.18
        yield (), "no [http_service] and no [[services]], so the proxy cannot reach this app, as on Fly"
    yield from _sections(document)
    yield from _statics(document)
    yield from _services(document)
    yield from _shared_ports(document)
    yield from _unknown_keys(document, ())
    yield from _groups(document)


def _sections(document: FlyDocument) -> Warnings:
    for key, value in (document.model_extra or {}).items():
        if key in _NOT_EMULATED and value:
            brackets = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            yield (key,), f"{brackets} is not emulated"
    if document.primary_region and "PRIMARY_REGION" in document.env:
        # F-7.12
        yield ("env", "PRIMARY_REGION"), "PRIMARY_REGION in [env] is overridden by primary_region"


def _statics(document: FlyDocument) -> Warnings:
    """F-9.16."""
    for index, static in enumerate(document.statics):
        files = f"files in {static.guest_path}" if static.guest_path else "its files"
        bucket = f" of the bucket {static.tigris_bucket}" if static.tigris_bucket else ""
        yield (
            ("statics", index),
            f"statics[{index}] is not emulated: {files}{bucket} are not served at {static.url_prefix}. "
            "The app receives these requests and may replay them; on Fly, requests for existing files never "
            "reach the app",
        )


def _services(document: FlyDocument) -> Warnings:
    for at, service in service_tables(document):
        for key in ("machine_checks", "script_checks"):
            if getattr(service, key):
                yield (*at, key), f"{name_key((*at, key))} is not emulated"
        if isinstance(service, HttpServiceTable):
            yield from _port_options(service, at)
            continue
        if service.protocol == "udp":
            yield (*at, "protocol"), f"{name_key(at)} is not emulated: it uses UDP"
            continue
        for number, port in enumerate(service.ports):
            yield from _port_options(port, (*at, "ports", number))
            yield from _handlers(port, (*at, "ports", number))


def _port_options(table: HttpServiceTable | PortTable, at: KeyPath) -> Warnings:
    for key, value in (
        (("http_options", "compress"), table.http_options.compress),  # F-9.9, X-7
        (("http_options", "headers_read_timeout"), table.http_options.headers_read_timeout),  # F-9.8
        (("tls_options", "alpn"), table.tls_options.alpn),  # F-9.12
        (("tls_options", "versions"), table.tls_options.versions),
        (("tls_options", "default_self_signed"), table.tls_options.default_self_signed),
    ):
        if value:
            yield (*at, *key), f"{name_key((*at, *key))} is not emulated"


def _handlers(port: PortTable, at: KeyPath) -> Warnings:
    """F-9.4."""
    key = (*at, "handlers")
    for handler in port.handlers:
        if handler not in _HANDLERS:
            yield key, f'{name_key(key)}: unknown handler "{handler}"{suggest(handler, _HANDLERS)}'
    if "pg_tls" in port.handlers:
        yield key, f"{name_key(key)}: pg_tls is not emulated; flysim forwards the client's bytes unchanged"
    if "http" in port.handlers:
        if "proxy_proto" in port.handlers:
            yield key, f"{name_key(key)}: proxy_proto is not emulated together with http"
    elif "tls" in port.handlers:
        yield (
            key,
            f"{name_key(key)}: tls without http is not emulated; flysim forwards TLS to the app unchanged",
        )
    if "http" not in port.handlers and port.http_options.model_fields_set:
        key = (*at, "http_options")
        yield key, f"{name_key(key)} has no effect on a port without the http handler"


def _unknown_keys(table: BaseModel, at: KeyPath) -> Warnings:
    for key in table.model_extra or {}:
        if not at and key in _NOT_EMULATED | _WITHOUT_EFFECT:
            continue
        if at and at[0] in ("build", "vm"):
            continue
        hint = suggest(key, type(table).model_fields)
        yield (*at, key), f'unknown key "{name_key((*at, key))}"{hint}'
    for key in type(table).model_fields:
        yield from _unknown_below(getattr(table, key), (*at, key))


def _unknown_below(value: object, at: KeyPath) -> Warnings:
    if isinstance(value, FlyTable):
        yield from _unknown_keys(value, at)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, FlyTable):
                yield from _unknown_keys(item, (*at, index))


def _shared_ports(document: FlyDocument) -> Warnings:
    """If two services of a group have the same port, the first one gets its connections."""
    seen: list[tuple[ServicePort, FlyService, KeyPath]] = []
    for at, table in service_tables(document):
        service = make_service(table, at, (), document.processes)
        for number, port in enumerate(service.ports):
            path = at if isinstance(table, HttpServiceTable) else (*at, "ports", number)
            for earlier, owner, owner_path in seen:
                if _overlap(port, earlier) and _share_groups(service, owner):
                    shared = max(port.start, earlier.start)
                    yield (
                        path,
                        f"{name_key(path)}: port {shared} is already used by {name_key(owner_path)}, "
                        "which gets its connections",
                    )
            seen.append((port, service, path))


def _overlap(one: ServicePort, other: ServicePort) -> bool:
    return one.start <= other.end and other.start <= one.end


def _share_groups(one: FlyService, other: FlyService) -> bool:
    same_protocol = one.protocol == other.protocol
    return same_protocol and not (one.groups and other.groups and set(one.groups).isdisjoint(other.groups))


def _groups(document: FlyDocument) -> Warnings:
    named = [group for _, service in service_tables(document) for group in service.processes]
    for group in dict.fromkeys(named):
        if document.processes and group not in document.processes:
            yield ("processes",), f'a service uses the process group "{group}", which is not in [processes]'
