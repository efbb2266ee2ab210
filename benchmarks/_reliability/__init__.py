"""The campaigns of `benchmarks/reliability.py`: each yields cases, tries them in child processes, and says what survived."""
