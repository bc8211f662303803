"""Scenario files: schema, validation and selection."""
