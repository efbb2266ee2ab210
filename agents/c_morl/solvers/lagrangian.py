"""Primal-dual optimization: PPO on the Lagrangian, with multipliers by dual ascent (Ray, Achiam and Amodei 2019)."""

from dataclasses import dataclass

from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.solvers.solver import ConstrainedUpdate
from morl.learning import return_weights
from morl.learning.return_weights import WeightRule
from morl.protocols import FloatArray


@dataclass(frozen=True)
class Lagrangian:
    """Constraints are weighted objectives of the actors' advantage; the stage mixes them in.

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

    def weight_rule(self, target: WeightRule, signs: FloatArray) -> WeightRule:
        """Return the Lagrangian of a target.

        Args:
            target: rule of what is maximized.
            signs: [objective] -1 for an upper bound, else 1.
        """
        return return_weights.Lagrangian(target, signs, self.multiplier_rate)

    def step_actors(self, update: ConstrainedUpdate) -> dict[str, Tensor]:  # noqa: ARG002
        """Do nothing: actors move in PPO's epochs."""
        return {}

    def policy_loss(self, update: ConstrainedUpdate) -> None:  # noqa: ARG002
        """Return None: PPO's own loss, on the Lagrangian's advantage."""
        return
