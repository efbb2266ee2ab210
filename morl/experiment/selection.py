"""Which evaluated policies make a front, and which of two fronts is better."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, SupportsFloat, TypeAlias, cast

import numpy as np

from morl.experiment.front import indicators_of, sorted_front
from morl.experiment.units import RewardUnits
from morl.plugins import imported
from morl.protocols import Constrained, FloatArray, IndexArray, OptimizesUtility
from morl.utilities import checked_utilities, find_utility

Indicator: TypeAlias = Callable[[FloatArray, FloatArray], SupportsFloat]
"""(points [n, objective], reference point [objective]), in the environment's units -> a number, larger is better."""

EXPECTED_UTILITY = "expected-utility"
HYPERVOLUME = "hypervolume"
CAUTION = 2.0
"""Standard errors by which a front's returns keep the user's constraints, where policies are good enough."""
SERVED = 0.01
"""Share of the expected utility that a network conditioned on the preference may lose, and still serve preferences."""
INDICATOR = "indicator:"
"""How a criterion begins that is an indicator of the user's: "indicator:module:function"."""


def criterion_of(select_by: str, agent: object) -> str:
    """Return by what the best evaluation of a run is chosen.

    Args:
        select_by: the setting; "auto": expected utility where the agent optimizes weighted sums, which rewards nothing
            in concave parts of a front, and hypervolume where it optimizes another utility;
            "indicator:module:function": the user's own function of a front.
        agent: the agent.

    Raises:
        ValueError: there is no such utility or indicator.
    """
    if select_by.startswith(INDICATOR):
        find_indicator(select_by)
        return select_by
    if select_by == "auto":
        utility = agent.utility_name if isinstance(agent, OptimizesUtility) else "linear"
        return EXPECTED_UTILITY if utility == "linear" else HYPERVOLUME
    if select_by not in (EXPECTED_UTILITY, HYPERVOLUME):
        try:
            find_utility(select_by)
        except ValueError as error:
            _, _, reason = str(error).partition(", but ")
            known = f"auto, {EXPECTED_UTILITY}, {HYPERVOLUME} or a utility, or {INDICATOR}module:function"
            raise ValueError(f"select_by is {select_by!r}, but must be {known}: it {reason}") from error
    return select_by


def find_indicator(select_by: str) -> Indicator:
    """Return a user's own indicator.

    Args:
        select_by: "indicator:module:function"; the module is imported.

    Raises:
        ValueError: there is no such function.
    """
    name = select_by.removeprefix(INDICATOR)
    if ":" not in name:
        raise ValueError(f"select_by is {select_by!r}, but must be '{INDICATOR}module:function'")
    return cast(Indicator, imported("select_by", name, INDICATOR))


class Score(NamedTuple):
    """How good a front is; scores compare entry by entry.

    For equal expected utilities it decides whether preferences are served that the network is asked for, then the
    hypervolume, which concave parts of a front add to, and then what each preference itself achieves.
    """

    violation: float
    """Minus the smallest violation of the user's constraints; 0 where all are kept, or there are none."""
    value: float
    """What `Selection.criterion` asks for."""
    service: float
    """Minus the share of the expected utility that preferences lose by their own policies, beyond `SERVED`; 0 where
    policies are not conditioned on preferences, and for other criteria."""
    hypervolume: float
    conditioned_utility: float


@dataclass(frozen=True)
class Selection:
    """Selects fronts among evaluated policies.

    Attributes:
        num_objectives: length of the reward vector.
        preferences: [k, objective] the evaluation grid.
        known_front: [j, objective] the true front, if it is known.
        constrained: the agent, if it keeps bounds on some objectives.
        units: of the agent's rewards: preferences weigh returns in these.
        criterion: "expected-utility", "hypervolume", or the utility whose mean over preferences makes a front good: one
            of `morl.utilities.UTILITIES`, or "module:name"; or an own indicator, "indicator:module:function".
    """

    num_objectives: int
    preferences: FloatArray
    known_front: FloatArray | None
    constrained: Constrained | None
    units: RewardUnits
    criterion: str = EXPECTED_UTILITY

    def __post_init__(self) -> None:
        """Call the user's own indicator or utility once with a front of corners, so that it fails now or never.

        Raises:
            ValueError: it raises, or returns no number.
        """
        front = np.eye(self.num_objectives)
        if self.criterion not in (EXPECTED_UTILITY, HYPERVOLUME) and not self.criterion.startswith(INDICATOR):
            corners = front[:, self.free_objectives]
            try:
                self._utilities(corners, corners)
            except ValueError as error:
                raise ValueError(f"select_by is {self.criterion!r}, but {error}") from error
        if not self.criterion.startswith(INDICATOR):
            return
        try:
            value = find_indicator(self.criterion)(front, np.full(self.num_objectives, -1.0))
        except Exception as error:
            raise ValueError(
                f"select_by is {self.criterion!r}, but it raised {type(error).__name__} when it was called with points"
                f" [n, {self.num_objectives}] and a reference point [{self.num_objectives}]: {error}"
            ) from error
        if math.isnan(self._number(value)):
            raise ValueError(f"select_by is {self.criterion!r}, but it returned nan for the front {front.tolist()}")

    @property
    def free_objectives(self) -> list[int]:
        """Return the objectives that are optimized: those that the user has not bounded."""
        return list(range(self.num_objectives)) if self.constrained is None else list(self.constrained.free_objectives)

    def violations(self, points: FloatArray) -> FloatArray:
        """Return by how much returns [n, objective] break the user's constraints [n]; 0 without any."""
        return np.zeros(len(points)) if self.constrained is None else self.constrained.violations(points)

    def front_rows(self, points: FloatArray) -> IndexArray:
        """Return the rows of returns [n, objective] that are non-dominated, sorted by the first objective."""
        return sorted_front(_without_rounding(points), self.free_objectives, self.violations(points))

    def selected_rows(self, points: FloatArray) -> IndexArray:
        """Return the rows of returns [n, objective] that make a front: only those that keep the constraints, if any."""
        rows = self.front_rows(points)
        kept = self.violations(points)[rows] == 0.0
        return rows[kept] if kept.any() else rows

    def candidate_rows(self, points: FloatArray, errors: FloatArray) -> IndexArray:
        """Return the rows of returns [n, objective] that are evaluated again before a front is chosen.

        Under constraints these are, of the points that keep them, the best and those that trade some of it for
        certainty: chance decides which of the former keep the constraints.

        Args:
            points: [n, objective].
            errors: [n, objective] standard errors.
        """
        if self.constrained is None:
            return self.selected_rows(points)
        rows = sorted_front(_without_rounding(points), self.free_objectives, self._cautious_violations(points, errors))
        kept = self.violations(points)[rows] == 0.0
        return rows[kept] if kept.any() else self.selected_rows(points)

    def chosen_rows(self, points: FloatArray, errors: FloatArray) -> IndexArray:
        """Return the rows of candidates [n, objective] that make the front.

        Under constraints these are the best of those that keep them by two standard errors; if there are none, of those
        that keep them; if there are none, those that trade violation for quality.

        Args:
            points: [n, objective].
            errors: [n, objective] standard errors.
        """
        if self.constrained is None:
            return self.front_rows(points)
        for violations in (self._cautious_violations(points, errors), self.violations(points)):
            kept = np.flatnonzero(violations == 0.0)
            if len(kept):
                return kept[self.front_rows(points[kept])]
        return self.front_rows(points)

    def _cautious_violations(self, points: FloatArray, errors: FloatArray) -> FloatArray:
        """Return by how much returns [n, objective] may break the constraints [n]: with errors to the wrong side.

        Args:
            points: [n, objective].
            errors: [n, objective] standard errors; NaN counts as none.
        """
        shift = CAUTION * np.nan_to_num(errors)
        return np.maximum(self.violations(points - shift), self.violations(points + shift))

    def score(
        self,
        points: FloatArray,
        reference_point: tuple[float, ...],
        conditioned: float,
        asked: bool,
        ideal: FloatArray,
    ) -> Score:
        """Return how good a front is, in the agent's units.

        Args:
            points: [n, objective] of the front.
            reference_point: [objective].
            conditioned: mean utility that preferences achieve themselves.
            asked: whether these are the preferences of the grid: policies are conditioned on what they are asked for.
            ideal: [objective] the best returns so far: fronts compare under the same ones only.
        """
        violation, expected, volume = self.worth(points, reference_point)
        volume = _comparable(volume)
        match self.criterion:
            case "expected-utility":
                value = expected
            case "hypervolume":
                value = volume
            case own if own.startswith(INDICATOR):
                value = self._own_indicator(points, np.array(reference_point))
            case _:
                value = self._mean_utility(points, np.array(reference_point), ideal)
        if not asked or self.criterion != EXPECTED_UTILITY:
            return Score(violation, value, 0.0, volume, conditioned)
        lowest = float((self.preferences @ (np.array(reference_point) / self.units.known)).mean())
        return Score(violation, value, service(conditioned, expected, lowest), volume, conditioned)

    def _own_indicator(self, points: FloatArray, reference_point: FloatArray) -> float:
        """Return the user's indicator of the points that break the user's constraints least.

        Args:
            points: [n, objective].
            reference_point: [objective].

        Raises:
            ValueError: it is no number.
        """
        broken = self.violations(points)
        return _comparable(
            self._number(find_indicator(self.criterion)(points[broken == broken.min()], reference_point))
        )

    def _number(self, value: object) -> float:
        """Return what the user's indicator returned as a number.

        Raises:
            ValueError: it is none.
        """
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ValueError(f"select_by is {self.criterion!r}, but it returned {value!r:.100} and no number") from None

    def _mean_utility(self, points: FloatArray, lowest: FloatArray, ideal: FloatArray) -> float:
        """Return mean_w max_J u(J, w) of the criterion, with returns as shares of the range from lowest to ideal.

        Args:
            points: [n, objective] J.
            lowest: [objective].
            ideal: [objective].
        """
        free = self.free_objectives
        bounded = np.delete(np.arange(points.shape[1]), free)
        broken = self.violations(points)
        span = np.where(ideal > lowest, ideal - lowest, 1.0)[free]
        shares = (points[broken == broken.min()][:, free] - lowest[free]) / span
        weights = self.preferences[(self.preferences[:, bounded] == 0.0).all(axis=1)][:, free]
        return float(self._utilities(shares, weights).max(axis=1).mean())

    def _utilities(self, shares: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the utilities [preference, n] of shares [n, objective] for weights [preference, objective].

        Raises:
            ValueError: the criterion raises, or returns another shape.
        """
        utility = find_utility(self.criterion)
        returns = np.broadcast_to(shares, (len(weights), *shares.shape))  # so that a utility may ignore the weights
        ideal = np.ones((1, 1, shares.shape[1]))
        return checked_utilities(self.criterion, lambda: utility(returns, weights[:, None], ideal), returns.shape[:2])

    def conditioned_utilities(self, returns: FloatArray, preferences: FloatArray) -> dict[str, float]:
        """Return what preferences achieve themselves, in the agent's units (`conditioned_utilities`)."""
        units = self.units.known
        known_front = None if self.known_front is None else self.known_front / units
        return conditioned_utilities(returns / units, preferences, known_front)

    def worth(self, points: FloatArray, reference_point: tuple[float, ...]) -> tuple[float, float, float]:
        """Return minus violation, expected utility and hypervolume of a front in the objectives without a bound.

        The latter two are in the agent's units.

        What breaks the user's constraints may well be worth more, and so may a constrained objective be that is more
        than kept: they are no better for that.

        Args:
            points: [n, objective].
            reference_point: [objective].
        """
        free = self.free_objectives
        bounded = np.delete(np.arange(points.shape[1]), free)
        broken = self.violations(points)
        units = self.units.known[free]
        best = points[broken == broken.min()][:, free] / units
        weights = self.preferences[(self.preferences[:, bounded] == 0.0).all(axis=1)][:, free]
        reference = tuple((np.array(reference_point)[free] / units).tolist())
        indicators = indicators_of(best, reference, weights, None)
        return -float(broken.min()), indicators["expected_utility"], indicators["hypervolume"]


def _without_rounding(points: FloatArray) -> FloatArray:
    """Return returns as shares of their range, to twelve digits: policies that act alike on the same seeds are equal.

    Args:
        points: [n, objective].
    """
    lowest = points.min(axis=0)
    with np.errstate(over="ignore"):
        ranges = np.ptp(points, axis=0)
    usable = (ranges > 0.0) & np.isfinite(ranges)
    shares: FloatArray = np.where(usable, np.round((points - lowest) / np.where(usable, ranges, 1.0), 12), points)
    return shares


def _comparable(volume: float) -> float:
    """Return an indicator that compares with others: one that could not be computed is the smallest."""
    return -math.inf if math.isnan(volume) else volume


def service(conditioned: float, expected: float, lowest: float) -> float:
    """Return minus the share of the expected utility that preferences lose by their own policies, beyond `SERVED`.

    Args:
        conditioned: mean utility that preferences achieve themselves.
        expected: mean utility if each preference chooses on the front.
        lowest: mean utility of the reference point, which is a share of 0.
    """
    if expected <= lowest:
        return 0.0
    lost = (expected - conditioned) / (expected - lowest)
    return -max(lost - SERVED, 0.0)


def conditioned_utilities(
    returns: FloatArray, preferences: FloatArray, known_front: FloatArray | None
) -> dict[str, float]:
    """Return the mean utility that policies achieve for the very preference they were given, and its regret.

    Args:
        returns: [n, objective].
        preferences: [n, objective]; where one is NaN, nothing is returned.
        known_front: [j, objective] the true front; without it there is no regret.
    """
    if not np.isfinite(preferences).all():
        return {}
    utilities = (preferences * returns).sum(axis=1)
    values = {"conditioned_utility": float(utilities.mean())}
    if known_front is not None:
        values["utility_regret"] = float(((preferences @ known_front.T).max(axis=1) - utilities).mean())
    return values


def reference_below(returns: FloatArray) -> tuple[float, ...]:
    """Return a reference point a tenth of the range below the worst of the first evaluation: none was given."""
    worst = returns.min(axis=0)
    best = returns.max(axis=0)
    margin = np.where(best > worst, 0.1 * (best - worst), np.maximum(1.0, 0.1 * np.abs(worst)))
    return tuple((worst - margin).tolist())
