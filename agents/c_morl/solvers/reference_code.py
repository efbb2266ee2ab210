"""The extension of the authors' published code, which differs from their paper (docs/agents/c_morl.md)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.solvers.solver import ConstrainedUpdate
from morl.learning.ppo import PolicyLoss, Samples, clipped_surrogate_loss
from morl.protocols import FloatArray

if TYPE_CHECKING:
    from morl.learning.return_weights import WeightRule


def reference_code_loss(beta: float, barrier_t: float, clip_range: float) -> PolicyLoss:
    """Return the loss of the published code: minus [clipped surrogate + (1/t) mean_ik log d_ik].

    d_ik = max((clip(rho_i) - beta) mean(G_k), 0.001), with the minibatch's mean normalized return instead of the
    reference policy's: no constraint on returns, but a push towards the actions that were taken. The code also drops
    one sample of each minibatch, by a slip; that is not repeated.

    Args:
        beta: share of a return that is kept.
        barrier_t: t.
        clip_range: half width of the interval around 1 that ratios are clipped to.
    """
    surrogate_loss = clipped_surrogate_loss(clip_range)

    def loss(ratios: Tensor, batch: Samples) -> Tensor:
        means = batch["target"].mean(dim=1, keepdim=True)
        distances = (ratios.clamp(1.0 - clip_range, 1.0 + clip_range).unsqueeze(2) - beta) * means
        return surrogate_loss(ratios, batch) - distances.clamp(min=0.001).log().mean(dim=(1, 2)) / barrier_t

    return loss


@dataclass(frozen=True)
class ReferenceCode:
    """The barrier of the published code; tasks extend the objectives one after the other.

    Attributes:
        beta: share of a return that is kept.
        barrier_t: t.
        clip_range: of PPO.
    """

    beta: float
    barrier_t: float
    clip_range: float
    keeps_reference_returns = False
    objectives_in_turn = True
    entropy_bonus = True

    def extension_learning_rate(self, reference: Snapshot) -> float:
        """Return the step size that the reference policy had when it was archived."""
        return reference.learning_rate

    def weight_rule(self, target: "WeightRule", signs: FloatArray) -> "WeightRule":  # noqa: ARG002
        """Return the target's own rule: there are no multipliers."""
        return target

    def step_actors(self, update: ConstrainedUpdate) -> dict[str, Tensor]:  # noqa: ARG002
        """Do nothing: actors move in PPO's epochs."""
        return {}

    def policy_loss(self, update: ConstrainedUpdate) -> PolicyLoss:  # noqa: ARG002
        """Return the loss of the published code."""
        return reference_code_loss(self.beta, self.barrier_t, self.clip_range)
