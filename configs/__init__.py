"""Tuned settings as data: `<agent>/<env-id>.toml`, only what differs from the defaults."""
