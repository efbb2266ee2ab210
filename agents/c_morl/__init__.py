"""C-MORL (Liu et al., ICLR 2025): Pareto initialization and constrained Pareto extension."""
