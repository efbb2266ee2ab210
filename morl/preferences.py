"""Sets of preferences: weights over objectives, non-negative, each row with the sum 1."""

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
LARGEST_LATTICE = 10_000_000  # preferences
ROUNDING = 1e-11
"""Differences of scaled objectives that count as equal in `corner_weights`."""
DIFFERENT_SCALES = 10.0
"""Where the scales of objectives differ by more than this factor, preferences weigh returns in them by default."""
Seed = int | np.random.Generator


def simplex_lattice(objectives: int, divisions: int) -> Array:
    """Return every preference whose weights are multiples of 1/divisions, in lexicographic order.

    Rows are the compositions of `divisions` into integers, divided once, so none is lost to rounding: there are exactly
    C(divisions + objectives - 1, objectives - 1). Source: Das and Dennis 1998.

    Args:
        objectives: at least 1.
        divisions: at least 1.

    Returns:
        [n, objective].

    Raises:
        ValueError: an argument below 1, or more preferences than memory holds.
    """
    _at_least_one(objectives=objectives, divisions=divisions)
    size = comb(divisions + objectives - 1, objectives - 1)
    if size > LARGEST_LATTICE:
        raise ValueError(
            f"divisions is {divisions}, but must be fewer: {objectives} objectives make {size} preferences"
        )
    rows = np.empty((1, 0), np.int64)
    left = np.array([divisions])  # of each row, the units that are not yet distributed
    for _ in range(objectives - 1):
        choices = left + 1  # a row with r left continues with 0, 1, ..., r
        starts = np.cumsum(choices) - choices
        share = np.arange(choices.sum()) - np.repeat(starts, choices)
        rows = np.column_stack([np.repeat(rows, choices, axis=0), share])
        left = np.repeat(left, choices) - share
    lattice: Array = np.column_stack([rows, left]) / divisions
    return lattice


def finest_lattice(objectives: int, at_most: int, divisions: int = 100) -> Array:
    """Return the finest simplex lattice [n, objective] of at most `at_most` preferences and `divisions` divisions."""
    _at_least_one(objectives=objectives, at_most=at_most, divisions=divisions)
    while divisions > 1 and comb(divisions + objectives - 1, objectives - 1) > at_most:
        divisions -= 1
    return simplex_lattice(objectives, divisions)


def dirichlet(objectives: int, n: int, seed: Seed, concentration: float = 1.0) -> Array:
    """Return `n` random preferences [n, objective] from a symmetric Dirichlet distribution.

    Args:
        objectives: at least 1.
        n: at least 1.
        seed: an integer, or a generator to draw from.
        concentration: 1 is uniform on the simplex, below 1 prefers its corners, above 1 its centre.

    Raises:
        ValueError: a count below 1, a concentration that is not positive and finite.
    """
    _at_least_one(objectives=objectives, n=n)
    if not 0.0 < concentration < np.inf:
        raise ValueError(f"concentration must be positive and finite, got {concentration}")
    return np.random.default_rng(seed).dirichlet(np.full(objectives, concentration), n)


def absolute_normal(objectives: int, n: int, seed: Seed) -> Array:
    """Return `n` random preferences [n, objective], |z| / |z|_1 with z standard normal.

    Directions are uniform on the sphere's positive part, hence denser at the simplex's centre than `dirichlet`'s.

    Args:
        objectives: at least 1.
        n: at least 1.
        seed: an integer, or a generator to draw from.

    Raises:
        ValueError: a count below 1.
    """
    _at_least_one(objectives=objectives, n=n)
    sizes = np.abs(np.random.default_rng(seed).standard_normal((n, objectives)))
    normal: Array = sizes / sizes.sum(axis=1, keepdims=True)
    return normal


def riesz(objectives: int, n: int, seed: Seed = 0, steps: int = 500) -> Array:
    """Return `n` well-spread preferences [n, objective], corners of the simplex first (from n = objectives on).

    Minimizes the Riesz energy, the sum over pairs of 1 / distance^s with s = objectives^2, in which the closest pairs
    dominate: points repel each other and spread evenly, for any n. Source: Blank et al. 2021.

    Args:
        objectives: at least 1.
        n: at least 1.
        seed: of the start; the same seed gives the same preferences.
        steps: of gradient descent.

    Raises:
        ValueError: a count below 1.
    """
    _at_least_one(objectives=objectives, n=n, steps=steps)
    if n == 1 or objectives == 1:
        return np.full((n, objectives), 1.0 / objectives)
    pool = dirichlet(objectives, 20 * n, seed)
    points, fixed = _spread_start(pool, n)
    for step in range(steps):
        push, nearest = _riesz_push(points)
        length = 0.3 * (1.0 - step / steps) * nearest
        moved = _project_to_simplex(points + push * length[:, None])
        points[fixed:] = moved[fixed:]
    return points


def _spread_start(pool: Array, n: int) -> tuple[Array, int]:
    """Return n points, corners first, then always the pool's farthest from those chosen; and how many are corners."""
    objectives = pool.shape[1]
    fixed = objectives if n >= objectives else 0
    chosen = [*np.eye(objectives)[:fixed]] or [pool[0]]
    distance = np.min([np.linalg.norm(pool - point, axis=1) for point in chosen], axis=0)
    while len(chosen) < n:
        farthest = pool[np.argmax(distance)]
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(pool - farthest, axis=1))
    return np.array(chosen), fixed


def _riesz_push(points: Array) -> tuple[Array, Array]:
    """Return the direction in which each point's energy falls fastest, as unit vectors, and its nearest distance."""
    exponent = points.shape[1] ** 2
    square = np.square(points).sum(axis=1)
    squared_distance = square[:, None] + square[None, :] - 2.0 * points @ points.T
    np.fill_diagonal(squared_distance, np.inf)
    squared_distance = np.maximum(squared_distance, 1e-30)
    nearest = squared_distance.min(axis=1)
    pull = (nearest[:, None] / squared_distance) ** (exponent / 2 + 1)  # scaled per point: only the direction counts
    gradient = points * pull.sum(axis=1, keepdims=True) - pull @ points
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    return gradient / np.maximum(length, 1e-30), np.sqrt(nearest)


def _project_to_simplex(points: Array) -> Array:
    """Return the nearest point of the simplex for each row (Held, Wolfe, Crowder 1974)."""
    ordered = np.sort(points, axis=1)[:, ::-1]
    excess = (np.cumsum(ordered, axis=1) - 1.0) / np.arange(1, points.shape[1] + 1)
    support = (ordered > excess).sum(axis=1) - 1
    projected = np.maximum(points - np.take_along_axis(excess, support[:, None], axis=1), 0.0)
    normalized: Array = projected / projected.sum(axis=1, keepdims=True)
    return normalized


def corner_weights(points: ArrayLike) -> Array:
    """Return the corner weights of `points`: where the best point changes, and the corners of the simplex.

    These are the vertices of the surface V(w) = max_p w.p over the simplex. The largest possible improvement of a set
    of policies lies at one of them, so optimistic linear support asks for those next. Each point adds one half-space,
    which cuts vertices off and makes a new one on every edge that it crosses (double description, Motzkin et al. 1953).
    V is homogeneous, so objectives may be shifted, and scaled if weights are scaled inversely: vertices stay vertices.
    Objectives are scaled to ranges of 1, in which a difference below 1e-11 is taken for rounding.
    Source: Roijers 2016, section 3.3; GPI-LS, Alegre et al. 2023.

    Args:
        points: [n, objective], finite, at least one point.

    Returns:
        [k, objective], in lexicographic order.

    Raises:
        ValueError: `points` is not [n, objective], empty or not finite.
    """
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"points must be finite numbers of shape [n, objective] with n >= 1, got {points!r}")
    m = values.shape[1]
    if np.abs(values).max() > 1e300:  # a range can exceed the largest number
        values = values / 4
    ranges = np.ptp(values, axis=0)
    ranges[ranges == 0.0] = 1.0
    scaled = (values - values.min(axis=0)) / ranges
    weights = np.eye(m)
    heights = scaled[0].copy()
    for count in range(1, scaled.shape[0]):
        weights, heights = _cut(weights, heights, scaled[:count], scaled[count])
    weights = weights[_are_vertices(weights, heights, scaled)]
    _, first = np.unique(weights.round(9), axis=0, return_index=True)
    weights = np.unique(_scaled_back(weights[first], ranges), axis=0)
    return weights[np.lexsort(weights.round(12).T[::-1])]  # an order that rounding does not change


def _scaled_back(weights: Array, ranges: Array) -> Array:
    """Return weights [n, objective] for objectives with these ranges, from those for ranges of 1."""
    idle = weights <= ROUNDING
    smallest = np.where(idle, np.inf, ranges).min(axis=1, keepdims=True)
    unscaled = weights * np.where(idle, 0.0, smallest / np.maximum(ranges, smallest))
    normalized: Array = unscaled / unscaled.sum(axis=1, keepdims=True)
    return normalized


def _tight(weights: Array, heights: Array, points: Array) -> NDArray[np.bool_]:
    """Return which constraints each vertex meets exactly, [vertex, objective + point]: w_k >= 0, then v >= w.p."""
    return np.hstack([weights <= ROUNDING, heights[:, None] - weights @ points.T <= ROUNDING])


def _cut(weights: Array, heights: Array, points: Array, point: Array) -> tuple[Array, Array]:
    """Return the vertices of the surface of `points` and one more point.

    Args:
        weights: [vertex, objective], the vertices so far.
        heights: [vertex], V at each.
        points: [n, objective], the points so far.
        point: [objective], the point to add.

    Returns:
        weights [vertex, objective] and heights [vertex].
    """
    m = point.shape[0]
    above = weights @ point - heights
    above[np.abs(above) <= ROUNDING] = 0.0
    cut_off = np.nonzero(above > 0.0)[0]
    if cut_off.size == 0:
        return weights, heights
    tight = _tight(weights, heights, points)
    keep = above <= 0.0
    new_weights = [weights[keep]]
    new_heights = [heights[keep]]
    for i in cut_off:
        if tight[i, :m].sum() == m - 1:  # over a corner of the simplex: the vertical edge
            new_weights.append(weights[i : i + 1])
            new_heights.append(weights[i : i + 1] @ point)
        common = tight & tight[i]
        for j in np.nonzero((above < 0.0) & (common.sum(axis=1) >= m - 1))[0]:
            if (~common[j] | tight).all(axis=1).sum() == 2:  # an edge: no third vertex meets all that both meet
                step = above[i] / (above[i] - above[j])
                between = weights[i : i + 1] + step * (weights[j] - weights[i])
                new_weights.append(between / between.sum())
                new_heights.append(heights[i : i + 1] + step * (heights[j] - heights[i]))
    return np.vstack(new_weights), np.concatenate(new_heights)


def _are_vertices(weights: Array, heights: Array, points: Array) -> NDArray[np.bool_]:
    """Return a mask of the vertices [vertex] that lie on the surface and are fixed by the constraints they meet."""
    n, m = points.shape
    gradients = np.vstack([np.eye(m, m + 1), np.hstack([points, -np.ones((n, 1))])])  # in (w, v)
    on_surface = np.abs((weights @ points.T).max(axis=1) - heights) <= ROUNDING
    ranks = [np.linalg.matrix_rank(gradients[met], tol=1e-9) for met in _tight(weights, heights, points)]
    found: NDArray[np.bool_] = on_surface & (np.array(ranks) >= m)
    return found


def neighbourhoods(preferences: ArrayLike, k: int) -> NDArray[np.int64]:
    """Return for each preference the indices [n, k] of its k nearest ones, itself first, ties by index.

    Args:
        preferences: [n, objective], finite.
        k: from 1 to n.

    Raises:
        ValueError: wrong shape, not finite, k out of range.
    """
    weights = np.asarray(preferences, dtype=np.float64)
    if weights.ndim != 2 or not np.isfinite(weights).all():
        raise ValueError(f"preferences must be finite numbers of shape [n, objective], got {preferences!r}")
    if not 1 <= k <= weights.shape[0]:
        raise ValueError(f"k must be from 1 to the number of preferences, {weights.shape[0]}, got {k}")
    _, exponent = np.frexp(np.abs(weights).max(initial=0.0))
    weights = np.ldexp(weights, -int(exponent))  # exact, and keeps squares finite
    nearest = np.empty((weights.shape[0], k), np.int64)
    for i, weight in enumerate(weights):
        distance = np.square(weights - weight).sum(axis=1)
        distance[i] = -1.0  # itself first, before copies
        nearest[i] = np.argsort(distance, kind="stable")[:k]
    return nearest


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def normalized_preference(preference: Sequence[float] | Array, objectives: tuple[str, ...]) -> Array:
    """Return a preference scaled to sum one.

    Args:
        preference: [objective] weights >= 0.
        objectives: their names.

    Raises:
        ValueError: it is no vector of numbers, or has the wrong length, a negative or non-finite weight, or nothing but
            zeros.
    """
    given = _weights(preference)
    shown = repr(preference) if isinstance(preference, str | bytes) else f"{preference}"
    if given is None or given.shape != (len(objectives),):
        raise ValueError(
            f"preference is {shown:.200}, but must have {len(objectives)} weights, one each for {', '.join(objectives)}"
        )
    if not np.isfinite(given).all() or (given < 0).any() or not given.any():
        raise ValueError(f"preference is {shown:.200}, but its weights must be >= 0, finite and not all zero")
    with np.errstate(over="ignore"):
        total = given.sum()
    scaled: Array = given / total if np.isfinite(total) else normalized_preference(given / given.max(), objectives)
    return scaled


def _weights(preference: object) -> Array | None:
    """Return a user's preference as float64; None where it holds anything but numbers, switches included."""
    try:
        array = np.asarray(preference)
        if array.dtype.kind not in "iufO":
            return None
        parts = array.reshape(-1).tolist() if array.dtype.kind == "O" else preference
        if isinstance(parts, Sequence) and any(isinstance(part, bool | np.bool_ | str | bytes) for part in parts):
            return None  # True among floats would be 1.0
        weights: Array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # rows of different lengths, tensors with a gradient
        return None
    return weights


def scales_of(points: Array, given: tuple[float, ...] | None) -> Array:
    """Return equally valuable amounts of the objectives [objective].

    Args:
        points: [n, objective] of a front.
        given: what the environment's entry says; default: the range of the points, or their size where all are equal.
    """
    if given is not None:
        return np.array(given)
    if len(points) == 0:
        return np.ones(points.shape[1])
    with np.errstate(over="ignore"):
        ranges = np.minimum(np.ptp(points, axis=0), np.finfo(np.float64).max)
    sizes = np.abs(points).max(axis=0)
    scales: Array = np.where(ranges > 0.0, ranges, np.where(sizes > 0.0, sizes, 1.0))
    return scales


def scales_differ(scales: Array) -> bool:
    """Return whether the scales [objective] differ so much that preferences weigh returns in them by default."""
    return bool(scales.max() / DIFFERENT_SCALES > scales.min())
