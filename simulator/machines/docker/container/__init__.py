"""One machine as a container: made, started, observed and stopped."""
