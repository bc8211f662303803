"""fly.toml, the app's own configuration: parsed, validated and converted to services and health checks."""
