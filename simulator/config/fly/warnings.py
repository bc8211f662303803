"""What a fly.toml asks for that flysim does not emulate, or does not know, in words with their lines.

As an option comes to be emulated, its row here goes. Options that only concern building and deploying, or that
never reach the proxy (top-level `[checks]`: F-5.17), have no row: leaving them alone is what the proxy does.
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

Found = Iterator[tuple[KeyPath, str]]


def list_warnings(document: FlyDocument) -> Found:
    """Each with the key that it is about."""
    if not document.http_service and not document.services:
        # F-9.18
        yield (), "no [http_service] and no [[services]]: the proxy cannot reach this app, as on Fly"
    yield from _sections(document)
    yield from _statics(document)
    yield from _services(document)
    yield from _shared_ports(document)
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


def _statics(document: FlyDocument) -> Found:
    """F-9.16."""
    for index, static in enumerate(document.statics):
        bucket = f" of the bucket {static.tigris_bucket}" if static.tigris_bucket else ""
        yield (
            ("statics", index),
            f"statics[{index}] is not emulated: the files of {static.guest_path or 'it'}{bucket} are not served "
            f"at {static.url_prefix}. The app gets these requests, and may replay them; on Fly it never sees "
            "one for a file that exists",
        )


def _services(document: FlyDocument) -> Found:
    for at, service in service_tables(document):
        for key in ("machine_checks", "script_checks"):
            if getattr(service, key):
                yield (*at, key), f"{name_key((*at, key))} is not emulated"
        if isinstance(service, HttpServiceTable):
            yield from _port_options(service, at)
            continue
        if service.protocol == "udp":
            yield (*at, "protocol"), f"{name_key(at)} is not emulated: it is of UDP"
            continue
        for number, port in enumerate(service.ports):
            yield from _port_options(port, (*at, "ports", number))
            yield from _handlers(port, (*at, "ports", number))


def _port_options(table: HttpServiceTable | PortTable, at: KeyPath) -> Found:
    for key, asked in (
        (("http_options", "compress"), table.http_options.compress),  # F-9.9, X-7
        (("http_options", "headers_read_timeout"), table.http_options.headers_read_timeout),  # F-9.8
        (("tls_options", "alpn"), table.tls_options.alpn),  # F-9.12
        (("tls_options", "versions"), table.tls_options.versions),
        (("tls_options", "default_self_signed"), table.tls_options.default_self_signed),
    ):
        if asked:
            yield (*at, *key), f"{name_key((*at, *key))} is not emulated"


def _handlers(port: PortTable, at: KeyPath) -> Found:
    """F-9.4."""
    key = (*at, "handlers")
    for handler in port.handlers:
        if handler not in _HANDLERS:
            yield key, f'{name_key(key)}: "{handler}" is not known to flysim{suggest(handler, _HANDLERS)}'
    if "pg_tls" in port.handlers:
        yield key, f"{name_key(key)}: pg_tls is not emulated, what the client sends is passed on as it is"
    if "http" in port.handlers:
        if "proxy_proto" in port.handlers:
            yield key, f"{name_key(key)}: proxy_proto is not emulated together with http"
    elif "tls" in port.handlers:
        yield key, f"{name_key(key)}: tls without http is not emulated, TLS is passed on to the app as it is"
    if "http" not in port.handlers and port.http_options.model_fields_set:
        key = (*at, "http_options")
        yield key, f"{name_key(key)} has no effect on a port without the http handler"


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


def _shared_ports(document: FlyDocument) -> Found:
    """The first service of a group that has a port gets its connections."""
    seen: list[tuple[ServicePort, FlyService, KeyPath]] = []
    for at, table in service_tables(document):
        service = make_service(table, at, (), document.processes)
        for number, port in enumerate(service.ports):
            place = at if isinstance(table, HttpServiceTable) else (*at, "ports", number)
            for earlier, owner, where in seen:
                if _meet(port, earlier) and _meet_groups(service, owner):
                    words = f"{name_key(place)}: port {max(port.start, earlier.start)} is that of {name_key(where)}"
                    yield place, f"{words} already, which gets its connections"
            seen.append((port, service, place))


def _meet(one: ServicePort, other: ServicePort) -> bool:
    return one.start <= other.end and other.start <= one.end


def _meet_groups(one: FlyService, other: FlyService) -> bool:
    same_protocol = one.protocol == other.protocol
    return same_protocol and not (one.groups and other.groups and set(one.groups).isdisjoint(other.groups))


def _groups(document: FlyDocument) -> Found:
    named = [group for _, service in service_tables(document) for group in service.processes]
    for service_group in dict.fromkeys(named):
        if document.processes and service_group not in document.processes:
            yield (
                ("processes",),
                f'a service names the process group "{service_group}", which [processes] has not',
            )
