"""Client and machine sockets: connection handling, flow control, resets and simulated network links."""
