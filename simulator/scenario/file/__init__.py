"""Scenario files: loading, validation and selection."""
