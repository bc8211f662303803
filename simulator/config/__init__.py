"""Configuration: flysim.toml, the app's own fly.toml and Compose files, parsed and validated.

`load_config`, `parse_config` and `config_schema` are imported on first use: they need pydantic, whose import takes a
fifth of a second, and most commands read no configuration file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.config.duration import format_duration, parse_duration
from simulator.config.fly.model import Check, FlyService, FlyToml
from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.config.source import PathSource, Source, TomlSource, read_toml
from simulator.config.toml_positions import KeyPath

if TYPE_CHECKING:
    from simulator.config.document import config_schema
    from simulator.config.loader import load_config, parse_config

__all__ = [
    "AppConfig",
    "Check",
    "Config",
    "FlyService",
    "FlyToml",
    "KeyPath",
    "MachineSpec",
    "PathSource",
    "Source",
    "TomlSource",
    "config_schema",
    "format_duration",
    "load_config",
    "parse_config",
    "parse_duration",
    "read_toml",
]


def __getattr__(name: str) -> Any:
    if name == "config_schema":
        from simulator.config.document import config_schema

        return config_schema
    if name in ("load_config", "parse_config"):
        from simulator.config import loader

        return getattr(loader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
