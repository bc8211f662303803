"""Images for machine containers: found, built, or Python's image with the app's files."""
