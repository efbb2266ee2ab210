"""Constrained improvement: one objective goes up, others must stay above a threshold; for a whole population at once.

Every policy has a threshold for each objective, -inf where it has none. What a policy's update does to a return is
predicted to first order from the old policy's samples (Kakade & Langford 2002):

    G_j(theta) = G_j + h mean_i[(rho_i - 1) A_ij],   h = the mean discounted length of an episode,

and the slack of a constraint is x_j = (G_j(theta) - threshold_j) / sigma_j, in deviations of the return, so that one
barrier or multiplier means the same in every objective. Objectives that must stay *below* a bound change their sign.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.ppo import PolicyLoss, clipped_gain, surrogate_loss

Array = NDArray[np.float64]

SMALLEST_SLACK = 0.01
"""Below this slack the barrier's logarithm is continued by its tangent, so that an infeasible start recovers: at
barrier_t 20 the constraint then weighs five times as much as the target."""
LARGEST_MULTIPLIER = 100.0
SMALLEST_DEVIATION = 2e-4
"""An objective whose returns vary less than this does not move (1e-4 is what no variance at all is reported as): it is
not constrained, because what pushes it would be the critic's noise."""


@dataclass(frozen=True)
class Constraint:
    """A bound on the discounted return of one objective: sign * G >= sign * bound."""

    objective: int
    sign: float
    bound: float


def parse_constraints(texts: Mapping[str, str], objectives: Sequence[str]) -> list[Constraint]:
    """Return the constraints of a table such as {"energy": ">= -50"}.

    Raises:
        ValueError: an unknown objective, a text that is no bound, or no objective left to optimize.
    """
    constraints = []
    for name, text in texts.items():
        if name not in objectives:
            raise ValueError(f"constraints has {name!r}, but must name one of the objectives {', '.join(objectives)}")
        match = re.fullmatch(r"\s*(>=|<=)\s*(\S+)\s*", text)
        try:
            bound = float(match[2]) if match else np.nan
        except ValueError:
            bound = np.nan
        if match is None or not np.isfinite(bound):
            raise ValueError(f"constraints has {name} = {text!r}, but must have a bound such as '>= -50' or '<= 3'")
        constraints.append(Constraint(objectives.index(name), 1.0 if match[1] == ">=" else -1.0, bound))
    if constraints and len(constraints) == len(objectives):
        raise ValueError(f"constraints is {dict(texts)}, but must leave at least one objective to optimize")
    return constraints


def violations(constraints: Sequence[Constraint], points: Array) -> Array:
    """Return by how much points [n, objective] break each constraint, [n, constraint], 0 where they keep it."""
    columns = [np.maximum(each.sign * (each.bound - points[:, each.objective]), 0.0) for each in constraints]
    return np.stack(columns, axis=1) if columns else np.zeros((len(points), 0))


def report(constraints: Sequence[Constraint], texts: Mapping[str, str], points: Array) -> dict[str, Any]:
    """Return what front.json says of points [n, objective] under constraints as they were written, if there are any."""
    broken = violations(constraints, points)
    entries = {}
    for column, (name, text) in enumerate(texts.items()):
        found = broken[:, column].tolist()
        entries[name] = {"bound": text, "violations": found, "best_violation": min(found)}
    return {"constraints": entries} if entries else {}


def reference_thresholds(references: Array, kept: float) -> Array:
    """Return G - (1 - beta) |G|: what may not be lost of returns G [policy, objective] of either sign."""
    thresholds: Array = references - (1.0 - kept) * np.abs(references)
    return thresholds


@dataclass(frozen=True)
class Limits:
    """The constraints of every policy, in the state in which an update finds them.

    Attributes:
        slacks: [policy, objective] x_j of the policies that acted; +inf where there is no constraint to keep.
        slopes: [policy, objective] what a unit of mean (rho - 1) A_j, A_j in the critic's units, adds to x_j: +-h.
    """

    slacks: Tensor
    slopes: Tensor

    @property
    def constrained(self) -> Tensor:
        """Return a mask [policy, objective]: where there is a constraint."""
        return torch.isfinite(self.slacks)

    def predicted(self, ratios: Tensor, advantages: Tensor, clip: float) -> Tensor:
        """Return the pessimistic slacks [policy, objective] of policies with ratios [policy, batch] on samples.

        Args:
            ratios: [policy, batch] rho.
            advantages: [policy, batch, objective] A_j in the critic's units; the mean over a policy's samples is 0.
            clip: half width of the trust interval of rho.
        """
        # (rho - 1) A instead of rho A: what the mean of A on a minibatch is by chance must not count as a violation.
        signed = advantages * self.slopes.sign().unsqueeze(1)
        gains = (clipped_gain(ratios.unsqueeze(2), signed, clip) - signed).mean(dim=1)
        return self.slacks + self.slopes.abs() * gains


def limits_of(
    returns: Array, thresholds: Array, signs: Array, deviations: Array, lengths: Array, like: Tensor
) -> Limits:
    """Return the limits of policies with estimated `returns` [policy, objective].

    Args:
        returns: [policy, objective] G_j, mean discounted returns of the policies that acted.
        thresholds: [policy, objective] in the units of signs * returns; -inf where there is none.
        signs: [objective] -1 where the constraint is an upper bound, else 1.
        deviations: [policy, objective] sigma_j.
        lengths: [policy] h.
        like: a tensor of the type and on the device that is wanted.
    """
    moving = deviations > SMALLEST_DEVIATION
    slacks = np.where(moving, (signs * returns - thresholds) / deviations, np.inf)
    return Limits(like.new_tensor(slacks), like.new_tensor(signs * lengths[:, None]))


def log_barrier(slacks: Tensor) -> Tensor:
    """Return log x, continued by its tangent below `SMALLEST_SLACK`; 0 where x is infinite."""
    bounded = slacks.clamp(min=SMALLEST_SLACK)
    values = bounded.log() + (slacks - bounded) / SMALLEST_SLACK
    return torch.where(torch.isfinite(slacks), values, torch.zeros_like(slacks))


def interior_point_loss(limits: Limits, units: Tensor, barrier_t: float, clip: float) -> PolicyLoss:
    """Return C-MORL-IPO's loss: minus [clipped gain of the target + (1/t) sum_j log x_j / u] (section 5.3, app. F.2).

    Minibatches hold "advantage", that of the target, and "vector_advantage" [policy, batch, objective], centred. The
    former is standardized: its unit is worth u deviations of the return. Dividing the barrier by u, t means what it
    means where the return itself is maximized, whatever the size of advantages.

    Args:
        limits: the constraints.
        units: [policy] u, as `units_of` returns it.
        barrier_t: t.
        clip: half width of the trust interval of rho.
    """
    surrogate = surrogate_loss(clip)
    # An infinite slack would make NaN of the gradient: those columns are unconstrained, and left out by `where`.
    finite = Limits(limits.slacks.nan_to_num(posinf=1.0), limits.slopes)
    constrained = limits.constrained

    def loss(ratios: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        slacks = finite.predicted(ratios, batch["vector_advantage"], clip)
        barrier = torch.where(constrained, log_barrier(slacks), torch.zeros_like(slacks)).sum(dim=1)
        return surrogate(ratios, batch) - barrier / (barrier_t * units)

    return loss


def units_of(limits: Limits, advantages: Tensor, weights: Tensor) -> Tensor:
    """Return what a standardized advantage of 1 adds to the target's return [policy], in its deviations: h std(A_l).

    Args:
        limits: for h.
        advantages: [policy, batch, objective] A in the critic's units.
        weights: [policy, objective] unit vectors of the targets.
    """
    own = torch.bmm(advantages, weights.unsqueeze(2)).squeeze(2)
    # Where the target does not move there is nothing to weigh the barrier against.
    return limits.slopes[:, 0].abs() * own.std(dim=1, correction=0).clamp(min=1e-3)


def published_loss(kept: float, barrier_t: float, clip: float) -> PolicyLoss:
    """Return the loss of the published code's second stage: minus [clipped gain + (1/t) mean_ik log d_ik].

    d_ik = max((clip(rho_i) - beta) mean(G_k), .001), with the minibatch's mean normalized return instead of the
    reference policy's: no constraint on returns, but a push towards the actions that were taken. Their slip of also
    dropping one sample of each minibatch is not repeated.
    """
    surrogate = surrogate_loss(clip)

    def loss(ratios: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        means = batch["target"].mean(dim=1, keepdim=True)
        distances = (ratios.clamp(1.0 - clip, 1.0 + clip).unsqueeze(2) - kept) * means
        return surrogate(ratios, batch) - distances.clamp(min=0.001).log().mean(dim=(1, 2)) / barrier_t

    return loss


def dual_ascent_step(multipliers: Array, slacks: Array, rate: float) -> Array:
    """Return the multipliers after one step of dual ascent: clip(lambda_j - rate x_j, 0, 100); 0 without constraint."""
    steps = np.where(np.isfinite(slacks), rate * slacks, np.inf)
    raised: Array = np.clip(multipliers - steps, 0.0, LARGEST_MULTIPLIER)
    return raised


def lagrangian_weights(weights: Array, multipliers: Array, signs: Array, deviations: Array) -> Array:
    """Return the weights [policy, objective] of the Lagrangian's advantage, sum_k w_k A_k / S + sum_j lambda_j A_j.

    A_k is in the rewards' units in the first sum, S = sum_k w_k sigma_k its scale, and in the critic's in the second.
    """
    scale = (weights * deviations).sum(axis=1, keepdims=True)
    mixed: Array = weights / np.maximum(scale, 1e-8) + signs * multipliers / deviations
    return mixed
