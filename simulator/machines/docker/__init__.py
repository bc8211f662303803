"""Machines that are containers of a Docker engine. What needs the engine's SDK is loaded once it is asked for."""

from __future__ import annotations

from simulator.machines.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
