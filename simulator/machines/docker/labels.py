"""Labels of what flysim and Compose made; a machine's own labels are in `simulator.config.compose.labels`."""

from __future__ import annotations

from simulator.machines.cleanup.container_cleanup import RUN

__all__ = ["NUMBER", "ONE_OFF", "PROJECT", "RUN", "SERVICE"]

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
"""Says "True" of a container that `docker compose run` made for one command."""
