"""Studies: many runs, their executors, their statistics."""
