"""The image that a container starts from: found, built or filled with the app's files."""
