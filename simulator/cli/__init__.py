"""The commands, and the only place that prints. Each command imports what it needs when it runs."""

from simulator.cli.app import main

__all__ = ["main"]
