"""The choice of a machine: filter, rank, start, queue, retry."""
