"""fly.toml, the app's own file: read, checked, and turned into services and checks."""
