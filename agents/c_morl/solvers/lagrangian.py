"""Primal-dual optimization: PPO on the Lagrangian, with multipliers by dual ascent (Ray, Achiam and Amodei 2019)."""

from dataclasses import dataclass

from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.constraints import dual_ascent_step
from morl.agents.c_morl.solvers.solver import ConstrainedUpdate
from morl.protocols import FloatArray


@dataclass(frozen=True)
class Lagrangian:
    """Constraints are weighted objectives of the actors' advantage; the stage mixes them in.

    Pareto initialization keeps the user's bounds this way, whichever solver extends.

    Attributes:
        multiplier_rate: step size of dual ascent.
        learning_rate: of extension.
    """

    multiplier_rate: float
    learning_rate: float
    keeps_reference_returns = True
    objectives_in_turn = False
    entropy_bonus = True

    def extension_learning_rate(self, reference: Snapshot) -> float:  # noqa: ARG002
        """Return the configured step size."""
        return self.learning_rate

    def next_multipliers(self, multipliers: FloatArray, slacks: FloatArray) -> FloatArray:
        """Return the multipliers [policy, objective] after one step of dual ascent.

        Args:
            multipliers: [policy, objective] of the latest update.
            slacks: [policy, objective] before this one; +inf without a constraint.
        """
        return dual_ascent_step(multipliers, slacks, self.multiplier_rate)

    def step_actors(self, update: ConstrainedUpdate) -> dict[str, Tensor]:  # noqa: ARG002
        """Do nothing: actors move in PPO's epochs."""
        return {}

    def policy_loss(self, update: ConstrainedUpdate) -> None:  # noqa: ARG002
        """Return None: PPO's own loss, on the Lagrangian's advantage."""
        return
