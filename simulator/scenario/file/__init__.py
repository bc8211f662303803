"""Scenario files: found, read and checked."""
