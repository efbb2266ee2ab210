"""Solvers of the scalar problems of MORL/D; `protocol` states their interface."""
