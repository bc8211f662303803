"""The container of one machine: creation, start, events, logs and stop."""
