"""Reader of the app's own fly.toml, with flyctl's conversions and defaults.

An invalid value is an error with its line. An unknown key, or one that flysim does not emulate, is a warning.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.config.duration import format_duration
from simulator.config.fly.consistency import list_problems
from simulator.config.fly.document import CheckTable, FlyDocument, VmTable
from simulator.config.fly.model import Check, FlyService, FlyToml
from simulator.config.fly.services import AnyServiceTable, make_service, service_tables
from simulator.config.fly.warnings import list_warnings
from simulator.config.problems import Problems, name_key
from simulator.config.source import TomlSource, read_toml
from simulator.config.toml_positions import KeyPath
from simulator.config.validation_messages import add_validation_error
from simulator.errors import InputError

MAX_KILL_TIMEOUT_SECONDS = 300.0  # F-5.37
MIN_CHECK_SECONDS, MAX_CHECK_SECONDS = 1.0, 60.0  # F-5.21


def read_fly_toml(path: Path, problems: Problems) -> FlyToml | None:
    """Reads the file at `path`. Returns None if it is invalid, with its errors added to `problems`."""
    try:
        data, source = read_toml(path)
    except InputError as error:
        problems.take(error)
        return None
    return parse_fly_toml(data, source, problems)


def parse_fly_toml(data: dict[str, Any], source: TomlSource, problems: Problems) -> FlyToml | None:
    try:
        document = FlyDocument.model_validate(data)
    except ValidationError as error:
        add_validation_error(problems, error, source, lambda path: None)
        return None
    inconsistencies = list(list_problems(document))
    for at, problem, expected in inconsistencies:
        problems.add(problem, source, at, expected=expected)
    return None if inconsistencies else _Reader(source).read(document)


class _Reader:
    def __init__(self, source: TomlSource) -> None:
        self._source = source
        self._warnings: list[tuple[KeyPath, str]] = []

    def read(self, document: FlyDocument) -> FlyToml:
        services = tuple(
            self._service(table, at, document.processes) for at, table in service_tables(document)
        )
        kill_timeout = self._clamp(document.kill_timeout, 0.0, MAX_KILL_TIMEOUT_SECONDS, ("kill_timeout",))
        fly = FlyToml(
            path=self._source.path,
            app=document.app,
            primary_region=document.primary_region,
            env=document.env,
            services=services,
            processes={group: tuple(command) for group, command in document.processes.items()},
            image=document.build.image,
            memory_mb=_memory(document.vm),
            kill_signal=document.kill_signal,
            kill_timeout_seconds=kill_timeout,
            source=self._source,
        )
        warnings = sorted([*self._warnings, *list_warnings(document)], key=self._line)
        return replace(fly, warnings=tuple(fly.format_warning(at, message) for at, message in warnings))

    def _line(self, warning: tuple[KeyPath, str]) -> int:
        return self._source.line(warning[0]) or 0

    def _service(self, table: AnyServiceTable, at: KeyPath, processes: dict[str, Any]) -> FlyService:
        return make_service(table, at, tuple(self._checks(table, at)), processes)

    def _checks(self, table: AnyServiceTable, at: KeyPath) -> list[Check]:
        lists = {"checks": ("http", table.checks), "http_checks": ("http", table.http_checks)}
        lists["tcp_checks"] = ("tcp", table.tcp_checks)
        return [
            self._check(check, check.type or kind, (*at, key, index))
            for key, (kind, checks) in lists.items()
            for index, check in enumerate(checks)
        ]

    def _check(self, table: CheckTable, kind: str, at: KeyPath) -> Check:
        low, high = MIN_CHECK_SECONDS, MAX_CHECK_SECONDS
        grace = (
            self._clamp(table.grace_period, low, high, (*at, "grace_period")) if table.grace_period else 0.0
        )
        return Check(
            type=kind,
            port=table.port,
            path=table.path,
            method=table.method.upper(),
            headers=_headers(table),
            grace_seconds=grace,
            interval_seconds=self._clamp(table.interval, low, high, (*at, "interval")),
            timeout_seconds=self._clamp(table.timeout, low, high, (*at, "timeout")),
        )

    def _clamp(self, seconds: float, low: float, high: float, at: KeyPath) -> float:
        clamped = min(max(seconds, low), high)
        if clamped != seconds:
            given, used = format_duration(seconds), format_duration(clamped)
            self._warnings.append((at, f"{name_key(at)} is {given}, which Fly changes to {used}"))
        return clamped


def _headers(table: CheckTable) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, values in table.headers.items() for value in values)


def _memory(tables: list[VmTable]) -> dict[str | None, int]:
    memory: dict[str | None, int] = {}
    all_groups: list[str | None] = [None]
    for table in tables:
        megabytes = table.memory or table.memory_mb or _memory_of_size(table.size)
        for group in table.processes or all_groups:
            memory[group] = megabytes
    return memory


def _memory_of_size(size: str | None) -> int:
    """Memory of a machine size in MB: 256 per shared CPU, 2048 per performance CPU; `shared-cpu-2x` has 512."""
    kind, _, count = (size or "").removesuffix("x").rpartition("-")
    per_cpu = {"shared-cpu": 256, "performance": 2048}.get(kind, 256)
    return per_cpu * int(count) if count.isascii() and count.isdigit() else 256
