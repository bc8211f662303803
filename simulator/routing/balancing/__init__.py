"""Load balancing: select a machine, start one, queue, retry; autostop."""
