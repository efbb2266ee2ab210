"""The indicators of a history of fronts in one call beside a loop over the fronts, in one run on one core.

    python benchmarks/pareto_history.py            five histories, about a minute
    python benchmarks/pareto_history.py --quick    one history

A history is 1000 fronts that grow from one point to `n`. CPU time, medians over interleaved rounds. moocore stands
beside where it has the indicator; it is called in a loop, since it takes one front at a time.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from time import process_time
from typing import Any

import moocore
import numpy as np
from pareto import front

import morl.pareto
from morl.pareto import history
from morl.preferences import dirichlet

FRONTS = 1000


def measure(calls: list[Callable[[], Any]]) -> list[float]:
    """Return the median seconds per call of each."""
    times = [[] for _ in calls]
    for call in calls:
        call()  # compiles
    for _ in range(5):
        for call, seconds in zip(calls, times, strict=True):
            start = process_time()
            call()
            seconds.append(process_time() - start)
    return [median(seconds) for seconds in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only two objectives, up to 20 points")
    cells = ((2, 20),) if parser.parse_args().quick else ((2, 20), (2, 200), (3, 50), (4, 50), (5, 30))
    print("| indicator | objectives | points | one call, ms | loop, ms | moocore in a loop, ms | call / loop |")
    print("|---|---|---|---|---|---|---|")
    for m, n in cells:
        points = front("sphere", n, m)
        fronts = [points[: 1 + i * n // FRONTS] for i in range(FRONTS)]
        reference = np.zeros(m)
        known = front("sphere", 100, m) * 1.1
        preferences = dirichlet(m, 100, seed=0)
        arguments = {
            "hypervolume": {"reference": reference},
            "expected_utility": {"preferences": preferences},
            "sparsity": {},
            "cardinality": {},
            "igd_plus": {"known_front": known},
            "maximum_utility_loss": {"known_front": known, "preferences": preferences},
        }
        peers = {
            "hypervolume": lambda p, r=reference: moocore.hypervolume(p, ref=r, maximise=True),
            "igd_plus": lambda p, k=known: moocore.igd_plus(p, ref=k, maximise=True),
        }
        for name, others in arguments.items():
            one = partial(getattr(morl.pareto, name), **others)
            many = partial(getattr(history, name), **others)
            calls = [
                lambda f=many, h=fronts: f(h),
                lambda f=one, h=fronts: [f(points) for points in h],
            ]
            if name in peers:
                calls.append(lambda f=peers[name], h=fronts: [f(points) for points in h])
            seconds = [1e3 * value for value in measure(calls)]
            figures = " | ".join(f"{value:,.1f}" for value in seconds) + (" |" if len(seconds) == 2 else "")
            print(f"| {name} | {m} | 1 to {n} | {figures} | {seconds[0] / seconds[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
