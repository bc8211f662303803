"""Client and machine sockets: flow control, resets and simulated network links."""
