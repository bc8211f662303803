"""Private networks of a run, and the gateway that connects them to flysim."""
