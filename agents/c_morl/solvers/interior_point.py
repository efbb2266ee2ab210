"""C-MORL-IPO: interior point policy optimization (section 5.3 and appendix F.2; Liu, Ding and Liu 2020)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.constraints import ConstraintState, target_scale
from morl.agents.c_morl.solvers.solver import ConstrainedUpdate
from morl.learning.ppo import PolicyLoss, Samples, clipped_surrogate_loss
from morl.protocols import FloatArray

if TYPE_CHECKING:
    from morl.learning.return_weights import WeightRule

SMALLEST_SLACK = 0.01
"""Below this slack the barrier's logarithm is continued by its tangent, so that an infeasible start recovers: at
barrier_t 20 the constraint then weighs five times as much as the target."""


def log_barrier(slacks: Tensor) -> Tensor:
    """Return log x of slacks x, continued by its tangent below `SMALLEST_SLACK`; 0 where x is infinite."""
    bounded = slacks.clamp(min=SMALLEST_SLACK)
    values = bounded.log() + (slacks - bounded) / SMALLEST_SLACK
    return torch.where(torch.isfinite(slacks), values, torch.zeros_like(slacks))


def interior_point_loss(constraints: ConstraintState, scale: Tensor, barrier_t: float, clip_range: float) -> PolicyLoss:
    """Return C-MORL-IPO's loss: minus [clipped surrogate of the target + (1 / (t u)) sum_j log x_j].

    Minibatches hold "advantage", the target's, and "vector_advantage" [policy, batch, objective] of mean 0. The former
    is standardized: its unit is worth u deviations of the return. Dividing the barrier by u, t has the meaning that it
    has where the return itself is maximized, whatever the size of advantages.

    Args:
        constraints: slacks before the update.
        scale: [policy] u, of `target_scale`.
        barrier_t: t.
        clip_range: half width of the interval around 1 that ratios are clipped to.
    """
    surrogate_loss = clipped_surrogate_loss(clip_range)
    # An infinite slack would make the gradient NaN: columns without a constraint are replaced, and masked by `where`.
    finite = ConstraintState(constraints.slacks.nan_to_num(posinf=1.0), constraints.dslack_dadvantage)
    constrained = constraints.constrained

    def loss(ratios: Tensor, batch: Samples) -> Tensor:
        slacks = finite.predicted_slacks(ratios, batch["vector_advantage"], clip_range)
        barrier = torch.where(constrained, log_barrier(slacks), torch.zeros_like(slacks)).sum(dim=1)
        return surrogate_loss(ratios, batch) - barrier / (barrier_t * scale)

    return loss


@dataclass(frozen=True)
class InteriorPoint:
    """Constraints are a logarithmic barrier in the actors' loss.

    Attributes:
        barrier_t: t; a larger one weighs the barrier less.
        clip_range: of PPO.
        learning_rate: of extension.
    """

    barrier_t: float
    clip_range: float
    learning_rate: float
    keeps_reference_returns = True
    objectives_in_turn = False
    entropy_bonus = True

    def extension_learning_rate(self, reference: Snapshot) -> float:  # noqa: ARG002
        """Return the configured step size."""
        return self.learning_rate

    def weight_rule(self, target: "WeightRule", signs: FloatArray) -> "WeightRule":  # noqa: ARG002
        """Return the target's own rule: the barrier replaces multipliers."""
        return target

    def step_actors(self, update: ConstrainedUpdate) -> dict[str, Tensor]:  # noqa: ARG002
        """Do nothing: actors move in PPO's epochs."""
        return {}

    def policy_loss(self, update: ConstrainedUpdate) -> PolicyLoss:
        """Return the interior point loss."""
        scale = target_scale(update.constraints, update.samples["vector_advantage"], update.weights)
        return interior_point_loss(update.constraints, scale, self.barrier_t, self.clip_range)
