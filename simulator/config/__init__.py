"""flysim.toml and the user's own fly.toml, read and checked."""

from simulator.config.document import config_schema
from simulator.config.duration import format_duration, parse_duration
from simulator.config.fly_model import Check, Concurrency, FlyToml, Service, ServicePort
from simulator.config.loader import load_config, parse_config
from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.config.positions import KeyPath
from simulator.config.source import PathSource, Source, TomlSource, read_toml

__all__ = [
    "AppConfig",
    "Check",
    "Concurrency",
    "Config",
    "FlyToml",
    "KeyPath",
    "MachineSpec",
    "PathSource",
    "Service",
    "ServicePort",
    "Source",
    "TomlSource",
    "config_schema",
    "format_duration",
    "load_config",
    "parse_config",
    "parse_duration",
    "read_toml",
]
