"""Solvers of the constrained problem of Pareto extension: one class each, behind the protocol `ConstraintSolver`."""

from morl.agents.c_morl.config import Config
from morl.agents.c_morl.solvers.interior_point import InteriorPoint
from morl.agents.c_morl.solvers.lagrangian import Lagrangian
from morl.agents.c_morl.solvers.reference_code import ReferenceCode
from morl.agents.c_morl.solvers.solver import ConstrainedUpdate, ConstraintSolver
from morl.agents.c_morl.solvers.trust_region import TrustRegion

__all__ = ["ConstrainedUpdate", "ConstraintSolver", "extension_solver", "initialization_solver"]


def initialization_solver(config: Config) -> Lagrangian:
    """Return the solver of Pareto initialization: without thresholds it is PPO."""
    return Lagrangian(config.multiplier_rate, config.learning_rate)


def extension_solver(config: Config) -> ConstraintSolver:
    """Return the solver of Pareto extension that `config.solver` names."""
    match config.solver:
        case "ipo":
            return InteriorPoint(config.barrier_t, config.clip_range, config.extension_learning_rate)
        case "cpo":
            return TrustRegion(config.trust_radius, config.extension_learning_rate)
        case "lagrangian":
            return Lagrangian(config.multiplier_rate, config.extension_learning_rate)
        case "reference-code":
            return ReferenceCode(config.beta, config.barrier_t, config.clip_range)
