"""An agent and an environment of another package."""
