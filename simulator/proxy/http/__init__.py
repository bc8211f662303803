"""HTTP and WebSocket exchanges inside mitmproxy's HTTP layer."""
