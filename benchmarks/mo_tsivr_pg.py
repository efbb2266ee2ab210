"""How many environment steps MO-TSIVR-PG and MO-PG take to reach a utility, over the runs of their study.

    python benchmarks/mo_tsivr_pg.py            the finished runs of configs/studies/mo-tsivr-pg.toml
    python benchmarks/mo_tsivr_pg.py --quick    two short runs of its own: does it work?

The utility is the metric `utility` of the runs, f of the estimated expected returns of the policy that explores; a
running mean takes the noise of the estimates away. Levels are shares of the way from the mean
first record of an environment to the highest running mean that a run of it reaches. A cell holds the median over all
seeds, where a seed that does not reach the level counts as later than all others, and how many do; "-": the median
does not.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
import tyro
from _runs import is_finished
from numpy.typing import NDArray

import morl

Curve = NDArray[np.float64]
QUICK_ENV = "deep-sea-treasure-v0"


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    study: Path = Path("studies/mo-tsivr-pg")
    """Folder of the study's runs."""
    levels: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)
    """Shares of the way from the first utility to the best."""
    window: float = 0.1
    """Share of a run's steps in a running mean."""
    quick: bool = False
    """Two short runs."""


class Curves(NamedTuple):
    """The utilities of a variant on an environment."""

    env: str
    variant: str
    steps: list[Curve]  # [seed] of [record]
    utilities: list[Curve]  # [seed] of [record] running means


def curve(run_dir: Path, window: float) -> tuple[Curve, Curve]:
    """Return the training steps and running mean utilities [record] of a run.

    Args:
        run_dir: its folder.
        window: share of the run's steps in a running mean; the first ones have fewer.
    """
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    records = [(line["training_steps"], line["utility"]) for line in lines if "utility" in line]
    steps, utilities = np.array(records, dtype=np.float64).T
    sums = np.cumsum(np.concatenate([[0.0], utilities]))
    first = np.searchsorted(steps, steps - window * steps[-1], side="right")
    end = np.arange(1, len(sums))
    return steps, (sums[end] - sums[first]) / (end - first)


def read(study: Path, window: float) -> list[Curves]:
    """Return the curves of the finished runs of a study, by environment and variant.

    Args:
        study: its folder.
        window: share of a run's steps in a running mean.
    """
    found = []
    for folder in sorted(study.glob("*/*"), key=lambda folder: (folder.name, folder.parent.name)):
        curves = [curve(run_dir, window) for run_dir in sorted(folder.glob("seed-*")) if is_finished(run_dir)]
        if curves:
            steps, utilities = map(list, zip(*curves, strict=True))
            found.append(Curves(folder.name, folder.parent.name, steps, utilities))
    return found


def steps_to(level: float, curves: Curves) -> str:
    """Return the cell of a level: the median of the steps at which seeds reach it, and how many do.

    Args:
        level: a utility.
        curves: of one variant.
    """
    reached = []
    for steps, utilities in zip(curves.steps, curves.utilities, strict=True):
        above = np.flatnonzero(utilities >= level)
        reached.append(steps[above[0]] if above.size else np.inf)
    median = float(np.median(reached))
    count = int(np.isfinite(reached).sum())
    shown = f"{median:,.0f}" if np.isfinite(median) else "-"
    return f"{shown} ({count} of {len(reached)})"


def main(arguments: Arguments) -> None:
    """Print the table."""
    if arguments.quick:
        arguments = Arguments(study=Path("runs/mo-tsivr-pg-quick"), quick=True)
        for variant, preset in (("tsivr", "paper"), ("mo-pg", "mo-pg")):
            morl.train(
                "mo-tsivr-pg",
                QUICK_ENV,
                total_steps=20_000,
                run_dir=arguments.study / variant / QUICK_ENV / "seed-0",
                overwrite=True,
                num_envs=24,
                reward_units="environment",
                config={"preset": preset, "utility": "morl.agents.mo_tsivr_pg.objective:sea", "population": 1},
            )
    found = read(arguments.study, arguments.window)
    heads = " | ".join(f"steps to {100 * share:g} %" for share in arguments.levels)
    print(f"| environment | variant | seeds | first utility | last utility | {heads} |")
    print("|" + "---|" * (5 + len(arguments.levels)))
    for curves in found:
        same = [other for other in found if other.env == curves.env]
        first = mean(float(utilities[0]) for other in same for utilities in other.utilities)
        best = max(float(utilities.max()) for other in same for utilities in other.utilities)
        last = [float(utilities[-1]) for utilities in curves.utilities]
        spread = f" +- {stdev(last):.3g}" if len(last) > 1 else ""
        cells = " | ".join(steps_to(first + share * (best - first), curves) for share in arguments.levels)
        begin = mean(float(utilities[0]) for utilities in curves.utilities)
        print(f"| {curves.env} | {curves.variant} | {len(last)} | {begin:.4g} | {mean(last):.4g}{spread} | {cells} |")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
