"""Replay requests: the `fly-replay` header and the JSON body, parsed and checked."""
