"""Conformance of an edge to RFC 9110, 9112 and 9113: tables of raw cases, each with its one correct outcome."""
