"""What each option of MO-TD3-HER is worth: the defaults with one option changed at a time, seeds as one batch.

    OMP_WAIT_POLICY=passive python benchmarks/pd_morl_ablations.py --out runs/ablations      hours; can be stopped
    python benchmarks/pd_morl_ablations.py --quick                                           two minutes

Runs that are finished under --out are read, not repeated. Small networks and few steps, so that all options can be
compared on a laptop: read the table as directions, not as what the options are worth at full size. Intervals are 95 %
bootstrap intervals of the mean over seeds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import morl

ENVIRONMENTS = ("pgmorl-swimmer-v0", "pgmorl-halfcheetah-v0")
BASE = {"hidden_sizes": (64, 64), "batch_size": 64, "learning_rate": 1e-3, "learning_starts": 1_000}
BASE |= {"random_exploration_steps": 5_000, "key_update_steps": 20_000, "key_episodes": 1, "discount": 0.99}
BASE |= {"exploration_noise": 0.1, "noise_correlation": 0.0, "reward_scale": "rms"}  # whatever a tuned file says
BASE |= {"actor_angle": 0.0, "angle_start_step": 0, "relabeling_starts": 0}
KEYS = {"key_update_steps": 5_000}  # where directions matter, keys are measured more often
THE_PAPER = {"preset": "paper", "discount": 0.995, "reward_scale": "none", "actor_angle": 10.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "improved": {},
    "paper, without key pre-training": {"key_pretraining_steps": 0} | THE_PAPER | KEYS,
    "paper, 20,000 steps for each key": {"key_pretraining_steps": 20_000} | THE_PAPER | KEYS,
    "time limits end episodes": {"time_limits": "end"},
    "rewards not scaled": {"reward_scale": "none"},
    "no layer norm": {"hidden_norm": "none"},
    "gradient of tanh": {"action_gradient": "tanh"},
    "actor learns at once": {"actor_start": "at-once"},
    "noise of 0.3 with correlation 0.9": {"noise_correlation": 0.9, "exploration_noise": 0.3},
    "actor every 10th update": {"policy_delay": 10},
    "noise of 0.2 on target actions": {"target_noise": 0.2, "target_noise_clip": 0.5},
    "latest actor is evaluated": {"evaluation_actor": "latest"},
    "squared loss": {"loss": "squared"},
    "relabeled from |z|": {"relabel_from": "absolute-normal"},
    "relabeled from Dirichlet": {"relabel_from": "dirichlet"},
    "no relabeling": {"relabeled_share": 0.0},
    "relabeling from step 30,000 on": {"relabeling_starts": 30_000},
    "angle in the actor": {"actor_angle": 10.0} | KEYS,
    "angle in the actor, 11 keys": {"actor_angle": 10.0, "key_divisions": 10} | KEYS,
    "angle in actor and critic": {"actor_angle": 10.0, "critic_angle": 1.0} | KEYS,
    "angle of 2 in the actor from step 30,000 on": {"actor_angle": 2.0, "angle_start_step": 30_000} | KEYS,
    "discount 0.995": {"discount": 0.995},
    "discount 0.998": {"discount": 0.998},
    "20,000 random steps": {"random_exploration_steps": 20_000},
    "20,000 steps of pre-training for each key": {"key_pretraining_steps": 20_000},
}
INDICATORS = ("hypervolume", "expected_utility", "conditioned_utility", "regret")


def train(env: str, option: str, folder: Path, steps: int, seeds: int) -> None:
    """Trains all seeds of an option as one batch, unless that is done."""
    if all((folder / f"seed-{seed}" / "front.json").exists() for seed in range(seeds)):
        return
    settings: dict[str, Any] = {
        "evaluation_divisions": 100,
        "evaluation_episodes": 1,
        "evaluate_every": steps,
        "device": "cpu",
    }
    config = BASE | OPTIONS[option]
    morl.train_seeds(
        "pd-morl", env, range(seeds), run_dir=folder, total_steps=steps, config=config, overwrite=True, **settings
    )


def indicators(run_dir: Path) -> dict[str, float]:
    """Return the indicators of a finished run.

    Own utility is what preferences get without choosing from the front; regret is what choosing would win them.
    """
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    found = json.loads((run_dir / "front.json").read_text())["indicators"]
    found["conditioned_utility"] = next(value for key, value in last.items() if key.endswith("conditioned_utility"))
    found["regret"] = found["expected_utility"] - found["conditioned_utility"]
    return dict(found)


def interval(values: list[float]) -> str:
    """Return the mean with its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(values, size=(10_000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{np.mean(values):.4g} ({low:.4g} to {high:.4g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two options, one environment, 3,000 steps")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--envs", nargs="+", default=list(ENVIRONMENTS))
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.steps = 3_000
        chosen.envs = chosen.envs[:1]
        chosen.options = list(OPTIONS)[:2]
        chosen.out = chosen.out / "quick"
    print(f"{chosen.steps:,} steps, seeds 0 to {chosen.seeds - 1}\n")
    print(f"| environment | option | {' | '.join(INDICATORS)} |\n|{'---|' * (2 + len(INDICATORS))}")
    for env in chosen.envs:
        for option in chosen.options:
            folder = chosen.out / f"{chosen.steps}" / env / option.replace(" ", "-").replace("|", "")
            train(env, option, folder, chosen.steps, chosen.seeds)
            runs = [indicators(folder / f"seed-{seed}") for seed in range(chosen.seeds)]
            cells = [interval([run[name] for run in runs]) for name in INDICATORS]
            print(f"| {env} | {option} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
