"""Benchmarks of the proxy against stock mitmdump and nginx: `make bench`. No test depends on timing."""
