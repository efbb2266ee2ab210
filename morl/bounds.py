"""The user's bounds in front.json: which points break them, and by how much."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Constraints = Mapping[str, Mapping[str, Any]]
"""Objective -> {"bound": text, "violations": [n] in returns, "unit": the return that counts as 1, by default 1}."""


def checked_constraints(value: object) -> dict[str, Mapping[str, Any]]:
    """Return the entry of front.json; empty where there is none.

    Raises:
        ValueError: it is no object of objects.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        raise ValueError("constraints must be an object of objects, one for each constrained objective")
    return value


def largest_violations(constraints: Constraints, count: int) -> NDArray[np.float64]:
    """Return the largest violation of a bound by each point [n], each in the unit of its bound; 0 where all are kept.

    Args:
        constraints: the entry of front.json.
        count: number of points, n.

    Raises:
        ValueError: violations or a unit are none.
    """
    largest = np.zeros(count)
    for constraint in constraints.values():
        unit = constraint.get("unit", 1.0)
        if isinstance(unit, bool) or not isinstance(unit, int | float) or not 0.0 < unit < np.inf:
            raise ValueError(f"the unit of a bound must be a number above 0, not {unit!r:.50}")
        largest = np.maximum(largest, _violations(constraint, count) / unit)
    return largest


def broken_bounds(constraints: Constraints, count: int) -> str:
    """Return a sentence that says how many points break a bound, and each bound by how much at most.

    Args:
        constraints: the entry of front.json.
        count: number of points.

    Returns:
        The sentence; an empty text where all bounds are kept.

    Raises:
        ValueError: violations or a unit are none.
    """
    points = int((largest_violations(constraints, count) > 0.0).sum())
    if not points:
        return ""
    worst = {name: float(np.fmax.reduce(_violations(entry, count), initial=0.0)) for name, entry in constraints.items()}
    parts = [
        f"{name} {constraints[name].get('bound', '')} by at most {amount:.4g}"
        for name, amount in worst.items()
        if amount > 0.0
    ]
    return f"{points} of {count} points break{'s' if points == 1 else ''} a bound: {', '.join(parts)}"


def _violations(constraint: Mapping[str, Any], count: int) -> NDArray[np.float64]:
    """Return the violations of one bound [n]; NaN where one is no number.

    Raises:
        ValueError: they are not as many as the points.
    """
    violations = np.asarray(constraint["violations"], dtype=np.float64)
    if violations.shape != (count,):
        raise ValueError(f"violations must be {count} numbers, one for each point")
    return violations
