"""The labels by which containers, networks and images of ours are known."""

from __future__ import annotations

RUN = "flysim.run"
"""Of everything that one run made: its id."""
REGION = "fly.region"
APP = "fly.app"
MACHINE_ID = "fly.machine_id"
INTERNAL_PORT = "fly.internal_port"
COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
