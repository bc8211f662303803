"""Machines in Docker Compose files and container labels."""
