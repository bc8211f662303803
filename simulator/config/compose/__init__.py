"""Docker Compose files and container labels, read for the machines in them."""
