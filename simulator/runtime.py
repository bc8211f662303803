"""Simulator: builds the parts, wires them to one another, and owns their lifetimes."""
