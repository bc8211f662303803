"""Replay caches, by path and by session."""
