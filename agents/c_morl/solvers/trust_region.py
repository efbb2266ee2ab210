"""C-MORL-CPO: constrained policy optimization (Achiam et al. 2017) for many constraints and a whole population at once.

One step maximizes g.x subject to b_j.x + c_j >= 0 for every constraint and x.H x / 2 <= delta, where g and b_j are the
gradients of the target and of the slacks, c_j the slacks and H the Fisher matrix of the policy. Products with the
inverse of H come from conjugate gradients. With one constraint the paper solves the dual in closed form; with several
the same closed form holds for a given set of binding constraints, and there are few enough subsets to try them all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.constraints import ConstraintState
from morl.agents.c_morl.solvers.solver import ConstrainedUpdate
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution
from morl.learning.ppo import (
    ActorCritic,
    Memory,
    PolicyLoss,
    Samples,
    inputs_of,
    memory_of,
    probability_ratios,
    thin_out,
)
from morl.protocols import FloatArray

if TYPE_CHECKING:
    from morl.learning.return_weights import WeightRule

FISHER_STRIDE = 4
"""Every fourth sample (of policies with a memory: sequence) is enough for the Fisher matrix."""
DAMPING = 0.1
"""Added to the diagonal of the Fisher matrix."""
CONJUGATE_STEPS = 10
BACKTRACKS = 10
"""Fractions of a step that the line search tries."""
SHRINK = 0.8
"""Ratio of two successive fractions."""

LinearMap = Callable[[Tensor], Tensor]
"""v [policy, n] -> M v [policy, n]."""


def conjugate_gradients(product: LinearMap, right: Tensor, steps: int = CONJUGATE_STEPS) -> Tensor:
    """Return x [policy, n] with product(x) = right, approximately; policies are independent of each other.

    Args:
        product: multiplication by a positive definite matrix of each policy.
        right: [policy, n] right-hand sides.
        steps: number of steps, from zero.
    """
    solution = torch.zeros_like(right)
    residual = right.clone()
    direction = residual.clone()
    size = residual.square().sum(dim=1, keepdim=True)
    for _ in range(steps):
        image = product(direction)
        curvature = (direction * image).sum(dim=1, keepdim=True)
        rate = torch.where(curvature > 0, size / curvature.clamp(min=1e-30), torch.zeros_like(size))
        solution = solution + rate * direction
        residual = residual - rate * image
        next_size = residual.square().sum(dim=1, keepdim=True)
        direction = residual + torch.where(size > 1e-20, next_size / size.clamp(min=1e-30), size * 0) * direction
        size = next_size
    return solution


def fisher_product(
    network: ActorCritic, actor: Tensor, observations: Tensor, masks: Tensor | None, memory: Memory | None = None
) -> LinearMap:
    """Return v -> (H + damping) v: H is the Hessian of the mean divergence of a policy from itself.

    Args:
        network: the shape of actor and critic.
        actor: [policy, n] parameters of the actors.
        observations: [policy, sample, width].
        masks: [policy, sample, choice] allowed choices, or None.
        memory: before the observations, which are sequences; None without a memory.
    """
    parameters = actor.detach().requires_grad_()
    policy = network.distribution(parameters, observations, masks, memory)
    divergence = _divergence(_detached(policy), policy).mean(dim=1).sum()
    (gradient,) = torch.autograd.grad(divergence, parameters, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        (image,) = torch.autograd.grad(gradient, parameters, vector, retain_graph=True)
        return image + DAMPING * vector

    return product


def _detached(policy: Distribution) -> Distribution:
    if isinstance(policy, Categorical):
        return Categorical(policy.log_probabilities.detach())
    return DiagonalGaussian(policy.mean.detach(), policy.log_std.detach())


def _divergence(one: Distribution, other: Distribution) -> Tensor:
    """Return KL(one || other) [policy, batch] of two distributions of one kind."""
    return one.divergence(other)  # type: ignore[arg-type]  # the network decides the kind


@dataclass(frozen=True)
class DualSolution:
    """The step x = H^-1 g / lambda + sum_j (nu_j / lambda) H^-1 b_j of every policy.

    Attributes:
        inverse_lambda: [policy] 1 / lambda; 0 in recovery.
        nu_over_lambda: [policy, constraint] nu_j / lambda.
        recovering: [policy] whether no step in the trust region keeps all constraints.
    """

    inverse_lambda: Tensor
    nu_over_lambda: Tensor
    recovering: Tensor


def dual_step(q: Tensor, r: Tensor, s: Tensor, slacks: Tensor, radius: float) -> DualSolution:
    """Return the solution of max g.x, b_j.x + c_j >= 0, x.H x <= 2 delta, from inner products in the metric H^-1.

    For a set A of binding constraints, with u = S_A^-1 r_A and v = S_A^-1 c_A:

        1 / lambda = sqrt((2 delta - c_A.v) / (q - r_A.u)),  nu_A = -u - lambda v,  x = H^-1 (g + B_A nu_A) / lambda.

    It is the solution where nu_A >= 0 and the other constraints hold (the conditions of Karush, Kuhn and Tucker). Where
    no set qualifies, x is the shortest step that would repair the violations, scaled to the trust region: recovery.

    Args:
        q: [policy] g.H^-1 g.
        r: [policy, constraint] b_j.H^-1 g.
        s: [policy, constraint, constraint] b_i.H^-1 b_j.
        slacks: [policy, constraint] c_j; +inf where a policy does not have the constraint.
        radius: delta.
    """
    q = q.double()
    r = r.double()
    s = s.double()
    exists = torch.isfinite(slacks)
    slacks = slacks.double().nan_to_num(posinf=0.0)
    count = r.shape[1]
    best_inverse_lambda = torch.zeros_like(q)
    best_nu = torch.zeros_like(r)
    best_gain = torch.full_like(q, -torch.inf)
    # Parallel constraints make S singular; the ridge is small beside its entries, whatever their size.
    largest = s.diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=1.0) if count else q
    ridge = 1e-10 * largest[:, None, None] * torch.eye(count, dtype=s.dtype, device=s.device)
    for chosen in chain.from_iterable(combinations(range(count), size) for size in range(count + 1)):
        binding = list(chosen)
        block = (s + ridge)[:, binding][:, :, binding]
        u = torch.linalg.solve(block, r[:, binding])
        v = torch.linalg.solve(block, slacks[:, binding])
        room = 2.0 * radius - (slacks[:, binding] * v).sum(dim=1)
        inverse_lambda = (room.clamp(min=0.0) / (q - (r[:, binding] * u).sum(dim=1)).clamp(min=1e-12)).sqrt()
        nu = torch.zeros_like(r)  # divided by lambda
        nu[:, binding] = -inverse_lambda.unsqueeze(1) * u - v
        slack_after = slacks + inverse_lambda.unsqueeze(1) * r + torch.bmm(s, nu.unsqueeze(2)).squeeze(2)
        tolerance = 1e-6 * (1.0 + slacks.abs())
        satisfied = ((slack_after >= -tolerance) | ~exists).all(dim=1)
        feasible = satisfied & (nu >= -1e-9).all(dim=1) & exists[:, binding].all(dim=1) & (room >= 0.0)
        gain = inverse_lambda * q + (nu * r).sum(dim=1)
        better = feasible & (gain > best_gain)
        best_inverse_lambda = torch.where(better, inverse_lambda, best_inverse_lambda)
        best_gain = torch.where(better, gain, best_gain)
        best_nu = torch.where(better.unsqueeze(1), nu, best_nu)
    recovering = ~torch.isfinite(best_gain)
    repair = _repair_step(s, ridge, slacks, exists & (slacks < 0.0), radius)
    return DualSolution(best_inverse_lambda, torch.where(recovering.unsqueeze(1), repair, best_nu), recovering)


def _repair_step(s: Tensor, ridge: Tensor, slacks: Tensor, violated: Tensor, radius: float) -> Tensor:
    """Return the coefficients of H^-1 b_j [policy, constraint] in the shortest step that repairs all violations.

    Args:
        s: [policy, constraint, constraint] b_i.H^-1 b_j.
        ridge: [policy, constraint, constraint] added to S.
        slacks: [policy, constraint] c_j.
        violated: [policy, constraint] whether c_j is below 0.
        radius: delta; a longer step is scaled to it.
    """
    pair = violated.unsqueeze(2) & violated.unsqueeze(1)
    block = torch.where(pair, s, torch.zeros_like(s)) + torch.diag_embed((~violated).to(s.dtype)) + ridge
    repair: Tensor = torch.linalg.solve(block, torch.where(violated, -slacks, torch.zeros_like(slacks)))
    length = (repair * torch.bmm(torch.where(pair, s, torch.zeros_like(s)), repair.unsqueeze(2)).squeeze(2)).sum(dim=1)
    return repair * (2.0 * radius / length.clamp(min=2.0 * radius)).sqrt().unsqueeze(1)


def trust_region_step(
    network: ActorCritic, parameters: Tensor, samples: Samples, constraints: ConstraintState, radius: float
) -> dict[str, Tensor]:
    """Move the actors of a population by one constrained step, in place; return metrics of each policy [policy].

    Args:
        network: the shape of actor and critic.
        parameters: [policy, n].
        samples: as for `morl.learning.ppo.ppo_update`, with "vector_advantage" [policy, sample, objective].
        constraints: slacks before the step.
        radius: largest mean divergence of the new policy from the old.

    Returns:
        `divergence` from the old policy, `accepted` (1 where the line search accepted a step) and `recovering`.
    """
    actor = network.split(parameters.detach())[0].clone()
    ratios_of = partial(probability_ratios, network, batch=samples)
    leaf = actor.clone().requires_grad_()
    _, ratios = ratios_of(leaf)
    surrogates = torch.cat([samples["advantage"], samples["vector_advantage"]], dim=2)
    predicted = (ratios.unsqueeze(2) * surrogates).mean(dim=1)  # [policy, 1 + objective]
    columns = range(predicted.shape[1])
    gradients = [torch.autograd.grad(predicted[:, k].sum(), leaf, retain_graph=True)[0] for k in columns]
    target = gradients[0]
    slack_gradients = torch.stack(gradients[1:], dim=1) * constraints.dslack_dadvantage.unsqueeze(2)

    thinned = thin_out(samples, FISHER_STRIDE)
    product = fisher_product(network, actor, inputs_of(thinned), thinned.get("mask"), memory_of(thinned))
    inverse_target = conjugate_gradients(product, target)
    inverse_slacks = torch.stack([conjugate_gradients(product, each) for each in slack_gradients.unbind(1)], dim=1)
    solution = dual_step(
        (target * inverse_target).sum(dim=1),
        torch.bmm(slack_gradients, inverse_target.unsqueeze(2)).squeeze(2),
        _symmetric(torch.bmm(slack_gradients, inverse_slacks.transpose(1, 2))),
        constraints.slacks,
        radius,
    )
    direction = solution.inverse_lambda.to(actor.dtype).unsqueeze(1) * inverse_target
    direction = direction + (solution.nu_over_lambda.to(actor.dtype).unsqueeze(2) * inverse_slacks).sum(dim=1)
    with torch.no_grad():
        before, _ = ratios_of(actor)

        def evaluate(fraction: float) -> Candidate:
            policy, ratios = ratios_of(actor + fraction * direction)
            divergence = _divergence(before, policy).mean(dim=1)
            return Candidate(divergence, ((ratios - 1.0).unsqueeze(2) * surrogates).mean(dim=1))

        found = line_search(evaluate, constraints, solution.recovering, radius)
        network.split(parameters.detach())[0].add_(found.fraction.unsqueeze(1) * direction)
    return {
        "divergence": found.divergence,
        "accepted": (found.fraction > 0).float(),
        "recovering": solution.recovering.float(),
    }


def _symmetric(matrices: Tensor) -> Tensor:
    return 0.5 * (matrices + matrices.transpose(1, 2))


class Candidate(NamedTuple):
    """A fraction of a step, evaluated on the samples.

    Attributes:
        divergence: [policy] mean divergence from the old policy.
        gains: [policy, 1 + objective] mean_i[(rho_i - 1) A_i] of the target and of every objective.
    """

    divergence: Tensor
    gains: Tensor


class AcceptedStep(NamedTuple):
    """The result of the line search.

    Attributes:
        fraction: [policy] of the step; 0 where no fraction was accepted.
        divergence: [policy] that it reaches.
    """

    fraction: Tensor
    divergence: Tensor


def line_search(
    evaluate: Callable[[float], Candidate], constraints: ConstraintState, recovering: Tensor, radius: float
) -> AcceptedStep:
    """Return for each policy the longest fraction of its step that the samples confirm.

    Accepted is a divergence of at most 1.5 times the radius, a target that does not decrease (in recovery it may), and
    slacks that do not fall below 0, or, where they are below already, not any further.

    Args:
        evaluate: fraction -> its effect.
        constraints: slacks before the step.
        recovering: [policy] whether the step repairs constraints at the target's expense.
        radius: of the trust region.
    """
    accepted = torch.zeros_like(constraints.slacks[:, 0])
    reached = torch.zeros_like(accepted)
    floor = constraints.slacks.clamp(max=0.0) - 1e-4
    for fraction in (SHRINK**power for power in range(BACKTRACKS)):
        divergence, gains = evaluate(fraction)
        slacks = constraints.slacks + constraints.dslack_dadvantage * gains[:, 1:]
        fits = (divergence <= 1.5 * radius) & (slacks >= floor).all(dim=1)
        fits &= (gains[:, 0] >= 0.0) | recovering
        chosen = fits & (accepted == 0.0)
        accepted = torch.where(chosen, torch.full_like(accepted, fraction), accepted)
        reached = torch.where(chosen, divergence, reached)
    return AcceptedStep(accepted, reached)


# --- The solver -------------------------------------------------------------------------------------------------------


def _no_policy_loss(ratios: Tensor, batch: Samples) -> Tensor:  # noqa: ARG001 - only the critic learns
    return torch.zeros_like(ratios[:, 0])


@dataclass(frozen=True)
class TrustRegion:
    """Actors move by one constrained trust region step for each rollout; PPO's epochs train the critic alone.

    Attributes:
        radius: largest mean divergence of a step.
        learning_rate: of the critic in extension.
    """

    radius: float
    learning_rate: float
    keeps_reference_returns = True
    objectives_in_turn = False
    entropy_bonus = False  # on its own the bonus would move the actor while the critic learns

    def extension_learning_rate(self, reference: Snapshot) -> float:  # noqa: ARG002
        """Return the configured step size."""
        return self.learning_rate

    def weight_rule(self, target: "WeightRule", signs: FloatArray) -> "WeightRule":  # noqa: ARG002
        """Return the target's own rule: the dual is solved anew in every step."""
        return target

    def step_actors(self, update: ConstrainedUpdate) -> dict[str, Tensor]:
        """Run the trust region step; the actors keep no momentum of Adam."""
        population = update.population
        metrics = trust_region_step(
            population.network, population.parameters, update.samples, update.constraints, self.radius
        )
        population.network.split(population.optimizer.first_moments)[0].zero_()
        return metrics

    def policy_loss(self, update: ConstrainedUpdate) -> PolicyLoss:  # noqa: ARG002
        """Return a loss that is constant."""
        return _no_policy_loss
