"""Schema of fly.toml: the keys that flysim reads, as pydantic models.

Unknown keys are warnings instead of errors, because Fly's format grows. As in flyctl, a single table is accepted
where a list of tables is expected. Source: Fly's configuration reference.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from simulator.config.field_types import (
    TOKEN,
    CheckDuration,
    Command,
    EnvName,
    EnvValue,
    HeaderName,
    HeaderValue,
    InternalPort,
    KillDuration,
    PlainText,
    RegionCode,
    check_field_value,
    invalid,
)
from simulator.config.problems import describe
from simulator.routing.cache.replay_cache import MIN_TTL_SECONDS, parse_pattern

_SIGNALS = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGSTOP")
_MEGABYTES = {"": 1, "m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _check_signal(value: object) -> object:
    if value not in _SIGNALS:
        raise invalid(f"is {describe(value)}", f"one of {', '.join(_SIGNALS)}")
    return value


def _check_memory(value: object) -> object:
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*([a-z]*)\s*", f"{value}".lower())
    if isinstance(value, bool) or not isinstance(value, int | str) or not match or match[2] not in _MEGABYTES:
        raise invalid(f"is {describe(value)}", 'a memory size, such as "512mb", "1gb" or 512 (megabytes)')
    return int(match[1]) * _MEGABYTES[match[2]]


def _check_auto_stop(value: object) -> object:
    # F-5.35: booleans are still accepted.
    named = {True: "stop", False: "off"}[value] if isinstance(value, bool) else value
    if named not in ("off", "stop", "suspend"):
        raise invalid(f"is {describe(value)}", '"off", "stop" or "suspend"')
    return named


def _check_headers(value: object) -> object:
    if value == []:  # flyctl used to write [] for no headers.
        return {}
    if not isinstance(value, dict):
        raise invalid(f"is {describe(value)}", 'a table of headers, such as { Accept = "text/plain" }')
    return {name: [each] if isinstance(each, str) else each for name, each in value.items()}


def _check_processes(value: object) -> object:
    # flyctl used to write `processes = []` for an app without process groups.
    return {} if value == [] else value


def _check_prefix(value: str) -> str:
    """F-2.20."""
    try:
        parse_pattern(value)
    except ValueError as error:
        expected = 'a path, with or without a host: "/api" or "example.com/api"'
        raise invalid(f"is {describe(value)}: {error}", expected) from None
    return value


def _check_name(value: str) -> str:
    if not re.fullmatch(TOKEN, value):
        raise invalid(
            f"is {describe(value)}", "a cookie or header name: letters, digits and any of !#$%&'*+.^_`|~-"
        )
    return value


def _check_header_value(value: object) -> object:
    """F-4.25: a string or a list of strings adds a header, false removes it."""
    if value is False:
        return None
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(each, str) for each in values):
        expected = "a string, a list of strings, or false to remove the header"
        raise invalid(f"is {describe(value)}", expected)
    return [check_field_value(each) for each in values]


Memory = Annotated[int, BeforeValidator(_check_memory)]
Limit = Annotated[int, Field(ge=0)]
HeaderValues = Annotated[list[str] | None, BeforeValidator(_check_header_value)]


class FlyTable(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class CheckTable(FlyTable):
    """One health check of a service (F-5.22). Durations: F-5.20."""

    type: Literal["http", "tcp"] | None = None
    grace_period: CheckDuration = 1.0
    interval: CheckDuration = 15.0
    timeout: CheckDuration = 2.0
    method: str = Field("GET", pattern="^[A-Za-z]+$")
    path: str = Field("/", pattern="^[!-~]+$")
    protocol: Literal["http", "https"] = "http"
    port: InternalPort | None = None
    headers: Annotated[dict[HeaderName, list[HeaderValue]], BeforeValidator(_check_headers)] = {}
    restart_limit: int | None = None
    tls_skip_verify: bool | None = None
    tls_server_name: str | None = None


class ConcurrencyTable(FlyTable):
    type: Literal["connections", "requests"] = "connections"
    soft_limit: Limit = 20
    hard_limit: Limit | None = None


Checks = Annotated[list[CheckTable], BeforeValidator(_as_list)]


class ReplayCacheTable(FlyTable):
    """`[[….http_options.replay_cache]]` (F-2.18 to F-2.20)"""

    path_prefix: Annotated[str, AfterValidator(_check_prefix)]
    ttl_seconds: int = Field(ge=MIN_TTL_SECONDS)
    type: Literal["cookie", "header"]
    name: Annotated[str, AfterValidator(_check_name)]
    allow_bypass: bool = False


class ResponseTable(FlyTable):
    """`[….http_options.response]` (F-4.24, F-4.25)"""

    pristine: bool = False
    headers: dict[HeaderName, HeaderValues] = {}


class HttpOptionsTable(FlyTable):
    """`[….http_options]` (F-9.5 to F-9.11)"""

    h2_backend: bool = False
    idle_timeout: Annotated[int, Field(ge=0)] | None = None  # seconds
    response: ResponseTable = ResponseTable()
    replay_cache: Annotated[list[ReplayCacheTable], BeforeValidator(_as_list)] = []
    compress: bool | None = None
    headers_read_timeout: Any = None


class TlsOptionsTable(FlyTable):
    """`[….tls_options]` (F-9.12)"""

    alpn: list[str] = []
    versions: list[Literal["TLSv1.2", "TLSv1.3"]] = []
    default_self_signed: bool = False


class ProxyProtoTable(FlyTable):
    """`[….proxy_proto_options]` (F-9.13)"""

    version: Literal["v1", "v2"] = "v1"


class _AnyService(FlyTable):
    """Keys that `[http_service]` and `[[services]]` have in common."""

    internal_port: InternalPort = 8080
    processes: list[str] = []
    auto_stop_machines: Annotated[str, BeforeValidator(_check_auto_stop)] = "off"
    auto_start_machines: bool = True
    min_machines_running: int = Field(0, ge=0)
    concurrency: ConcurrencyTable = ConcurrencyTable()
    checks: Checks = []
    http_checks: Checks = []
    tcp_checks: Checks = []
    machine_checks: Any = None
    script_checks: Any = None


class HttpServiceTable(_AnyService):
    """`[http_service]`"""

    force_https: bool = False
    http_options: HttpOptionsTable = HttpOptionsTable()
    tls_options: TlsOptionsTable = TlsOptionsTable()


class PortTable(FlyTable):
    """`[[services.ports]]`"""

    port: InternalPort | None = None
    start_port: InternalPort | None = None
    end_port: InternalPort | None = None
    handlers: list[str] = []
    force_https: bool = False
    http_options: HttpOptionsTable = HttpOptionsTable()
    tls_options: TlsOptionsTable = TlsOptionsTable()
    proxy_proto_options: ProxyProtoTable = ProxyProtoTable()


class ServiceTable(_AnyService):
    """`[[services]]`"""

    protocol: Literal["tcp", "udp"] = "tcp"
    ports: Annotated[list[PortTable], BeforeValidator(_as_list)] = []


class StaticTable(FlyTable):
    """`[[statics]]` (F-9.16)"""

    guest_path: str = ""
    url_prefix: str = "/"
    tigris_bucket: str | None = None
    index_document: str | None = None


class VmTable(FlyTable):
    """`[[vm]]`; `memory` overrides `memory_mb`, which overrides `size`."""

    size: str | None = None
    memory: Memory | None = None
    memory_mb: Memory | None = None
    processes: list[str] = []
    cpus: Any = None
    cpu_kind: Any = None
    gpus: Any = None
    gpu_kind: Any = None
    host_dedication_id: Any = None
    kernel_args: Any = None


class BuildTable(FlyTable):
    image: PlainText | None = None


class FlyDocument(FlyTable):
    """fly.toml"""

    app: str | None = None
    primary_region: RegionCode | None = None
    kill_signal: Annotated[str, BeforeValidator(_check_signal)] = "SIGINT"
    kill_timeout: KillDuration = 5.0
    env: dict[EnvName, EnvValue] = {}
    processes: Annotated[dict[PlainText, Command], BeforeValidator(_check_processes)] = {}
    http_service: HttpServiceTable | None = None
    services: Annotated[list[ServiceTable], BeforeValidator(_as_list)] = []
    statics: Annotated[list[StaticTable], BeforeValidator(_as_list)] = []
    vm: Annotated[list[VmTable], BeforeValidator(_as_list)] = []
    build: BuildTable = BuildTable()
