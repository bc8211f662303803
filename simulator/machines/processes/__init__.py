"""Machines that are plain processes of this computer."""
