"""The labels by which what we made is known, and what Compose made; a machine's own are in `simulator.config.label`."""

from __future__ import annotations

from simulator.machines.docker.sweeper import RUN

__all__ = ["NUMBER", "ONE_OFF", "PROJECT", "RUN", "SERVICE"]

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
"""Says "True" of a container that `docker compose run` made for one command."""
