"""Labels set by flysim and by Compose; a machine's own labels are in `simulator.config.compose.labels`."""

from __future__ import annotations

from simulator.machines.cleanup.container_cleanup import RUN

__all__ = ["NUMBER", "ONE_OFF", "PROJECT", "RUN", "SERVICE"]

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
"""Is "True" on a container that `docker compose run` created for one command."""
