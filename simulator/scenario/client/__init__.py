"""A scenario's clients: HTTP, WebSockets and cookies."""
