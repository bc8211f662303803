"""Machines as containers of a Docker engine. The engine's SDK is imported on first use."""

from __future__ import annotations

from simulator.machines.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
