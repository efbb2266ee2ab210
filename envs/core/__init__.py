"""The contract of environments: entries, registration, checks, validation, saved state."""
