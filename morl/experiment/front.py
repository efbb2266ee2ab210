"""The product of a run: a front. Points, the preferences and policies behind them, and its indicators."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.pareto import expected_utility, hypervolume, igd_plus, maximum_utility_loss, non_dominated, sparsity
from morl.preferences import finest_lattice, simplex_lattice


@dataclass(frozen=True, kw_only=True)
class Front:
    """Non-dominated policies and what they reach.

    Attributes:
        points: [n, objective] mean vector return of each policy under the evaluation discount, sorted by objective 0.
        preferences: [n, objective] preference that produced each point; NaN where an agent has none.
        policy_ids: [n] number of the policy file behind each point.
        indicators: hypervolume, expected_utility, sparsity, cardinality; where the true front is known also igd_plus
            and maximum_utility_loss.
        objectives: names of the objectives.
        discount: evaluation discount.
        reference_point: [objective] of the hypervolume.
        known_front: [k, objective] true front under the same discount, if it is known.
        undiscounted_points: [n, objective] the same policies' undiscounted returns.
        violations: [n] by how much each point breaks the user's constraints, where it does most; 0 without any.
    """

    points: NDArray[np.float64]
    preferences: NDArray[np.float64]
    policy_ids: NDArray[np.int64]
    indicators: dict[str, float]
    objectives: tuple[str, ...]
    discount: float
    reference_point: tuple[float, ...]
    known_front: NDArray[np.float64] | None
    undiscounted_points: NDArray[np.float64]
    violations: NDArray[np.float64]


def indicators_of(
    points: NDArray[np.float64],
    reference_point: tuple[float, ...],
    preferences: NDArray[np.float64],
    known_front: NDArray[np.float64] | None,
) -> dict[str, float]:
    """Return the indicators of a front [n, objective], by name; `preferences` are those of the expected utility."""
    values = {
        "hypervolume": hypervolume(points, reference_point),
        "expected_utility": expected_utility(points, preferences),
        "sparsity": sparsity(points),
        "cardinality": float(len(points)),
    }
    if known_front is not None:
        values["igd_plus"] = igd_plus(points, known_front)
        values["maximum_utility_loss"] = maximum_utility_loss(points, known_front, preferences)
    return values


def sorted_front(points: NDArray[np.float64], free: list[int], violations: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows of the non-dominated points, ordered by the first objective, then the second, and so on.

    Args:
        points: [n, objective].
        free: the objectives that are optimized; the others are constrained, and need only be kept.
        violations: [n] by how much each point breaks the constraints: one more objective.
    """
    rows = np.flatnonzero(non_dominated(np.column_stack([points[:, free], -violations])))
    ordered: NDArray[np.int64] = rows[np.lexsort(points[rows].T[::-1])]
    return ordered


def evaluation_preferences(objectives: int, divisions: int | None) -> NDArray[np.float64]:
    """Return the evaluation grid [n, objective]; where no divisions are given, the finest of at most 250 points."""
    return finest_lattice(objectives, 250) if divisions is None else simplex_lattice(objectives, divisions)


def normalised_preference(preference: Any, objectives: tuple[str, ...]) -> NDArray[np.float64]:
    """Return a preference scaled to sum one.

    Raises:
        ValueError: it has the wrong length, a negative or non-finite weight, or nothing but zeros.
    """
    given = np.asarray(preference, dtype=np.float64)
    if given.shape != (len(objectives),):
        raise ValueError(
            f"preference is {preference}, but must have {len(objectives)} weights, one each for {', '.join(objectives)}"
        )
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() == 0:
        raise ValueError(f"preference is {preference}, but its weights must be >= 0, finite and not all zero")
    scaled: NDArray[np.float64] = given / given.sum()
    return scaled


def front_record(front: Front) -> dict[str, Any]:
    """Return the entries of front.json that speak of the front; NaN preferences are spelled null."""
    return {
        "objectives": list(front.objectives),
        "discount": front.discount,
        "reference_point": list(front.reference_point),
        "points": front.points.tolist(),
        "preferences": [[None if math.isnan(w) else w for w in row] for row in front.preferences.tolist()],
        "policy_ids": front.policy_ids.tolist(),
        "indicators": front.indicators,
        "undiscounted_points": front.undiscounted_points.tolist(),
    }


def read_front(file: Path, known_front: NDArray[np.float64] | None) -> Front:
    """Return the front of a run's front.json.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        record = json.loads(file.read_text())
        objectives = tuple(record["objectives"])
        shape = (-1, len(objectives))
        preferences = [[np.nan if weight is None else weight for weight in row] for row in record["preferences"]]
        points = np.asarray(record["points"], dtype=np.float64).reshape(shape)
        return Front(
            points=points,
            preferences=np.asarray(preferences, dtype=np.float64).reshape(shape),
            policy_ids=np.asarray(record["policy_ids"], dtype=np.int64),
            indicators=record["indicators"],
            objectives=objectives,
            discount=record["discount"],
            reference_point=tuple(record["reference_point"]),
            known_front=known_front,
            undiscounted_points=np.asarray(record["undiscounted_points"], dtype=np.float64).reshape(shape),
            violations=np.array(
                [each["violations"] for each in record.get("constraints", {}).values()] or np.zeros((1, len(points)))
            ).max(axis=0),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is missing or damaged: {error}") from error
