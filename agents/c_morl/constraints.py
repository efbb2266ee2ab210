"""Constraints of C-MORL: thresholds on returns, and their slacks as an update predicts them.

Every policy has a threshold for each objective, -inf where it has none. The change of a return by an update is
predicted to first order from the old policy's samples (Kakade and Langford 2002):

    G_j(theta) = G_j + h sigma_j mean_i[(rho_i - 1) A_ij],   h = the mean discounted length of an episode,

and the slack of a constraint is x_j = (G_j(theta) - threshold_j) / sigma_j, in standard deviations of the return, so
that one barrier or multiplier means the same in every objective. An upper bound changes the sign of its objective.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from morl.learning.ppo import clipped_surrogate
from morl.protocols import FloatArray, Problem

SMALLEST_DEVIATION = 2e-4
"""An objective whose returns vary less than this does not move (1e-4 is reported for no variance at all): it is not
constrained, because only the critic's noise would push it."""


@dataclass(frozen=True)
class Constraint:
    """A user's bound on the discounted return of one objective: sign * G >= sign * bound.

    Attributes:
        objective: which one.
        sign: -1 for an upper bound, else 1.
        bound: b.
        unit: the return that counts as 1 where violations or slacks of several bounds are compared: the size of the
            bound, because 2 of 100 is less than 0.9 of 1. A bound of 0 has no size; it has that of the objective.
    """

    objective: int
    sign: float
    bound: float
    unit: float

    def scaled(self, size: float) -> "Constraint":
        """Return the same constraint on returns that are divided by `size`."""
        return replace(self, bound=self.bound / size, unit=self.unit / size)


def parse_constraints(
    texts: Mapping[str, str], objectives: Sequence[str], sizes: Sequence[float] | FloatArray | None = None
) -> list[Constraint]:
    """Return the constraints of a table such as {"energy": ">= -50"}.

    Args:
        texts: objective -> bound, in the order in which constraints are reported.
        objectives: names of the environment's objectives.
        sizes: [objective] sizes of the returns, the units of bounds at 0; default: 1.

    Raises:
        ValueError: an objective is unknown, a bound cannot be parsed, or no objective is left to optimize.
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
        objective = objectives.index(name)
        size = 1.0 if sizes is None else float(sizes[objective])
        constraints.append(Constraint(objective, 1.0 if match[1] == ">=" else -1.0, bound, abs(bound) or size))
    if constraints and len(constraints) == len(objectives):
        raise ValueError(f"constraints is {dict(texts)}, but must leave at least one objective to optimize")
    return constraints


def return_sizes(problem: Problem) -> FloatArray:
    """Return sizes of the returns of each objective [objective], in the environment's units.

    They are what is known before training, so that all evaluations of a run compare alike: the scales of the
    environment's entry, else its reference point, else the agent's units.

    Args:
        problem: the environment; its reference point is in the agent's units.
    """
    if problem.scales is not None:
        return np.array(problem.scales)
    units = np.ones(problem.num_objectives) if problem.units is None else np.array(problem.units)
    if problem.reference_point is None:
        return units
    worst = np.abs(np.array(problem.reference_point))
    return units * np.where(worst > 0.0, worst, 1.0)


def smallest_slacks(constraints: Sequence[Constraint], points: FloatArray) -> FloatArray:
    """Return the smallest slack of a constraint at each point [n], each in the constraint's unit.

    Args:
        constraints: bounds on single objectives.
        points: [n, objective] discounted returns.
    """
    columns = [each.sign * (points[:, each.objective] - each.bound) / each.unit for each in constraints]
    return np.min(columns, axis=0) if columns else np.full(len(points), np.inf)


def violations(constraints: Sequence[Constraint], points: FloatArray) -> FloatArray:
    """Return the violation of each constraint by each point [n, constraint], a return; 0 where it is satisfied.

    Args:
        constraints: bounds on single objectives.
        points: [n, objective] discounted returns.
    """
    columns = [np.maximum(each.sign * (each.bound - points[:, each.objective]), 0.0) for each in constraints]
    return np.stack(columns, axis=1) if columns else np.zeros((len(points), 0))


def violation_report(
    constraints: Sequence[Constraint], texts: Mapping[str, str], points: FloatArray
) -> dict[str, object]:
    """Return the entry "constraints" of front.json, or nothing where there are no constraints.

    Args:
        constraints: parsed from `texts`.
        texts: the constraints as the user wrote them.
        points: [n, objective] of the front.
    """
    broken = violations(constraints, points)
    entries = {}
    for column, (name, text) in enumerate(texts.items()):
        found = broken[:, column].tolist()
        unit = constraints[column].unit
        entries[name] = {"bound": text, "unit": unit, "violations": found, "best_violation": min(found)}
    return {"constraints": entries} if entries else {}


def reference_thresholds(references: FloatArray, beta: float) -> FloatArray:
    """Return the thresholds G - (1 - beta) |G| that extension keeps.

    The paper's beta G (section 5.3) is above a negative G; this form allows the same share of loss for either sign.

    Args:
        references: [policy, objective] returns G of the reference policies.
        beta: share of a return that is kept.
    """
    thresholds: FloatArray = references - (1.0 - beta) * np.abs(references)
    return thresholds


@dataclass(frozen=True)
class ConstraintState:
    """The constraints of every policy at the beginning of an update.

    Attributes:
        slacks: [policy, objective] x_j of the policies that acted; +inf without a constraint.
        dslack_dadvantage: [policy, objective] derivative of x_j with respect to mean_i[(rho_i - 1) A_ij], A in units
            of sigma: +-h.
    """

    slacks: Tensor
    dslack_dadvantage: Tensor

    @property
    def constrained(self) -> Tensor:
        """Return a mask [policy, objective] of the constraints."""
        return torch.isfinite(self.slacks)

    def predicted_slacks(self, ratios: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
        """Return the pessimistic slacks [policy, objective] after a change of the policies.

        Args:
            ratios: [policy, batch] rho.
            advantages: [policy, batch, objective] A_j in units of sigma_j; each policy's mean over a rollout is 0.
            clip_range: half width of the interval around 1 that ratios are clipped to.
        """
        # (rho - 1) A instead of rho A: a minibatch's mean of A, which is chance, must not count as a violation.
        signed = advantages * self.dslack_dadvantage.sign().unsqueeze(1)
        gains = (clipped_surrogate(ratios.unsqueeze(2), signed, clip_range) - signed).mean(dim=1)
        return self.slacks + self.dslack_dadvantage.abs() * gains


def constraint_state(
    returns: FloatArray,
    thresholds: FloatArray,
    signs: FloatArray,
    reward_std: FloatArray,
    lengths: FloatArray,
    like: Tensor,
) -> ConstraintState:
    """Return the constraints of policies with estimated returns.

    Args:
        returns: [policy, objective] G_j, mean discounted returns of the policies that acted.
        thresholds: [policy, objective] of signs * G; -inf without a constraint.
        signs: [objective] -1 for an upper bound, else 1.
        reward_std: [policy, objective] sigma_j.
        lengths: [policy] h.
        like: a tensor of the wanted type and device.
    """
    moving = reward_std > SMALLEST_DEVIATION
    slacks = np.where(moving, (signs * returns - thresholds) / reward_std, np.inf)
    return ConstraintState(like.new_tensor(slacks), like.new_tensor(signs * lengths[:, None]))


def target_scale(constraints: ConstraintState, advantages: Tensor, weights: Tensor) -> Tensor:
    """Return u = h std(A_l) [policy]: the deviations that a standardized advantage of 1 adds to the target's return.

    Args:
        constraints: for h.
        advantages: [policy, batch, objective] A in units of sigma.
        weights: [policy, objective] unit vectors of the targets l.
    """
    own = torch.bmm(advantages, weights.unsqueeze(2)).squeeze(2)
    # A target that does not move would divide the barrier by 0.
    return constraints.dslack_dadvantage[:, 0].abs() * own.std(dim=1, correction=0).clamp(min=1e-3)
