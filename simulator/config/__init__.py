"""flysim.toml and the user's own fly.toml, read and checked."""

from simulator.config.model import AppConfig, Check, Config, MachineSpec

__all__ = ["AppConfig", "Check", "Config", "MachineSpec"]
