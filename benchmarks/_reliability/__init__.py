"""The campaigns of `benchmarks/reliability.py`: each tries cases in child processes and says what survived."""
