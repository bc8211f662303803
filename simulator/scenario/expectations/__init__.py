"""Expectations of a scenario: their schema, the checks, and captured values."""
