"""Conversion of `[http_service]` and `[[services]]` to the services that the proxy routes to.

As in flyctl, a service without a process group belongs to the default group: "app", otherwise the first by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simulator.config.fly.document import (
    FlyDocument,
    HttpOptionsTable,
    HttpServiceTable,
    PortTable,
    ServiceTable,
)
from simulator.config.fly.model import DEFAULT_GROUP, Check, FlyService
from simulator.config.toml_positions import KeyPath
from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.service import HTTP_PORT, HTTPS_PORT, Autostop, HttpOptions, ServicePort

AnyServiceTable = HttpServiceTable | ServiceTable


def service_tables(document: FlyDocument) -> Iterator[tuple[KeyPath, AnyServiceTable]]:
    """Yields (key path, table): `[http_service]` first, then `[[services]]`."""
    if document.http_service:
        yield ("http_service",), document.http_service
    for index, table in enumerate(document.services):
        yield ("services", index), table


def make_service(
    table: AnyServiceTable, key_path: KeyPath, checks: tuple[Check, ...], processes: Mapping[str, object]
) -> FlyService:
    return FlyService(
        internal_port=table.internal_port,
        ports=_http_ports(table) if isinstance(table, HttpServiceTable) else _ports(table),
        groups=tuple(table.processes) or _default_groups(processes),
        soft_limit=table.concurrency.soft_limit,
        hard_limit=table.concurrency.hard_limit,
        autostart=table.auto_start_machines,
        autostop=Autostop(table.auto_stop_machines),
        min_machines_running=table.min_machines_running,
        protocol=table.protocol if isinstance(table, ServiceTable) else "tcp",
        concurrency_type=table.concurrency.type,
        checks=checks,
        key_path=key_path,
    )


def _default_groups(processes: Mapping[str, object]) -> tuple[str, ...]:
    if len(processes) < 2:
        return ()
    return (DEFAULT_GROUP if DEFAULT_GROUP in processes else min(processes),)


def _http_ports(table: HttpServiceTable) -> tuple[ServicePort, ...]:
    """F-9.1."""
    options = _http_options(table.http_options)
    plain = ServicePort(HTTP_PORT, HTTP_PORT, ("http",), table.force_https, options)
    return plain, ServicePort(HTTPS_PORT, HTTPS_PORT, ("tls", "http"), http=options)


def _ports(table: ServiceTable) -> tuple[ServicePort, ...]:
    return tuple(_port(port) for port in table.ports)


def _port(table: PortTable) -> ServicePort:
    start = table.port or table.start_port or 0
    return ServicePort(
        start=start,
        end=table.port or table.end_port or start,
        handlers=tuple(table.handlers),
        force_https=table.force_https,
        http=_http_options(table.http_options),
        proxy_proto=table.proxy_proto_options.version,
    )


def _http_options(table: HttpOptionsTable) -> HttpOptions:
    headers = table.response.headers.items()
    return HttpOptions(
        pristine=table.response.pristine,
        response_headers=tuple((name, None if v is None else tuple(v)) for name, v in headers),
        idle_timeout_seconds=float(table.idle_timeout) if table.idle_timeout else None,
        h2_backend=table.h2_backend,
        cache_rules=tuple(
            CacheRule(rule.path_prefix, rule.ttl_seconds, KeyKind(rule.type), rule.name, rule.allow_bypass)
            for rule in table.replay_cache
        ),
    )
