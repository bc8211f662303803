"""What a fly.toml asks for that flysim does not emulate, or does not know, in words with their lines.

As an option comes to be emulated, its row here goes. Options that only concern building and deploying, or that
never reach the proxy (top-level `[checks]`: F-5.17), have no row: leaving them alone is what the proxy does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from simulator.config.fly_document import FlyDocument, FlyTable
from simulator.config.positions import KeyPath
from simulator.config.problem import name_key, suggest

_NOT_EMULATED = frozenset(
    {"statics", "mounts", "mount", "files", "restart", "experimental", "machine_config"}
)
_WITHOUT_EFFECT = frozenset({
    "deploy", "console_command", "swap_size_mb", "metrics", "host_dedication_id", "checks", "machine_checks",
    "container", "version",
})  # fmt: skip

# Option of a service or port -> the value that asks for nothing.
_SERVICE_OPTIONS: dict[str, Any] = {
    "force_https": False,
    "auto_stop_machines": "off",
    "auto_start_machines": False,
    "concurrency": None,
    "http_options": {},
    "tls_options": {},
    "proxy_proto_options": {},
    "machine_checks": None,
    "script_checks": None,
    "protocol": "tcp",
}


Found = Iterator[tuple[KeyPath, str]]


def list_warnings(document: FlyDocument) -> Found:
    """Each with the key that it is about."""
    if not document.http_service and not document.services:
        # F-9.18
        yield (), "no [http_service] and no [[services]]: on Fly, the proxy could not reach this app"
    yield from _sections(document)
    yield from _services(document)
    yield from _unknown_keys(document, ())
    yield from _groups(document)


def _sections(document: FlyDocument) -> Found:
    for key, value in (document.model_extra or {}).items():
        if key in _NOT_EMULATED and value:
            brackets = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            yield (key,), f"{brackets} is not emulated"
    if document.primary_region and "PRIMARY_REGION" in document.env:
        # F-7.12
        yield ("env", "PRIMARY_REGION"), "PRIMARY_REGION in [env] gives way to primary_region"


def _services(document: FlyDocument) -> Found:
    if document.http_service:
        yield from _service_options(document.http_service, ("http_service",))
    for index, service in enumerate(document.services):
        at: KeyPath = ("services", index)
        yield from _service_options(service, at)
        for number, port in enumerate(service.ports):
            yield from _service_options(port, (*at, "ports", number))
            if "http" not in port.handlers and service.protocol == "tcp":
                # F-9.4
                yield (
                    (*at, "ports", number),
                    "a port without the http handler passes raw TCP, which is not emulated",
                )


def _service_options(table: FlyTable, at: KeyPath) -> Found:
    for key, neutral in _SERVICE_OPTIONS.items():
        value = getattr(table, key) if key in table.model_fields_set else neutral
        if isinstance(value, dict):
            for option in value:
                yield (*at, key, option), f"{name_key((*at, key, option))} is not emulated"
        elif value not in (neutral, None, []):
            yield (*at, key), f"{name_key((*at, key))} is not emulated"


def _unknown_keys(table: BaseModel, at: KeyPath) -> Found:
    for key in table.model_extra or {}:
        if not at and key in _NOT_EMULATED | _WITHOUT_EFFECT:
            continue
        if at and at[0] in ("build", "vm"):
            continue
        hint = suggest(key, type(table).model_fields)
        yield (*at, key), f"{name_key((*at, key))} is not known to flysim{hint}"
    for key in type(table).model_fields:
        yield from _unknown_below(getattr(table, key), (*at, key))


def _unknown_below(value: object, at: KeyPath) -> Found:
    if isinstance(value, FlyTable):
        yield from _unknown_keys(value, at)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, FlyTable):
                yield from _unknown_keys(item, (*at, index))


def _groups(document: FlyDocument) -> Found:
    services = [*([document.http_service] if document.http_service else []), *document.services]
    named = [group for service in services for group in service.processes]
    for service_group in dict.fromkeys(named):
        if document.processes and service_group not in document.processes:
            yield (
                ("processes",),
                f'a service names the process group "{service_group}", which [processes] has not',
            )
