"""The product of a run: a front. Points, the preferences and policies behind them, and its indicators."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morl.board.files import read_whole
from morl.board.known_fronts import registered_front
from morl.pareto import expected_utility, hypervolume, igd_plus, maximum_utility_loss, non_dominated, sparsity
from morl.preferences import finest_lattice, normalized_preference, scales_differ, scales_of, simplex_lattice
from morl.run_folder import FRONT, KNOWN_POINTS_STORED, FrontRecord, parse_front
from morl.tables import Column, ShownTable, number, vector, visible
from morl.utilities import checked_utilities, find_utility

FrontUtility = str | Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""A name (`morl.utilities.UTILITIES`, or "module:function"), or (points [n, objective], weights [objective]) -> [n]."""

ROWS_SHOWN = 40
"""Rows of a table of a front; longer ones are thinned out evenly."""
SAME_POINT = 1e-3
"""Points that differ by less than this share of the front's range in every objective share a row of its table."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Front:
    """Non-dominated policies and their returns.

    Attributes:
        points: [n, objective] mean return of each policy under the evaluation discount, sorted by objective 0,
            measured on episodes that played no part in selecting it. If returns are random, one point may dominate
            another by chance.
        standard_errors: [n, objective] of the points; NaN after a single episode.
        choice_points: [n, objective] mean returns of the same policies on other episodes, non-dominated. Policies are
            chosen by these, because the best of several noisy points overestimates its policy.
        preferences: [n, objective] preference that produced each point; NaN if the agent has none.
        policy_ids: [n] number of the policy file behind each point.
        indicators: hypervolume, expected_utility, sparsity, cardinality; where the true front is known also igd_plus
            and maximum_utility_loss; where the scales differ much or were registered, normalized_expected_utility: that
            of returns in `scales`.
        indicator_errors: the standard error of each indicator; NaN after a single episode.
        objectives: names of the objectives.
        discount: evaluation discount.
        reference_point: [objective] of the hypervolume.
        known_front: [k, objective] true front under the same discount, if it is known.
        units: [objective] the return that the agent sees as 1: `preferences` weigh returns in these units.
        scales: [objective] equally valuable amounts of the objectives: those of the environment's entry, or else the
            range of the points.
        undiscounted_points: [n, objective] the same policies' undiscounted returns.
        violations: [n] largest violation of a bound by each point, as a share of the bound's size (where that is 0, of
            the objective's); 0 without bounds.
    """

    points: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    choice_points: NDArray[np.float64]
    preferences: NDArray[np.float64]
    policy_ids: NDArray[np.int64]
    indicators: dict[str, float]
    indicator_errors: dict[str, float]
    objectives: tuple[str, ...]
    discount: float
    reference_point: tuple[float, ...]
    known_front: NDArray[np.float64] | None
    units: NDArray[np.float64]
    scales: NDArray[np.float64]
    undiscounted_points: NDArray[np.float64]
    violations: NDArray[np.float64]

    def weights(self, preference: Sequence[float]) -> NDArray[np.float64]:
        """Return a preference scaled to sum one [objective].

        Args:
            preference: [objective] weights >= 0.

        Raises:
            ValueError: it has the wrong length or a negative weight, or nothing but zeros.
        """
        return normalized_preference(preference, self.objectives)

    @property
    def normalizes(self) -> bool:
        """Return whether preferences weigh returns in `scales` by default, if these differ by more than 10."""
        return scales_differ(self.scales)

    def __repr__(self) -> str:
        """Return what it is, in one line."""
        names = ", ".join(self.objectives)
        size = f"{len(self.points)} point{'s' if len(self.points) != 1 else ''}"
        return visible(
            f"Front({size} of ({names}), hypervolume {self.indicators.get('hypervolume', float('nan')):.6g})"
        )

    def __rich__(self) -> ShownTable:
        """Return its table for `rich.print`."""
        return front_table(self)

    def _repr_html_(self) -> str:
        """Return its table for a notebook."""
        return front_table(self).to_html()


def front_table(front: Front, title: str = "Front") -> ShownTable:
    """Return a front as a table: each point beside the nearest known optimum, and the indicators.

    Args:
        front: the front.
        title: stands above it.
    """
    groups = distinct_rows(front.points)
    shown = _thinned(groups)
    rows = [group[0] for group in shown]
    columns = [Column(title="row", cells=tuple(map(str, rows)), key=True)]
    without_preference = np.isnan(front.preferences[:, 0])
    if not without_preference.all():
        cells = tuple("none" if without_preference[row] else vector(front.preferences[row]) for row in rows)
        columns.append(Column(title="preference", cells=cells, dropped=1))
    for objective, name in enumerate(front.objectives):
        columns.append(Column(title=name, cells=tuple(number(front.points[row, objective]) for row in rows)))
    if len(groups) < len(front.points):
        columns.append(Column(title="policies", cells=tuple(str(len(group)) for group in shown), dropped=2))
    if front.known_front is not None:
        optima = tuple(vector(nearest_optimum(front.known_front, front.points[row])) for row in rows)
        columns.append(Column(title="known optimum", cells=optima, dropped=3))
    undiscounted = tuple(vector(front.undiscounted_points[row]) for row in rows)
    columns.append(Column(title="undiscounted", cells=undiscounted, dropped=4))
    heading = f"{title} (returns discounted by {front.discount:g})"
    return ShownTable(title=heading, columns=tuple(columns), notes=(*_notes(front, groups, shown), *_summary(front)))


def distinct_rows(points: NDArray[np.float64]) -> list[list[int]]:
    """Return the rows of a front [n, objective] in groups of nearly the same point, the first row in front."""
    if not len(points):
        return []
    span = points.max(axis=0) - points.min(axis=0)
    near = SAME_POINT * span + 1e-9 * np.abs(points).max(axis=0)
    groups: list[list[int]] = []
    first = np.empty((0, points.shape[1]))
    for row, point in enumerate(points):
        same = np.flatnonzero((np.abs(first - point) <= near).all(axis=1))
        if len(same):
            groups[same[0]].append(row)
        else:
            groups.append([row])
            first = np.vstack([first, point])
    return groups


def nearest_optimum(known_front: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the point of the true front [k, objective] that is nearest to a point [objective]."""
    nearest: NDArray[np.float64] = known_front[np.linalg.norm(known_front - point, axis=1).argmin()]
    return nearest


def _notes(front: Front, groups: list[list[int]], shown: list[list[int]]) -> list[str]:
    """Return what a reader must know of the rows of a front's table."""
    notes = []
    missing = int(np.isnan(front.preferences[:, 0]).sum())
    if 0 < missing < len(front.points):
        notes.append("preference none: the policy was trained for no preference")
    if len(groups) < len(front.points):
        notes.append(
            f"{len(front.points)} policies in {len(groups)} rows: those that differ by less than"
            f" {SAME_POINT:.1%} of the range in every objective share one"
        )
    if len(shown) < len(groups):
        notes.append(f"{len(shown)} of {len(groups)} rows shown; front.json has all points")
    return notes


def _summary(front: Front) -> list[str]:
    """Return the indicators of a front, and how much of the true front it has found."""
    values = "  ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in front.indicators.items())
    lines = [f"{values}  (reference point {vector(front.reference_point)})"]
    if front.known_front is not None:
        # mo-gymnasium's rewards are float32: a return is right to about seven digits.
        optima = [nearest_optimum(front.known_front, point) for point in front.points]
        pairs = zip(optima, front.points, strict=True)
        found = {tuple(optimum) for optimum, point in pairs if np.allclose(optimum, point, rtol=1e-5, atol=1e-5)}
        if len(front.known_front) < KNOWN_POINTS_STORED:  # of a larger one, a run folder holds a choice of the points
            lines.append(f"{len(found)} of the {len(front.known_front)} points of the true front found")
    return lines


def _thinned(groups: list[list[int]]) -> list[list[int]]:
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(len(groups), ROWS_SHOWN)).round().astype(int))
    return [groups[index] for index in chosen.tolist()]


def indicators_of(
    points: NDArray[np.float64],
    reference_point: tuple[float, ...],
    preferences: NDArray[np.float64],
    known_front: NDArray[np.float64] | None,
    choice_points: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Return the indicators of a front, by name; NaN where float64 cannot hold a volume of such magnitudes.

    Args:
        points: [n, objective], finite.
        reference_point: [objective].
        preferences: [k, objective] of the expected utility.
        known_front: [j, objective] the true front, if it is known.
        choice_points: [n, objective] by which each preference chooses its point; default: the points.
    """
    values = {
        "hypervolume": _volume_or_nan(points, reference_point),
        "expected_utility": delivered_utility(points, choice_points, preferences),
        "sparsity": sparsity(points),
        "cardinality": float(len(points)),
    }
    if known_front is not None:
        values["igd_plus"] = igd_plus(points, known_front)
        values["maximum_utility_loss"] = maximum_utility_loss(points, known_front, preferences)
    return values


def delivered_utility(
    points: NDArray[np.float64], choice_points: NDArray[np.float64] | None, preferences: NDArray[np.float64]
) -> float:
    """Return mean_w w.J(c(w)) with c(w) = argmax_c w.C_c: the expected utility of those who choose by C.

    Where the points J are means of other episodes than C, the result is not biased by the choice. For C = J it is the
    expected utility (Zintgraf et al. 2015).

    Args:
        points: [n, objective] J.
        choice_points: [n, objective] C; default: J.
        preferences: [k, objective] w.
    """
    if choice_points is None or np.array_equal(points, choice_points):
        return expected_utility(points, preferences)
    chosen = (preferences @ choice_points.T).argmax(axis=1)
    return float((preferences * points[chosen]).sum(axis=1).mean())


def _volume_or_nan(points: NDArray[np.float64], reference_point: tuple[float, ...]) -> float:
    if not np.isfinite(points).all():
        raise ValueError("returns are infinite: the environment's rewards are too large to be added in float64")
    try:
        return hypervolume(points, reference_point)
    except ValueError:  # magnitudes that differ too much; the run is worth more than this number
        return math.nan


def front_utilities(
    utility: FrontUtility, points: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the utilities [n] of points [n, objective]; a named utility has their best values as its ideal point.

    Args:
        utility: a name, or a function of points and weights.
        points: [n, objective].
        weights: [objective].

    Raises:
        ValueError: they are not one number for each point, or the function raises.
    """
    if isinstance(utility, str):
        named = find_utility(utility)
        return checked_utilities(utility, lambda: named(points, weights, points.max(axis=0)), points.shape[:1])
    if not callable(utility):
        raise ValueError(f"utility is {utility!r:.100}, but must be a name or a function of (returns, weights)")
    name = getattr(utility, "__name__", repr(utility))
    return checked_utilities(name, lambda: utility(points, weights), points.shape[:1])


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


def read_front(run_dir: Path) -> tuple[Front, FrontRecord]:
    """Return the published front of a run, without the known one, and the whole record of front.json.

    Args:
        run_dir: the run folder.

    Raises:
        ValueError: front.json is missing or damaged.
    """
    file = run_dir / FRONT
    try:
        record = parse_front(read_whole(file))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{run_dir}/{error}") from error
    if record.missing:
        raise ValueError(f"{file} lacks {', '.join(record.missing)}: another version of morl wrote it")
    assert record.reference_point is not None
    front = Front(
        points=record.points,
        standard_errors=record.standard_errors,
        choice_points=record.choice_points,
        preferences=record.preferences,
        policy_ids=record.policy_ids,
        indicators=dict(record.indicators),
        indicator_errors=dict(record.indicator_errors),
        objectives=record.objectives,
        discount=record.discount,
        reference_point=record.reference_point,
        known_front=None,
        units=np.array(record.units),
        scales=scales_of(record.points, record.scales),
        undiscounted_points=record.undiscounted_points,
        violations=record.violations,
    )
    return front, record


def known_front_of(record: FrontRecord) -> NDArray[np.float64] | None:
    """Return the true front [n, objective] of a run's problem: of `morl.envs.specs`, or else what front.json holds.

    The id is only looked up there: no environment is built, and nothing that a run folder names is imported.
    """
    found = registered_front(record.env, record.env_options, record.discount, len(record.objectives))
    return record.known_front if found is None else found
