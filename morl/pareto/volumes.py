"""Hypervolume: how much of the objective space the points dominate, down to a reference point."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points, as_vector
from morl.pareto.compilation import kernel
from morl.pareto.contributions import contributions_2d, contributions_3d, contributions_4d, contributions_few
from morl.pareto.dominance import maximal, non_dominated
from morl.pareto.hypervolume_2d3d import hypervolume_2d, hypervolume_3d
from morl.pareto.hypervolume_4d import hypervolume_4d
from morl.pareto.hypervolume_few import MOST
from morl.pareto.hypervolume_wfg import hypervolume_wfg
from morl.pareto.order import descending

Array = NDArray[np.float64]


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Returns the volume that `points` dominate above `reference`, exactly; 0.0 for an empty set.

    HV(P, r) = volume of the union over p in P of the boxes [r, p] (Zitzler and Thiele 1998). Only points
    strictly better than the reference in every objective count. Not scale-free: it carries the product of the
    objectives' units.

    Args:
        points: [n, objective], finite, in any order, dominated points and copies allowed.
        reference: [objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    return _volume(_boxes(points, reference))


def _boxes(points: ArrayLike, reference: ArrayLike) -> Array:
    """Returns the points that count, [n, objective], relative to the reference."""
    corner = as_vector(reference, "reference")
    return _above(as_points(points, objectives=corner.shape[0]), corner)


@kernel
def _above(points: Array, corner: Array) -> Array:
    n, m = points.shape
    boxes = np.empty((n, m))
    count = 0
    for i in range(n):
        inside = True
        for k in range(m):
            boxes[count, k] = points[i, k] - corner[k]
            inside &= boxes[count, k] > 0.0
        count += inside
    return boxes[:count]


def _volume(boxes: Array) -> float:
    n, m = boxes.shape
    if n == 0:
        return 0.0
    if m == 1:
        return float(boxes.max())
    order = np.argsort(boxes[:, -1])[::-1]
    if m == 2:
        return hypervolume_2d(boxes, order)
    if m == 3:
        return hypervolume_3d(boxes, order)
    if m == 4:
        return hypervolume_4d(boxes[order], n, np.empty((3, n + 1)), np.empty((2, n + 1)))
    if n > MOST:  # fewer are not worth a filter: the recursion meets dominated points with grace
        boxes = boxes[maximal(boxes)]
        order = np.argsort(boxes[:, -1])[::-1]
    boxes = boxes[order]
    return hypervolume_wfg(boxes, np.argsort(boxes.T, axis=1))


def hypervolume_contributions(points: ArrayLike, reference: ArrayLike) -> Array:
    """Returns the exclusive volume of each point [n]: what no other non-dominated point covers.

    Dominated points get 0 and take nothing from others (in moocore's convention); copies of a point share all they
    have and get 0; points that do not exceed the reference in every objective get 0.

    Args:
        points: [n, objective], finite.
        reference: [objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    corner = as_vector(reference, "reference")
    boxes = as_points(points, objectives=corner.shape[0]) - corner
    n, m = boxes.shape
    if n > 0 and m == 2:
        return contributions_2d(boxes, descending(boxes))
    if n > 0 and m == 3:
        return contributions_3d(boxes, descending(boxes))
    contributions = np.zeros(n)
    kept = maximal(boxes)
    front = np.nonzero(kept & (boxes > 0.0).all(axis=1))[0]
    if front.size > 0:
        contributions[front] = np.maximum(_exclusive(boxes[front]), 0.0)
        if not kept.all():
            copies = {tuple(row) for row in boxes[maximal(boxes, keep_duplicates=True) & ~kept]}
            contributions[[i for i in front if copies and tuple(boxes[i]) in copies]] = 0.0
    return contributions


def _exclusive(boxes: Array) -> Array:
    """Returns the exclusive volumes [n] of non-dominated, different boxes in one, four or more objectives."""
    n, m = boxes.shape
    if m == 1:
        return boxes[:, 0]
    order = np.argsort(boxes[:, -1])[::-1]
    volumes = np.empty(n)
    boxes = boxes[order]
    if m == 4:
        volumes[order] = contributions_4d(boxes)
    elif n <= MOST and m <= 8:
        volumes[order] = contributions_few(boxes, np.argsort(boxes.T, axis=1))
    else:
        volumes[order] = [_gain(np.delete(boxes, i, axis=0), boxes[i]) for i in range(n)]
    return volumes


def hypervolume_improvement(points: ArrayLike, candidates: ArrayLike, reference: ArrayLike) -> float | Array:
    """Returns how much the hypervolume of `points` grows when a candidate joins them, each candidate on its own.

    Only the part of the set below the candidate is measured: HVI(c) = volume [r, c] - HV({min(p, c)}, r).

    Args:
        points: [n, objective], finite.
        candidates: [objective] for one float, or [k, objective] for an array [k]; finite.
        reference: [objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    corner = as_vector(reference, "reference")
    boxes = _boxes(points, corner)
    if np.ndim(candidates) == 1 and np.size(candidates) > 0:
        candidate = as_vector(candidates, "candidates", corner.shape[0]) - corner
        return _gain(boxes, candidate)
    rows = as_points(candidates, "candidates", objectives=corner.shape[0]) - corner
    return np.array([_gain(boxes, row) for row in rows])


def _gain(boxes: Array, candidate: Array) -> float:
    if not (candidate > 0.0).all():
        return 0.0
    limited = np.minimum(boxes, candidate)
    if (limited == candidate).all(axis=1).any():
        return 0.0
    return max(float(candidate.prod()) - _volume(limited), 0.0)


def hypervolume_approximate(
    points: ArrayLike, reference: ArrayLike, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns an unbiased estimate of the hypervolume and its standard error.

    In polar coordinates HV = c E[R(w)^m], where w is a direction drawn uniformly from the positive part of the
    sphere, R(w) = max_p min_k (p_k - r_k) / w_k is how far the dominated region reaches along it, and c is the volume
    of the positive part of the unit ball. Source: Deng and Zhang 2019. Objectives are first divided by their largest
    value above the reference, so units do not matter.

    Args:
        points: [n, objective], finite.
        reference: [objective], finite.
        samples: number of directions, at least 2.
        seed: of the directions; the same seed gives the same estimate.

    Raises:
        ValueError: a wrong shape, NaN or infinity, fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    boxes = _boxes(points, reference)
    n, m = boxes.shape
    if n == 0:
        return 0.0, 0.0
    largest = boxes.max(axis=0)
    boxes = boxes[non_dominated(boxes)] / largest
    generator = np.random.default_rng(seed)
    reach = np.empty(samples)
    block = max(1, 1_000_000 // boxes.size)  # keeps the temporary [block, n, objective] within some megabytes
    for start in range(0, samples, block):
        directions = np.abs(generator.standard_normal((min(block, samples - start), m)))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reach[start : start + block] = (boxes / directions[:, None, :]).min(axis=2).max(axis=1)
    ball = math.pi ** (m / 2) / math.gamma(m / 2 + 1) / 2**m
    volumes = reach**m * (ball * float(largest.prod()))
    return float(volumes.mean()), float(volumes.std(ddof=1) / math.sqrt(samples))
