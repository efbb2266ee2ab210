"""Which traits of MORL/D pay: each changed alone, on a discrete and a continuous problem, three seeds each.

    python benchmarks/morl_d_ablation.py train runs/ablation            all of it; goes on where it was interrupted
    python benchmarks/morl_d_ablation.py train runs/ablation --only selection
    python benchmarks/morl_d_ablation.py table runs/ablation

The base has no cooperation, no adaptation, no selection: six policies side by side with fixed Riesz weights, replay of
their own and small networks. Selection is compared among populations that train one policy at a time: round robin is
its base. Reported is the hypervolume of the last front of a run, as a share of the best of all runs on that problem:
the mean over seeds with its 95 % bootstrap interval over seeds, which with three seeds is their range at most.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import morl
from morl.pareto import hypervolume

NUMBERS: dict[str, Any] = {"hidden_sizes": (64, 64), "batch_size": 64, "evaluation_episodes": 1, "workers": 1}
PROBLEMS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "deep-sea-treasure-v0": (
        15_000,
        {"num_envs": 12, "evaluate_every": 15_000, "evaluation_episodes": 1},
        {
            "exchange_every": 750,
            "one_hot": True,
            "random_exploration_steps": 200,
            "learning_starts": 200,
            "exploration_steps": 2_000,
            "tau": 0.02,
        },
    ),
    "water-reservoir-v0": (
        15_000,
        {"num_envs": 12, "evaluate_every": 15_000, "evaluation_episodes": 20},
        {"exchange_every": 750, "evaluation_episodes": 5, "random_exploration_steps": 200, "learning_starts": 200},
    ),
}
"""Environment -> steps, schedule, settings of the agent."""
NEAR: dict[str, Any] = {"neighbourhood": "nearest", "neighbours": 2}
ONE: dict[str, Any] = {"selected": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "replay: neighbours": {"replay": "neighbours", **NEAR},
    "replay: shared": {"replay": "shared"},
    "parameters: soft": {"transfer": "soft", **NEAR},
    "parameters: best": {"transfer": "best", **NEAR},
    "networks: shared-layers": {"networks": "shared-layers"},
    "networks: conditioned": {"networks": "conditioned", "replay": "shared", "workers": None},
    "adaptation: psa": {"adaptation": "psa"},
    "adaptation: corner-weights": {"adaptation": "corner-weights"},
    "sb-psa": {"preset": "sb-psa"},
    "selection: round-robin": ONE,
    "selection: random": {"selection": "random", **ONE},
    "selection: tournament": {"selection": "tournament", **ONE},
    "selection: most-promising": {"selection": "most-promising", **ONE},
    "parameters: first-sweep, one at a time": {"preset": "transfer"},
}


def run_dir(folder: Path, env: str, variant: str, seed: int) -> Path:
    """Return where a run is kept."""
    return folder / env / variant.replace(": ", "-").replace(", ", "-").replace(" ", "-") / f"seed-{seed}"


def train(folder: Path, only: str, seeds: list[int]) -> None:
    """Trains what is missing."""
    for env, (steps, schedule, settings) in PROBLEMS.items():
        for variant, traits in VARIANTS.items():
            for seed in seeds if only in f"{env} {variant}" else []:
                place = run_dir(folder, env, variant, seed)
                if (place / "front.json").is_file():
                    continue
                config = NUMBERS | settings | traits
                options = {"seed": seed, "overwrite": True, "device": "cpu"} | schedule
                run = morl.train("morl-d", env, total_steps=steps, run_dir=place, config=config, **options)
                print(env, variant, seed, f"{run.front.indicators['hypervolume']:.1f}", flush=True)


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean."""
    draws = np.random.default_rng(0).choice(values, size=(10_000, len(values)))
    low, high = np.quantile(draws.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def last_hypervolume(place: Path) -> float:
    """Return the hypervolume of the last front that a run recorded."""
    points = json.loads((place / "fronts.jsonl").read_text().splitlines()[-1])["points"]
    return hypervolume(points, json.loads((place / "front.json").read_text())["reference_point"])


def table(folder: Path, seeds: list[int]) -> None:
    """Prints one row for each variant."""
    print(f"| trait | {' | '.join(PROBLEMS)} |\n|{'---|' * (1 + len(PROBLEMS))}")
    reached = {
        (env, variant): [last_hypervolume(run_dir(folder, env, variant, seed)) for seed in seeds]
        for env in PROBLEMS
        for variant in VARIANTS
        if all((run_dir(folder, env, variant, seed) / "front.json").is_file() for seed in seeds)
    }
    best = {env: max(max(values) for (of, _), values in reached.items() if of == env) for env in PROBLEMS}
    for variant in VARIANTS:
        cells = []
        for env in PROBLEMS:
            shares = [value / best[env] for value in reached.get((env, variant), [])]
            low, high = interval(shares) if shares else (0.0, 0.0)
            cells.append(f"{np.mean(shares):.3f} ({low:.3f} to {high:.3f})" if shares else "not run")
        print(f"| {variant} | {' | '.join(cells)} |")
    print(f"\nThe best: {', '.join(f'{env} {value:,.1f}' for env, value in best.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("folder", type=Path, help="where runs are kept")
    parser.add_argument("--only", default="", help="a part of 'environment variant': the others are left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="a run for each")
    arguments = parser.parse_args()
    gymnasium.logger.min_level = logging.ERROR
    if arguments.what == "train":
        train(arguments.folder, arguments.only, arguments.seeds)
    else:
        table(arguments.folder, arguments.seeds)


if __name__ == "__main__":
    main()
