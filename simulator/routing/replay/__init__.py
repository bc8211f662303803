"""Replay requests of machines: parsing and checking the `fly-replay` header and the JSON body."""
