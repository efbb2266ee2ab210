"""Combination of the gradients of several objectives into one direction for the actors of a population.

Every method here returns a direction d = sum_k c_k g_k, where g_k is the gradient of objective k, and computes the
coefficients c from two things: the Gramian G of the gradients, G_jk = g_j.g_k, and the weights w of the objectives. So
one function `combine` serves them all, batched over policies. Gradients point uphill: an objective is not harmed where
g_k.d >= 0.

How weights enter, where a paper has none: equal weights give the paper's own direction, and d is homogeneous in w. An
objective of weight 0 takes no part, so that the ends of a front stay reachable; one of negative weight counts as the
objective to be lowered.

UPGrad, MGDA and CAGrad are small quadratic programs. Up to 8 objectives they are solved exactly by trying every set of
binding constraints, all policies and sets in one batched linear solve; beyond, UPGrad and MGDA come from torchjd.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TypeAlias, get_args

import torch
from torch import Tensor

from morl.learning.types import CombinerName, GradientCombiner

Combiner: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(Gramians [policy, objective, objective], weights [policy, objective] >= 0) -> coefficients [policy, objective], all
float64. Rows and columns of objectives of weight 0 are 0."""

ENUMERATED_OBJECTIVES = 8
"""Largest number of objectives of which every subset is tried, 256 of them."""
UPGRAD_RIDGE = 1e-4
"""Added to the diagonal of UPGrad's Gramian of trace 1 (torchjd's value): the direction is bounded where gradients are
opposite, and may harm an objective by as little as that."""
RIDGE = 1e-9
"""Added to the diagonal of the cosines of MGDA and CAGrad, for gradients that are linearly dependent."""
CAGRAD_RADIUS = 0.5
"""c of CAGrad: how far the direction may lie from the weighted sum, as a share of its length."""
NASH_RIDGE = 1e-6
"""Added to the diagonal of Nash-MTL's Gramian of gradients of length 1: two opposite gradients have no bargain."""
NASH_STEPS = 50
"""Most Newton steps of Nash-MTL; five to ten are usual."""


def combine(name: GradientCombiner, gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients c [policy, objective] of the direction sum_k c_k g_k.

    Args:
        name: of the method.
        gramian: [policy, objective, objective] inner products g_j.g_k of the objectives' gradients, uphill.
        weights: [policy, objective] w of the objectives.
    """
    signs = torch.where(weights < 0, -1.0, 1.0).double()
    sizes = weights.double().abs()
    taking_part = signs * (sizes > 0)
    signed = gramian.double() * taking_part.unsqueeze(2) * taking_part.unsqueeze(1)
    return (signs * COMBINERS[name](signed, sizes)).to(weights.dtype)


def combined_weights(
    name: GradientCombiner, losses: Tensor, weights: Tensor, gradient_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the coefficients c [policy, objective]: minimizing sum_k c_k L_k moves along the combined direction.

    Args:
        name: of the method.
        losses: [policy, objective] L of the actors, each of one objective alone; an objective rises as its loss falls.
        weights: [policy, objective] w of the objectives.
        gradient_of: loss [] -> its gradient [policy, n] with respect to the actors; it keeps the graph.
    """
    jacobian = torch.stack([gradient_of(losses[:, k].sum()) for k in range(losses.shape[1])], dim=1).double()
    return combine(name, jacobian @ jacobian.mT, weights)


def batch_losses(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of the objectives in a batch [policy, objective], and the batch's weights [policy, objective].

    Their weighted sum is the loss -mean_i w_i.Q_i, also where a network is conditioned on a weight of its own in every
    row i: L_k = -mean_i (w_ik / w_k) Q_ik with w = mean_i w_i.

    Args:
        values: [policy, batch, objective] Q of the actors' actions.
        weights: [policy, batch or 1, objective] of every row.
    """
    means = weights.mean(dim=1)
    shares = torch.where(means == 0, torch.zeros_like(means), 1.0 / means).unsqueeze(1) * weights
    return -(shares * values).mean(dim=1), means


def check_combiner(name: str, num_objectives: int) -> None:
    """Check that a method exists and can be computed for a number of objectives.

    Args:
        name: of the method.
        num_objectives: number of objectives.

    Raises:
        ValueError: it cannot; one sentence says why.
    """
    if name not in COMBINERS:
        raise ValueError(f"combiner is {name!r}, but must be one of {', '.join(get_args(CombinerName))}")
    if num_objectives <= ENUMERATED_OBJECTIVES:
        return
    if name == "cagrad":
        raise ValueError(
            f"combiner is 'cagrad', but there are {num_objectives} objectives and it is computed for at most"
            f" {ENUMERATED_OBJECTIVES}: take 'upgrad', 'mgda', 'pcgrad', 'nash-mtl' or 'aligned-mtl'"
        )
    if name in ("upgrad", "mgda"):
        missing = [package for package in ("torchjd", "qpsolvers", "quadprog") if find_spec(package) is None]
        if missing:
            raise ValueError(
                f"combiner is {name!r}, but for more than {ENUMERATED_OBJECTIVES} objectives (there are"
                f" {num_objectives}) it needs {', '.join(missing)}: pip install 'morl-suite[torchjd]'"
            )


# --- Without a program to solve ---------------------------------------------------------------------------------------


def weighted_sum(gramian: Tensor, weights: Tensor) -> Tensor:  # noqa: ARG001
    """Return w: the direction sum_k w_k g_k of linear scalarization."""
    return weights


def pcgrad(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of PCGrad: every gradient loses what conflicts with another, then their weighted sum.

    For every i, p_i starts at w_i g_i, and p_i <- p_i - (p_i.g_j / |g_j|^2) g_j for each j with p_i.g_j < 0; d is
    sum_i p_i. Source: Yu, Kumar, Gupta, Levine, Hausman and Finn 2020 (arXiv 2001.06782), algorithm 1. The paper takes
    the others in random order; here they follow i in the order of the objectives, so that a run needs no dice for it
    (with two objectives there is one order).

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
    """
    count = weights.shape[1]
    rows = torch.arange(count, device=weights.device)
    lengths = gramian.diagonal(dim1=1, dim2=2)
    projected = torch.diag_embed(weights)  # [policy, i, objective] coefficients of p_i
    for distance in range(1, count):
        others = (rows + distance) % count
        inner = (projected * gramian[:, others]).sum(dim=2)
        conflicts = inner.clamp(max=0.0) / lengths[:, others].clamp(min=torch.finfo(torch.float64).tiny)
        projected[:, rows, others] -= conflicts
    return projected.sum(dim=1)


def task_novelty_bisector(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of CTNB: the task's gradient alone while novelty suffices, else a bisector of both.

    g_1 = sum_k w_k g_k over all objectives but the last is the task's gradient, g_2 that of novelty, the last. A weight
    of 0 says that novelty suffices, any other that it does not. With e_i = g_i / |g_i| and their cosine c the direction
    is then e_1 + e_2 where c > 0, else e_2 - c e_1, which is orthogonal to g_1; its length is the mean of |g_1| and
    |g_2|. It conflicts with neither. Source: Sun, Peng, Dai, Guo, Lin and Zhou 2020 (arXiv 2005.10696).

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
    """
    task = weights.clone()
    task[:, -1] = 0.0
    products = (gramian @ task.unsqueeze(2)).squeeze(2)  # [policy, objective] g_k.g_1
    tiny = 1e-150  # its square is no zero
    first = (task * products).sum(dim=1).clamp(min=0.0).sqrt()
    second = gramian[:, -1, -1].clamp(min=0.0).sqrt()
    cosine = (products[:, -1] / (first * second).clamp(min=tiny)).clamp(-1.0, 1.0)
    apart = (cosine <= 0) & (second > 0)
    is_first = (first > 0).double()
    is_second = (second > 0).double()
    along_task = torch.where(apart, -cosine, is_first) / first.clamp(min=tiny)
    squared = torch.where(apart, is_second - cosine.square(), is_first + is_second + 2.0 * cosine)
    # Opposite gradients have no bisector: both coefficients are 0 where its length is lost in rounding.
    scale = torch.where(squared > 1e-12, 0.5 * (first + second) / squared.clamp(min=1e-12).sqrt(), 0.0)
    bisector = (scale * along_task).unsqueeze(1) * task
    bisector[:, -1] = scale * is_second / second.clamp(min=tiny)
    return torch.where(weights[:, -1:] > 0, bisector, task)


def aligned_mtl(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of Aligned-MTL: the weighted sum of gradients made orthogonal and equally long.

    With G = V diag(lambda) V^T, c = B w and B = sqrt(lambda_min) V diag(lambda^-1/2) V^T, over the eigenvalues that are
    not 0: the gradients B J have the condition number 1. Source: Senushkin, Patakin, Kuznetsov and Konushin 2023
    (arXiv 2305.19000), algorithm 1.

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
    """
    eigenvalues, vectors = torch.linalg.eigh(gramian)
    smallest = 1e-10 * eigenvalues.amax(dim=1, keepdim=True)
    counts = eigenvalues > smallest
    least = torch.where(counts, eigenvalues, torch.inf).amin(dim=1, keepdim=True)
    scales = torch.where(counts, (least / eigenvalues.clamp(min=1e-300)).sqrt(), 0.0)
    coefficients: Tensor = vectors @ (scales.unsqueeze(2) * (vectors.mT @ weights.unsqueeze(2)))
    return coefficients.squeeze(2)


def nash_mtl(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of Nash-MTL: the direction of the weighted Nash bargain, max sum_k w_k log g_k.d.

    They solve G c = w / c, c > 0 (claim 3.1 with equal weights), which minimizes c.G c / 2 - sum_k w_k log c_k: Newton
    steps, each as long as the best of several fractions. A gradient's length has no effect on the direction. The paper
    leaves the radius of the ball open that d lies in; here it is sum_k w_k |g_k|, so that one objective alone is given
    its gradient. Source: Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik and Fetaya 2022 (arXiv 2202.01017).

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
    """
    lengths = gramian.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()
    active = (lengths > 0) & (weights > 0)
    scale = torch.where(active, 1.0 / lengths.clamp(min=1e-300), 0.0)
    cosines = gramian * scale.unsqueeze(2) * scale.unsqueeze(1)
    identity = torch.eye(weights.shape[1], dtype=weights.dtype, device=weights.device)
    cosines = torch.where(identity.bool(), identity, cosines) + NASH_RIDGE * identity
    shares = torch.where(active, weights, 1.0)  # objectives that take no part are solved on their own, and left out
    shares = shares / shares.sum(dim=1, keepdim=True)
    solution = shares.sqrt()
    fractions = 0.5 ** torch.arange(12, dtype=weights.dtype, device=weights.device)

    def cost(points: Tensor) -> Tensor:
        """Return c.G c / 2 - sum_k w_k log c_k [policy, fraction] of points [policy, fraction, objective]."""
        quadratic = 0.5 * ((points @ cosines) * points).sum(dim=2)
        logarithms = torch.where(points > 0, points.clamp(min=1e-300).log(), -torch.inf)
        return quadratic - (shares.unsqueeze(1) * logarithms).sum(dim=2)

    for _ in range(NASH_STEPS):
        gradient = (cosines @ solution.unsqueeze(2)).squeeze(2) - shares / solution
        hessian = cosines + torch.diag_embed(shares / solution.square())
        step = torch.linalg.solve(hessian, gradient)
        candidates = solution.unsqueeze(1) - fractions[:, None] * step.unsqueeze(1)
        best = cost(candidates).argmin(dim=1)
        solution = candidates[torch.arange(len(best)), best]
        if (gradient * step).sum(dim=1).amax() < 1e-24:
            break
    coefficients = torch.where(active, solution, 0.0) * scale
    length = (coefficients.unsqueeze(1) @ gramian @ coefficients.unsqueeze(2)).flatten().clamp(min=1e-300).sqrt()
    radius = (weights * lengths).sum(dim=1)
    return coefficients * (radius / length).unsqueeze(1)


# --- Quadratic programs, by enumeration -------------------------------------------------------------------------------


def _subsets(count: int, device: torch.device) -> Tensor:
    """Return all subsets of `count` objectives as masks [subset, objective]."""
    numbers = torch.arange(2**count, device=device).unsqueeze(1)
    return (numbers >> torch.arange(count, device=device)) & 1 == 1


def _cosines(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Gramian of gradients of length 1 plus a ridge, and 1 / their lengths [policy, objective].

    A gradient that is 1e9 times shorter than the others is taken to be no shorter than that.
    """
    squares = gramian.diagonal(dim1=1, dim2=2)
    trace = squares.sum(dim=1, keepdim=True)
    inverse = torch.maximum(squares, 1e-18 * torch.where(trace > 0, trace, 1.0)).rsqrt()
    identity = torch.eye(gramian.shape[1], dtype=gramian.dtype, device=gramian.device)
    return gramian * inverse.unsqueeze(2) * inverse.unsqueeze(1) + RIDGE * identity, inverse


def _restricted(gramian: Tensor, subsets: Tensor) -> Tensor:
    """Return G_SS for every subset S, completed by an identity: [policy, subset, objective, objective]."""
    pair = subsets.unsqueeze(2) & subsets.unsqueeze(1)
    return torch.where(pair, gramian.unsqueeze(1), 0.0) + torch.diag_embed(~subsets).to(gramian.dtype)


def _least_violating(candidates: Tensor, violations: Tensor) -> Tensor:
    """Return the candidate of the subset that satisfies the optimality conditions, the solution of a convex program.

    Args:
        candidates: [policy, subset, objective].
        violations: [policy, subset] largest violation of a condition.
    """
    best = violations.argmin(dim=1)
    return candidates[torch.arange(len(best), device=best.device), best]


def upgrad(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of UPGrad: the sum of all w_i g_i, each projected to where no objective is harmed.

    The projection of w_i g_i on the dual cone of the gradients is sum_k v_k g_k, with v the solution of min v.G v such
    that v >= w_i e_i. Where v_k is not at its bound, (G v)_k = 0; elsewhere (G v)_k >= 0. Never conflicts, and is
    linear in the length of each gradient. Source: Quinton and Rey 2024 (arXiv 2406.16232), section 3 and proposition 1.

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
    """
    count = weights.shape[1]
    if count > ENUMERATED_OBJECTIVES:
        return _upgrad_by_torchjd(gramian, weights)
    trace = gramian.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    identity = torch.eye(count, dtype=gramian.dtype, device=gramian.device)
    normalized = (gramian / torch.where(trace > 0, trace, 1.0) + UPGRAD_RIDGE * identity).unsqueeze(1)
    free = _subsets(count, weights.device)
    bounds = torch.diag_embed(weights).unsqueeze(1)  # [policy, 1, objective, i]: the column of i is w_i e_i
    fixed = torch.where(free.unsqueeze(2), 0.0, bounds)
    right = torch.where(free.unsqueeze(2), -(normalized @ fixed), fixed)
    candidates = torch.linalg.solve(_restricted(normalized.squeeze(1), free), right)
    violations = torch.where(free.unsqueeze(2), bounds - candidates, -(normalized @ candidates)).amax(dim=2)
    columns = [_least_violating(candidates[..., i], violations[..., i]) for i in range(count)]
    return torch.stack(columns).sum(dim=0)


def mgda(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of MGDA: the shortest direction in the convex hull of the gradients.

    min c.G c such that sum_k c_k = 1, c >= 0 (Desideri 2012; Sener and Koltun 2018, arXiv 1810.04650, eq. 3). With
    weights the sum is n sum_k w_k c_k / sum_k w_k, n objectives: then g_k.d >= w_k times the same number for all k,
    with equality where c_k > 0, so that objectives improve in proportion to their weights. Never conflicts.

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
    """
    total = weights.sum(dim=1, keepdim=True)
    shares = weights / torch.where(total > 0, total, 1.0)
    if weights.shape[1] > ENUMERATED_OBJECTIVES:
        solution = _mgda_by_torchjd(gramian, shares)
    else:  # the same up to its length: min y.G y / 2 - w.y, y >= 0
        cosines, inverse = _cosines(gramian)
        target = (shares * inverse).unsqueeze(1)
        target = target / target.amax(dim=2, keepdim=True).clamp(min=1e-300)
        free = _subsets(weights.shape[1], weights.device)
        candidates = torch.linalg.solve(_restricted(cosines, free), torch.where(free, target, 0.0).unsqueeze(3))
        candidates = candidates.squeeze(3)
        largest = candidates.abs().amax(dim=2, keepdim=True).clamp(min=1.0)  # rounding grows with the solution
        broken = torch.where(free, -candidates / largest, target - candidates @ cosines)
        solution = inverse * _least_violating(candidates, broken.amax(dim=2)).clamp(min=0.0)
    solution = torch.where(weights > 0, solution, 0.0)
    size = (weights > 0).sum(dim=1) * (shares * solution).sum(dim=1)
    return total * solution / torch.where(size > 0, size, 1.0).unsqueeze(1)


def cagrad(gramian: Tensor, weights: Tensor, radius: float = CAGRAD_RADIUS) -> Tensor:
    """Return the coefficients of CAGrad: near the weighted sum, the direction whose worst objective improves most.

    max_d min_k g_k.d such that |d - g_0| <= c |g_0|, with g_0 = sum_k w_k g_k instead of the mean. If S are the
    objectives that improve least, by mu, then d = g_0 + sum_S (mu a - b)_k g_k with a = G_SS^-1 1 and
    b = G_SS^-1 (G w)_S, and |d - g_0|^2 = c^2 |g_0|^2 is a quadratic equation in mu. What is returned is d / (1 + c),
    so that one objective alone is given its gradient. Source: Liu, Liu, Jin, Stone and Liu 2021 (arXiv 2110.14048),
    eq. 2 and algorithm 1.

    Args:
        gramian: [policy, objective, objective].
        weights: [policy, objective].
        radius: c.
    """
    cosines, inverse = _cosines(gramian)
    scaled = weights / inverse  # of gradients of length 1
    chosen = _subsets(weights.shape[1], weights.device)
    active = (weights > 0).unsqueeze(1)
    members = chosen & active  # [policy, subset, objective]
    rates = (cosines @ scaled.unsqueeze(2)).squeeze(2).unsqueeze(1)
    unit = inverse.unsqueeze(1)
    right = torch.stack([torch.where(members, unit, 0.0), torch.where(members, rates, 0.0)], dim=3)
    a, b = torch.linalg.solve(_restricted(cosines, chosen), right).unbind(dim=3)
    room = radius**2 * (scaled * rates.squeeze(1)).sum(dim=1, keepdim=True)
    ones = (a * right[..., 0]).sum(dim=2)
    middle = (a * right[..., 1]).sum(dim=2)
    discriminant = middle.square() - ones * ((b * right[..., 1]).sum(dim=2) - room)
    mu = (middle + discriminant.clamp(min=0.0).sqrt()) / torch.where(ones > 0, ones, 1.0)
    added = mu.unsqueeze(2) * a - b
    candidates = scaled.unsqueeze(1) + added
    short = mu.unsqueeze(2) * unit - candidates @ cosines
    broken = torch.where(members, -added, torch.where(active, short, -torch.inf)).amax(dim=2)
    broken = torch.where(ones > 0, torch.maximum(broken, -discriminant), torch.inf)
    solution = inverse * _least_violating(candidates, broken) / (1.0 + radius)
    return torch.where(weights > 0, solution, 0.0)


COMBINERS: Mapping[GradientCombiner, Combiner] = {
    "weighted-sum": weighted_sum,
    "upgrad": upgrad,
    "mgda": mgda,
    "pcgrad": pcgrad,
    "cagrad": cagrad,
    "nash-mtl": nash_mtl,
    "aligned-mtl": aligned_mtl,
    "ctnb": task_novelty_bisector,
}
"""Name -> method."""


# --- More objectives: torchjd -----------------------------------------------------------------------------------------


def _upgrad_by_torchjd(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients of UPGrad, policy by policy."""
    from torchjd.aggregation import UPGradWeighting

    return torch.stack([UPGradWeighting(w)(g) for g, w in zip(gramian, weights, strict=True)])


def _mgda_by_torchjd(gramian: Tensor, shares: Tensor) -> Tensor:
    """Return the coefficients of MGDA up to their length, policy by policy: those of gradients g_k / w_k, over w_k."""
    from torchjd.aggregation import MGDAWeighting

    found = torch.zeros_like(shares)
    for policy, weights in enumerate(shares):
        rows = weights.nonzero().squeeze(1)
        inverse = 1.0 / weights[rows]
        scaled = gramian[policy][rows][:, rows] * inverse.unsqueeze(1) * inverse
        found[policy, rows] = inverse * MGDAWeighting(epsilon=1e-6, max_iters=1000)(scaled)
    return found
