"""PD-MORL where the true front is known: hypervolume, expected utility and regret, seed by seed.

python benchmarks/true_fronts.py [--quick] [--seeds 5] [--only fruit-tree-v0-depth-7] [--table]

Trains with the tuned settings of configs/pd_morl into runs/true-fronts and prints a markdown table. Finished runs are
kept, so that the script can be stopped and started again.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import tyro

import morl
from morl.experiment.front import evaluation_preferences
from morl.pareto import hypervolume

TASKS: dict[str, tuple[str, dict[str, int]]] = {
    "deep-sea-treasure-v0": ("deep-sea-treasure-v0", {}),
    "fruit-tree-v0-depth-5": ("fruit-tree-v0", {"depth": 5}),
    "fruit-tree-v0-depth-6": ("fruit-tree-v0", {"depth": 6}),
    "fruit-tree-v0-depth-7": ("fruit-tree-v0", {"depth": 7}),
}


@dataclass(frozen=True)
class Arguments:
    """Which runs to make."""

    seeds: int = 5
    only: list[str] = field(default_factory=list)
    table: bool = False
    """Train nothing; print the table of the runs that are finished."""
    quick: bool = False
    """One seed of Deep Sea Treasure, a tenth of its steps."""


def train(name: str, seed: int, quick: bool) -> Path:
    """Return the folder of a finished run, training it first where it is not there yet."""
    env, options = TASKS[name]
    folder = Path("runs/true-fronts") / (f"{name}-quick" if quick else name) / f"seed-{seed}"
    if not (folder / "finished").exists():
        steps = 20_000 if quick else None
        settings = {"seed": seed, "total_steps": steps, "env_options": options}
        run = morl.train("pd-morl", env, run_dir=folder, overwrite=True, **settings)
        if json.loads((folder / "front.json").read_text())["training_steps"] < run.settings.total_steps:
            sys.exit(f"{folder} was interrupted")
        (folder / "finished").touch()
    return folder


def row(folder: Path) -> dict[str, float]:
    """Return what a finished run reached."""
    front = json.loads((folder / "front.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    chosen = [
        line for line in lines if line["training_steps"] == front["selected_at_step"] and "conditioned_utility" in line
    ]
    run = morl.load(folder)
    assert run.front.known_front is not None
    preferences = evaluation_preferences(len(run.front.objectives), run.settings.evaluation_divisions)
    best = float((preferences @ run.front.known_front.T).max(axis=1).mean())
    return {
        "hypervolume": front["indicators"]["hypervolume"],
        "optimal hypervolume": hypervolume(run.front.known_front, run.front.reference_point),
        "expected utility": front["indicators"]["expected_utility"],
        "optimal utility": best,
        "own utility": chosen[-1]["conditioned_utility"],
        "regret": chosen[-1]["utility_regret"],
        "steps": front["training_steps"],
        "selected at": front["selected_at_step"],
        "evaluation steps": front["evaluation_steps"],
        "updates": front["updates"],
        "seconds": front["wall_seconds"],
    }


def main(arguments: Arguments) -> None:
    names = ["deep-sea-treasure-v0"] if arguments.quick else arguments.only or list(TASKS)
    seeds = 1 if arguments.quick else arguments.seeds
    titles = ("task", "seed", "hypervolume (optimum)", "expected utility (optimum)", "own utility", "regret")
    titles += ("steps (selected at)", "evaluation steps", "updates", "wall s")
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name in names:
        regrets = []
        for seed in range(seeds):
            folder = Path("runs/true-fronts") / name / f"seed-{seed}"
            if arguments.table and not (folder / "finished").exists():
                continue
            v = row(train(name, seed, arguments.quick))
            regrets.append(v["regret"] / v["optimal utility"])
            cells = (
                name,
                str(seed),
                f"{v['hypervolume']:.3f} ({v['optimal hypervolume']:.3f})",
                f"{v['expected utility']:.4f} ({v['optimal utility']:.4f})",
                f"{v['own utility']:.4f}",
                f"{v['regret']:.4f}",
                f"{v['steps']:,} ({v['selected at']:,})",
                f"{v['evaluation steps']:,}",
                f"{v['updates']:,}",
                f"{v['seconds']:.0f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)
        if regrets:
            summary = f"relative regret {100 * mean(regrets):.2f} % (worst {100 * max(regrets):.2f} %)"
            print(f"| {name} | {len(regrets)} seeds | {summary} |")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
