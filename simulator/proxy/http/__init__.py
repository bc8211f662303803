"""HTTP and WebSocket messages inside mitmproxy's HTTP layer."""
