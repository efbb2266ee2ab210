"""Does a tuning improve on the settings that it started from, on seeds that chose nothing?

    python benchmarks/tuning.py configs/tunings/linear-quadratic-2.toml            as the file says, all cores
    python benchmarks/tuning.py configs/tunings/linear-quadratic-2.toml --trials 40 --total-steps 2000 --workers 1

Makes the trials that are missing, trains the study compare.toml that the tuning writes (the file's own settings and the
tuned ones, five fresh seeds each), and prints the objective of every run on fresh episodes, both means, and a 95 %
percentile bootstrap interval of their difference. Started again, it goes on.
"""

import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from morl.experiment.run import load
from morl.studies.objective import combined, measure
from morl.studies.plan import read_study
from morl.studies.study import study
from morl.studies.tuning import tune
from morl.studies.worker import perform

RESAMPLES = 10_000


@dataclass(frozen=True)
class Arguments:
    """What to tune, and how long."""

    file: tyro.conf.Positional[Path] = Path("configs/tunings/linear-quadratic-2.toml")
    """The tune.toml."""
    trials: int | None = None
    """Trials; default: as the file says."""
    workers: int | None = None
    """Processes; default: one for each core."""
    total_steps: int | None = None
    """Environment steps of each run; default: as the file says."""
    folder: Path = Path("runs/tunings")
    """Where the tuning and the comparison lie."""
    quick: bool = False
    """Two trials of 500 steps, to see that it runs."""


def interval(tuned: Sequence[float], defaults: Sequence[float]) -> NDArray[np.float64]:
    """Return the ends of the 95 % percentile bootstrap interval of mean(tuned) - mean(defaults) [2]."""
    random = np.random.default_rng(0)
    means = [random.choice(np.array(values), (RESAMPLES, len(values))).mean(axis=1) for values in (tuned, defaults)]
    ends: NDArray[np.float64] = np.percentile(means[0] - means[1], [2.5, 97.5])
    return ends


def main(arguments: Arguments) -> None:
    """Tune, compare and print."""
    table = {"name": arguments.file.stem} | tomllib.loads(arguments.file.read_text())
    if arguments.quick:
        table |= {"total_steps": 500, "name": "quick", "run": {"evaluate_every": 250}}
        table["tune"] |= {"trials": 2}
        for name in ("quick", "quick-compare"):
            shutil.rmtree(arguments.folder / name, ignore_errors=True)
    if arguments.trials is not None:
        table["tune"] |= {"trials": arguments.trials}
    if arguments.total_steps is not None:
        table |= {"total_steps": arguments.total_steps, "name": f"{table['name']}-{arguments.total_steps}"}
    found = tune(table, folder=arguments.folder, workers=arguments.workers)
    print(found.sentence)
    compared = read_study(found.comparison, arguments.folder)
    if arguments.workers == 1:
        for run in compared.runs:
            perform(run.job())  # in this process: starting one for each run takes longer than a short run
    else:
        study(compared, workers=arguments.workers).wait()
    search = found.tuning.search
    values: dict[str, list[float]] = {"defaults": [], "tuned": []}
    for variant, of_variant in values.items():
        runs = [run for run in compared.runs if run.variant == variant]
        for seed in sorted({run.seed for run in runs}):
            reached = [
                (run.env, measure(load(run.run_dir, trust=True), search.objective, search.episodes).value)
                for run in runs
                if run.seed == seed
            ]
            of_variant.append(combined(reached))
        print(f"{variant:>8}: {' '.join(f'{value:.4f}' for value in of_variant)}, mean {np.mean(of_variant):.4f}")
    low, high = interval(values["tuned"], values["defaults"])
    difference = np.mean(values["tuned"]) - np.mean(values["defaults"])
    print(f"tuned - defaults: {difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} ({search.objective})")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
