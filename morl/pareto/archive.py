"""An archive of non-dominated points that grows one point at a time."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points, as_vector
from morl.pareto.compilation import kernel
from morl.pareto.convex import MARGIN, lead, prune
from morl.pareto.sorting import crowding_distance
from morl.pareto.volumes import hypervolume_contributions

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

REJECTED = -1
NOT_FINITE = -2


class ParetoArchive:
    """The non-dominated points among those it was offered, each with a payload (a policy, a checkpoint name, anything).

    Points stay in the order in which they came. Of equal points the first one stays.

    Args:
        capacity: the most points to keep; None for no limit. One point too many: the least valuable one goes, one at
            a time, so that values are always those of the set that is left.
        pruning: the value of a point: "crowding" (far from its neighbours; ends of the front stay) or "contribution"
            (exclusive hypervolume, needs `reference`). Of equal values the newest goes.
        reference: [objective], the reference point of "contribution".
        tolerance: reject a point that improves on a kept one by no more than this in every objective, in the
            objectives' units; 0 keeps every non-dominated point.
        convex: keep only the convex coverage set: points that are the best for some non-negative weight.

    Raises:
        ValueError: capacity not an integer or below 1, unknown pruning, "contribution" without a reference, tolerance
            not a number or negative.
    """

    def __init__(
        self,
        capacity: int | None = None,
        *,
        pruning: Literal["crowding", "contribution"] = "crowding",
        reference: ArrayLike | None = None,
        tolerance: float = 0.0,
        convex: bool = False,
    ) -> None:
        if capacity is not None and (not isinstance(capacity, int | np.integer) or capacity < 1):
            raise ValueError(f"capacity must be an integer of at least 1 or None, got {capacity!r}")
        if pruning not in ("crowding", "contribution"):
            raise ValueError(f"pruning must be 'crowding' or 'contribution', got {pruning!r}")
        if pruning == "contribution" and reference is None:
            raise ValueError("reference must be given for pruning='contribution', got None")
        if not isinstance(tolerance, float | int | np.floating | np.integer) or not tolerance >= 0.0:
            raise ValueError(f"tolerance must be a number of at least 0, got {tolerance!r}")
        self.capacity = capacity
        self.pruning = pruning
        self.reference = None if reference is None else as_vector(reference, "reference")
        self.tolerance = float(tolerance)
        self.convex = convex
        self._rows: Array = np.empty((0, 0 if self.reference is None else self.reference.shape[0]))  # grows by doubling
        self._removed: Indices = np.empty(0, np.int64)
        self._payloads: list[Any] = []

    def __len__(self) -> int:
        return len(self._payloads)

    @property
    def points(self) -> Array:
        """Return a copy of the points [n, objective]."""
        return self._rows[: len(self._payloads)].copy()

    @property
    def payloads(self) -> list[Any]:
        """Return the payload of each point, in the order of `points`."""
        return list(self._payloads)

    def add(self, point: ArrayLike, payload: object = None) -> bool:
        """Offer a point to the archive; return whether the archive holds it afterwards.

        Args:
            point: [objective], finite; the first one fixes the number of objectives.
            payload: kept by reference beside the point.

        Raises:
            ValueError: wrong shape or number of objectives, NaN or infinity.
        """
        try:
            candidate = np.asarray(point, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"point must be numbers of shape [objective], got {point!r}") from None
        size = len(self._payloads)
        if candidate.shape != self._rows.shape[1:] or size == self._rows.shape[0]:
            candidate = self._make_room(point)
        removed = insert(self._rows, size, candidate, self.tolerance, self._removed)
        if removed == REJECTED:
            return False
        if removed == NOT_FINITE:
            raise ValueError(f"point must be finite, got {candidate.tolist()}")
        for place in self._removed[:removed][::-1].tolist():
            del self._payloads[place]
        self._payloads.append(payload)
        if self.convex or (self.capacity is not None and len(self._payloads) > self.capacity):
            return self._prune()
        return True

    def add_all(self, points: ArrayLike, payloads: Iterable[object] | None = None) -> Mask:
        """Offer points in order; return a mask [n] of those that the archive holds afterwards.

        Args:
            points: [n, objective], finite.
            payloads: one per point, or None.

        Raises:
            ValueError: wrong shape or number of objectives, NaN or infinity, a wrong number of payloads.
        """
        rows = as_points(points, objectives=self._rows.shape[1] or None)
        attached = [None] * rows.shape[0] if payloads is None else list(payloads)
        if len(attached) != rows.shape[0]:
            raise ValueError(f"payloads must hold one payload per point, {rows.shape[0]}, got {len(attached)}")
        entries = [_Entry(place, payload) for place, payload in enumerate(attached)]
        for row, entry in zip(rows, entries, strict=True):
            self.add(row, entry)
        mask = np.zeros(rows.shape[0], np.bool_)
        for place, entry in enumerate(self._payloads):
            if isinstance(entry, _Entry):
                mask[entry.place] = True
                self._payloads[place] = entry.payload
        return mask

    def _make_room(self, point: ArrayLike) -> Array:
        objectives = self._rows.shape[1]
        candidate = as_vector(point, "point", objectives or None)
        size = len(self._payloads)
        grown = np.empty((max(16, 2 * size), candidate.shape[0]))
        if size > 0:
            grown[:size] = self._rows[:size]
        self._rows = grown
        self._removed = np.empty(grown.shape[0], np.int64)
        return candidate

    def _prune(self) -> bool:
        """Return whether the newest point survives."""
        size = len(self._payloads)
        keep = np.ones(size, np.bool_)
        if self.convex:
            keep = self._convex_survivors(size)
        if self.capacity is not None and keep.sum() > self.capacity:
            rows = self._rows[:size][keep]
            if self.pruning == "crowding":
                values = crowding_distance(rows)
            else:
                values = hypervolume_contributions(rows, self.reference)  # type: ignore[arg-type]
            worst = rows.shape[0] - 1 - int(np.argmin(values[::-1]))  # the newest of equal ones
            keep[np.nonzero(keep)[0][worst]] = False
        newest = bool(keep[-1])
        if not keep.all():
            self._rows[: keep.sum()] = self._rows[:size][keep]
            self._payloads = [payload for payload, stays in zip(self._payloads, keep, strict=True) if stays]
        return newest

    def _convex_survivors(self, size: int) -> Mask:
        rows = self._rows[:size]
        if size > 1 and lead(rows, size - 1, rows[-1]) <= MARGIN:
            keep = np.ones(size, np.bool_)
            keep[-1] = False
            return keep
        return prune(rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the archive: a copy of the points, and a list of the payloads, which are not copied."""
        return {"points": self.points, "payloads": self.payloads}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the points and payloads of `state`; the settings stay those of this archive.

        Raises:
            ValueError: points of a wrong shape or not finite, or not one payload per point.
        """
        expected = None if self.reference is None else self.reference.shape[0]
        points = as_points(state["points"], "state['points']", objectives=expected)
        payloads = list(state["payloads"])
        if len(payloads) != points.shape[0]:
            raise ValueError(f"state['payloads'] must hold {points.shape[0]} payloads, got {len(payloads)}")
        self._rows = points.copy()
        self._removed = np.empty(points.shape[0], np.int64)
        self._payloads = payloads


class _Entry:
    """A payload that remembers which row of a bulk insertion it came with."""

    __slots__ = ("payload", "place")

    def __init__(self, place: int, payload: object) -> None:
        self.place = place
        self.payload = payload


@kernel
def insert(rows: Array, size: int, candidate: Array, tolerance: float, removed: Indices) -> int:
    """Return how many of the first `size` rows the candidate replaced, or REJECTED, or NOT_FINITE.

    Nothing is written before the candidate is known to stay. Then the rows it dominates are closed up, their places
    are written into `removed`, ascending, and the candidate becomes the last row.
    """
    m = candidate.shape[0]
    for k in range(m):
        if not np.isfinite(candidate[k]):
            return NOT_FINITE
    count = 0
    for i in range(size):
        row_is_worse = False
        candidate_is_worse = False
        for k in range(m):
            if rows[i, k] + tolerance < candidate[k]:
                row_is_worse = True
            elif rows[i, k] > candidate[k]:
                candidate_is_worse = True
            if row_is_worse and candidate_is_worse:  # most rows show this after a few objectives
                break
        if not row_is_worse:
            return REJECTED
        if not candidate_is_worse:
            removed[count] = i
            count += 1
    if count > 0:
        write = removed[0]
        skip = 0
        for i in range(write, size):
            if skip < count and removed[skip] == i:
                skip += 1
            else:
                rows[write] = rows[i]
                write += 1
    rows[size - count] = candidate
    return count
