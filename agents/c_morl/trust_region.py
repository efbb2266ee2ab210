"""Constrained policy optimization (Achiam et al. 2017) for any number of constraints and a whole population at once.

One step maximizes g.x subject to b_j.x + c_j >= 0 for every constraint and x.H x / 2 <= delta, where g and b_j are the
gradients of the target and of the slacks, c_j the slacks and H the Fisher matrix of the policy. Products with the
inverse of H come from conjugate gradients. With one constraint the paper solves the dual in closed form; with several
the same closed form holds once it is known which constraints bind, and there are few enough subsets to try them all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations

import torch
from torch import Tensor

from morl.agents.c_morl.constraints import Limits
from morl.learning.actor_critic import ActorCritic
from morl.learning.distributions import Distribution
from morl.learning.ppo import probability_ratios

FISHER_STRIDE = 4
"""Every fourth sample is enough for the Fisher matrix."""
DAMPING, CONJUGATE_STEPS, BACKTRACKS, SHRINK = 0.1, 10, 10, 0.8

Product = Callable[[Tensor], Tensor]


def conjugate_gradients(product: Product, right: Tensor, steps: int = CONJUGATE_STEPS) -> Tensor:
    """Return x [policy, n] with product(x) = right, after `steps` steps from zero; policies do not feel each other."""
    solution, residual = torch.zeros_like(right), right.clone()
    direction, size = residual.clone(), residual.square().sum(dim=1, keepdim=True)
    for _ in range(steps):
        image = product(direction)
        curvature = (direction * image).sum(dim=1, keepdim=True)
        rate = torch.where(curvature > 0, size / curvature.clamp(min=1e-30), torch.zeros_like(size))
        solution = solution + rate * direction
        residual = residual - rate * image
        following = residual.square().sum(dim=1, keepdim=True)
        direction = residual + torch.where(size > 1e-20, following / size.clamp(min=1e-30), size * 0) * direction
        size = following
    return solution


def fisher_product(network: ActorCritic, actor: Tensor, observations: Tensor, masks: Tensor | None) -> Product:
    """Return v -> (H + damping) v, both [policy, n]: H is the Hessian of the mean divergence from the policy itself."""
    parameters = actor.detach().requires_grad_()
    policy = network.distribution(parameters, observations, masks)
    divergence = _detached(policy).divergence(policy).mean(dim=1).sum()  # type: ignore[arg-type]  # one kind
    (gradient,) = torch.autograd.grad(divergence, parameters, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        (image,) = torch.autograd.grad(gradient, parameters, vector, retain_graph=True)
        return image + DAMPING * vector

    return product


def _detached(policy: Distribution) -> Distribution:
    return type(policy)(*(value.detach() for value in vars(policy).values()))


@dataclass(frozen=True)
class Step:
    """What the dual says: x = along * H^-1 g + sum_j towards_j H^-1 b_j, and which policies had to recover.

    Attributes:
        along: [policy].
        towards: [policy, constraint].
        recovering: [policy] whether no step in the trust region keeps all constraints.
    """

    along: Tensor
    towards: Tensor
    recovering: Tensor


def dual_step(q: Tensor, r: Tensor, s: Tensor, slacks: Tensor, radius: float) -> Step:
    """Return the solution of max g.x, b_j.x + c_j >= 0, x.H x <= 2 delta, from inner products in the metric H^-1.

    For a set A of binding constraints, with u = S_A^-1 r_A and v = S_A^-1 c_A:

        1 / lambda = sqrt((2 delta - c_A.v) / (q - r_A.u)),  nu_A = -u - lambda v,  x = H^-1 (g + B_A nu_A) / lambda.

    It is the solution where nu_A >= 0 and the other constraints hold (the conditions of Karush, Kuhn and Tucker). Where
    no set qualifies, x is the shortest step that would repair what is violated, cut to the trust region: recovery.

    Args:
        q: [policy] g.H^-1 g.
        r: [policy, constraint] b_j.H^-1 g.
        s: [policy, constraint, constraint] b_i.H^-1 b_j.
        slacks: [policy, constraint] c_j; +inf where a policy does not have the constraint.
        radius: delta.
    """
    q, r, s, slacks = (tensor.double() for tensor in (q, r, s, slacks))
    exists = torch.isfinite(slacks)
    slacks = slacks.nan_to_num(posinf=0.0)
    count = r.shape[1]
    along, towards, best = torch.zeros_like(q), torch.zeros_like(r), torch.full_like(q, -torch.inf)
    # Constraints that pull alike make S singular; the ridge is small beside its entries, whatever their size.
    largest = s.diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=1.0) if count else q
    ridge = 1e-10 * largest[:, None, None] * torch.eye(count, dtype=s.dtype, device=s.device)
    for chosen in chain.from_iterable(combinations(range(count), size) for size in range(count + 1)):
        binding = list(chosen)
        block = (s + ridge)[:, binding][:, :, binding]
        u, v = (torch.linalg.solve(block, side[:, binding]) for side in (r, slacks))
        room = 2.0 * radius - (slacks[:, binding] * v).sum(dim=1)
        rate = (room.clamp(min=0.0) / (q - (r[:, binding] * u).sum(dim=1)).clamp(min=1e-12)).sqrt()  # 1 / lambda
        pulls = torch.zeros_like(r)
        pulls[:, binding] = -rate.unsqueeze(1) * u - v  # nu / lambda
        reached = slacks + rate.unsqueeze(1) * r + torch.bmm(s, pulls.unsqueeze(2)).squeeze(2)
        tolerance = 1e-6 * (1.0 + slacks.abs())
        kept = ((reached >= -tolerance) | ~exists).all(dim=1)
        valid = kept & (pulls >= -1e-9).all(dim=1) & exists[:, binding].all(dim=1) & (room >= 0.0)
        gain = rate * q + (pulls * r).sum(dim=1)
        better = valid & (gain > best)
        along, best = torch.where(better, rate, along), torch.where(better, gain, best)
        towards = torch.where(better.unsqueeze(1), pulls, towards)
    recovering = ~torch.isfinite(best)
    violated = exists & (slacks < 0.0)
    pair = violated.unsqueeze(2) & violated.unsqueeze(1)
    block = torch.where(pair, s, torch.zeros_like(s)) + torch.diag_embed((~violated).to(s.dtype)) + ridge
    repair = torch.linalg.solve(block, torch.where(violated, -slacks, torch.zeros_like(slacks)))
    length = (repair * torch.bmm(torch.where(pair, s, torch.zeros_like(s)), repair.unsqueeze(2)).squeeze(2)).sum(dim=1)
    repair = repair * (2.0 * radius / length.clamp(min=2.0 * radius)).sqrt().unsqueeze(1)
    return Step(along, torch.where(recovering.unsqueeze(1), repair, towards), recovering)


def trust_region_step(
    network: ActorCritic, parameters: Tensor, samples: Mapping[str, Tensor], limits: Limits, radius: float
) -> dict[str, Tensor]:
    """Move the actors of a population by one constrained step, in place; return `divergence` and shares [policy].

    Args:
        network: the shape of actor and critic.
        parameters: [policy, n].
        samples: as for `morl.learning.ppo.ppo_update`, with "vector_advantage" [policy, sample, objective].
        limits: the constraints.
        radius: largest mean divergence of the new policy from the old.
    """
    actor = network.split(parameters.detach())[0].clone()
    masks = samples.get("mask")

    ratios_of = partial(probability_ratios, network, batch=samples)
    leaf = actor.clone().requires_grad_()
    _, ratios = ratios_of(leaf)
    surrogates = torch.cat([samples["advantage"], samples["vector_advantage"]], dim=2)
    predicted = (ratios.unsqueeze(2) * surrogates).mean(dim=1)  # [policy, 1 + objective]
    columns = range(predicted.shape[1])
    gradients = [torch.autograd.grad(predicted[:, k].sum(), leaf, retain_graph=True)[0] for k in columns]
    target = gradients[0]
    slack_gradients = torch.stack(gradients[1:], dim=1) * limits.slopes.unsqueeze(2)  # [policy, objective, n]

    thinned = None if masks is None else masks[:, ::FISHER_STRIDE]
    product = fisher_product(network, actor, samples["observation"][:, ::FISHER_STRIDE], thinned)
    inverse_target = conjugate_gradients(product, target)
    inverse_slacks = torch.stack([conjugate_gradients(product, each) for each in slack_gradients.unbind(1)], dim=1)
    step = dual_step(
        (target * inverse_target).sum(dim=1),
        torch.bmm(slack_gradients, inverse_target.unsqueeze(2)).squeeze(2),
        _symmetric(torch.bmm(slack_gradients, inverse_slacks.transpose(1, 2))),
        limits.slacks,
        radius,
    )
    direction = step.along.to(actor.dtype).unsqueeze(1) * inverse_target
    direction = direction + (step.towards.to(actor.dtype).unsqueeze(2) * inverse_slacks).sum(dim=1)
    with torch.no_grad():
        before, _ = ratios_of(actor)
        fraction, divergence = _line_search(ratios_of, actor, direction, before, surrogates, limits, step, radius)
        network.split(parameters.detach())[0].add_(fraction.unsqueeze(1) * direction)
    return {"divergence": divergence, "accepted": (fraction > 0).float(), "recovering": step.recovering.float()}


def _symmetric(matrices: Tensor) -> Tensor:
    return 0.5 * (matrices + matrices.transpose(1, 2))


def _line_search(
    ratios_of: Callable[[Tensor], tuple[Distribution, Tensor]],
    actor: Tensor,
    direction: Tensor,
    before: Distribution,
    surrogates: Tensor,
    limits: Limits,
    step: Step,
    radius: float,
) -> tuple[Tensor, Tensor]:
    """Return for each policy the longest fraction of its step that keeps its promises [policy], 0 where none does.

    Promises: a divergence within 1.5 times the radius; the target does not get worse (unless the step is a recovery);
    no slack falls below zero, or, where it is already below, any further. Also returns the divergence reached [policy].
    """
    accepted, reached = torch.zeros_like(direction[:, 0]), torch.zeros_like(direction[:, 0])
    floor = limits.slacks.clamp(max=0.0) - 1e-4
    for fraction in (SHRINK**power for power in range(BACKTRACKS)):
        policy, ratios = ratios_of(actor + fraction * direction)
        divergence = before.divergence(policy).mean(dim=1)  # type: ignore[arg-type]  # both are of one kind
        gains = ((ratios - 1.0).unsqueeze(2) * surrogates).mean(dim=1)
        slacks = limits.slacks + limits.slopes * gains[:, 1:]
        fits = (divergence <= 1.5 * radius) & (slacks >= floor).all(dim=1)
        fits &= (gains[:, 0] >= 0.0) | step.recovering
        chosen = fits & (accepted == 0.0)
        accepted = torch.where(chosen, torch.full_like(accepted, fraction), accepted)
        reached = torch.where(chosen, divergence, reached)
    return accepted, reached
