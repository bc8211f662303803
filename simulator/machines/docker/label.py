"""The labels by which what we made is known, and what Compose made; a machine's own are in `simulator.config.label`."""

from __future__ import annotations

RUN = "flysim.run"
"""Of everything that one run made: its id."""
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
