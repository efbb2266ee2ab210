"""The filter for four and more objectives beside Kung's divide and conquer, both in Numba, in one run on one core.

    python benchmarks/pareto_kung.py            up to 100,000 points, about two minutes
    python benchmarks/pareto_kung.py --quick    up to 1000 points

Kung, Luccio, Preparata 1975: halve the points by the first objective, solve both halves, then remove from the lower one
what the upper one dominates in the other objectives; that step halves both sets by the next objective, and so on down
to two objectives, which a sweep solves. Written with the means of our own filter: sorted indices, no copies of points,
nested loops for small pairs of sets. The figures in docs/results/pareto_filter.md come from here.
"""

import argparse
from statistics import median
from time import process_time

import numpy as np
from numpy.typing import NDArray
from pareto import front

from morl.pareto.compilation import kernel
from morl.pareto.dominance import not_below_the_best_sum
from morl.pareto.dominance_blocks import maximal_in_blocks
from morl.pareto.order import descending

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

PAIRS = 4096  # comparisons, below which nested loops are quicker than another split (256 to 16,384: no better)


@kernel
def maxima(points: Array, order: Indices, start: int, stop: int, alive: Mask) -> None:
    """Clears `alive` for the dominated among order[start:stop], which descends lexicographically, without copies."""
    if stop - start < 2:
        return
    middle = (start + stop) // 2
    maxima(points, order, start, middle, alive)
    maxima(points, order, middle, stop, alive)
    upper = order[start:middle][alive[order[start:middle]]]
    lower = order[middle:stop][alive[order[middle:stop]]]
    remove(points, upper, lower, points.shape[1] - 1, alive)


@kernel
def remove(points: Array, upper: Indices, lower: Indices, last: int, alive: Mask) -> None:
    """Clears `alive` for those of `lower` that one of `upper` is at least as good as in the objectives 1 to `last`."""
    if upper.shape[0] == 0 or lower.shape[0] == 0:
        return
    if upper.shape[0] * lower.shape[0] <= PAIRS:
        for i in lower:
            for j in upper:
                k = 1
                while k <= last and points[j, k] >= points[i, k]:
                    k += 1
                if k > last:
                    alive[i] = False
                    break
        return
    if last == 2:
        sweep(points, upper, lower, alive)
        return
    values = np.sort(np.concatenate((points[upper, last], points[lower, last])))
    pivot = values[values.shape[0] // 2]
    if pivot == values[0]:  # the split must be real: without smaller values take those above
        above = np.searchsorted(values, pivot, side="right")
        if above == values.shape[0]:  # all equal: this objective says nothing
            remove(points, upper, lower, last - 1, alive)
            return
        pivot = values[above]
    high_upper = upper[points[upper, last] >= pivot]
    low_upper = upper[points[upper, last] < pivot]
    high_lower = lower[points[lower, last] >= pivot]
    low_lower = lower[points[lower, last] < pivot]
    remove(points, high_upper, high_lower, last, alive)
    remove(points, low_upper, low_lower, last, alive)
    remove(points, high_upper, low_lower[alive[low_lower]], last - 1, alive)


@kernel
def sweep(points: Array, upper: Indices, lower: Indices, alive: Mask) -> None:
    """What `remove` does for the objectives 1 and 2, in n log n."""
    upper = upper[np.argsort(-points[upper, 1])]
    lower = lower[np.argsort(-points[lower, 1])]
    highest = -np.inf
    j = 0
    for i in lower:
        while j < upper.shape[0] and points[upper[j], 1] >= points[i, 1]:
            highest = max(highest, points[upper[j], 2])
            j += 1
        if highest >= points[i, 2]:
            alive[i] = False


def kung(points: Array) -> Mask:
    """Return the mask of the non-dominated points; the first step is that of our filter."""
    candidates = not_below_the_best_sum(points)
    few = points[candidates]
    order = descending(few)
    copies = np.zeros(len(few), np.bool_)
    copies[order[1:]] = (few[order[1:]] == few[order[:-1]]).all(axis=1)
    alive = ~copies
    order = order[alive[order]]
    maxima(few, order, 0, len(order), alive)
    mask = np.zeros(len(points), np.bool_)
    mask[candidates] = alive
    return mask


def blocks(points: Array) -> Mask:
    """Return the mask of the non-dominated points as `non_dominated` finds it."""
    candidates = not_below_the_best_sum(points)
    mask = np.zeros(len(points), np.bool_)
    mask[candidates] = maximal_in_blocks(points[candidates])
    return mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only 1000 points")
    sizes = (1000,) if parser.parse_args().quick else (1000, 10_000, 100_000)
    print("| objectives | n | set | blocks, us | Kung, us | ratio |\n|---|---|---|---|---|---|")
    for m in (4, 5, 7, 9):
        for n in sizes:
            for kind in ("cloud", "sphere", "ties"):
                points = front(kind, n, m)
                assert (kung(points) == blocks(points)).all()
                times = {blocks: [], kung: []}
                for _ in range(5 if n < 100_000 else 1):
                    for function, seconds in times.items():
                        start = process_time()
                        function(points)
                        seconds.append(process_time() - start)
                ours, other = (median(seconds) * 1e6 for seconds in times.values())
                print(f"| {m} | {n} | {kind} | {ours:,.0f} | {other:,.0f} | {ours / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
