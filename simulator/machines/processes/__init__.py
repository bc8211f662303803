"""Machines that run as plain processes on this computer."""
