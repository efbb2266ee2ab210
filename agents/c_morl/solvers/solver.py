"""The protocol of the solvers, and the update that they see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.constraints import ConstraintState
from morl.learning.population import Population
from morl.learning.ppo import PolicyLoss
from morl.protocols import FloatArray

if TYPE_CHECKING:
    from morl.learning.return_weights import WeightRule


@dataclass(frozen=True)
class ConstrainedUpdate:
    """One update of a population whose policies maximize a target under constraints.

    Attributes:
        population: the policies; solvers may change their parameters in place.
        samples: of the rollout, as for `morl.learning.ppo.ppo_update`, with "advantage" (of the target) and
            "vector_advantage" [policy, sample, objective] A in units of sigma, of mean 0.
        constraints: slacks before the update.
        weights: [policy, objective] unit vectors of the targets.
    """

    population: Population
    samples: Mapping[str, Tensor]
    constraints: ConstraintState
    weights: Tensor


class ConstraintSolver(Protocol):
    """How the policies of a stage maximize their targets under constraints.

    An update is: weights and multipliers, then `step_actors`, then PPO's epochs with `policy_loss`, which always train
    the critic.
    """

    @property
    def keeps_reference_returns(self) -> bool:
        """Return whether extension keeps a share beta of the reference policies' returns; else only user's bounds."""
        ...

    @property
    def objectives_in_turn(self) -> bool:
        """Return whether a task of extension maximizes all objectives one after the other, instead of one."""
        ...

    @property
    def entropy_bonus(self) -> bool:
        """Return whether PPO's epochs have the entropy bonus."""
        ...

    def extension_learning_rate(self, reference: Snapshot) -> float:
        """Return Adam's step size of a task of extension that starts from `reference`."""
        ...

    def weight_rule(self, target: "WeightRule", signs: FloatArray) -> "WeightRule":
        """Return the rule of the weights that the actors' advantage has, and of the multipliers.

        Args:
            target: rule of what is maximized.
            signs: [objective] -1 for an upper bound, else 1.
        """
        ...

    def step_actors(self, update: ConstrainedUpdate) -> dict[str, Tensor]:
        """Move the actors before PPO's epochs, in place; return metrics, each [policy]."""
        ...

    def policy_loss(self, update: ConstrainedUpdate) -> PolicyLoss | None:
        """Return the loss of the actors in PPO's epochs; None: PPO's clipped surrogate."""
        ...
