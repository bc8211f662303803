"""HTTP and WebSocket clients of a scenario, with cookies."""
