"""Fronts of MORL/D on mo-halfcheetah-v5 beside those of morl-baselines' MORL/D, with the settings of its authors.

    python benchmarks/morl_d_quality.py ours runs/quality --presets vanilla sb-psa --seeds 0 1 2
    python benchmarks/morl_d_quality.py peer runs/quality --presets sb-psa     an hour of CPU for 300,000 steps
    python benchmarks/morl_d_quality.py table runs/quality

The peer (the extra `bench`) evaluates each policy five times at an exchange, as we do, not 25 times, and its replay
holds the whole run, for which its million is more than enough. Both fronts are judged by our indicators: reference
point (-100, -100), discount 0.99, expected utility over 101 even weights. Of the peer, "archive" is the front that its
archive claims, the best of noisy evaluations; "front" is what the members of that archive reach on fresh episodes. Ours
is always evaluated on fresh seeds. Run folders are kept: an interrupted run of ours goes on where it was.
"""

import argparse
import json
import logging
from pathlib import Path
from time import process_time
from typing import Any

import gymnasium
import mo_gymnasium as mo_gym
import numpy as np
from numpy.typing import NDArray

import morl
from morl.pareto import expected_utility, hypervolume, non_dominated
from morl.preferences import simplex_lattice

ENV = "mo-halfcheetah-v5"
REFERENCE = np.array([-100.0, -100.0])
EXCHANGE = 50_000
NUM_ENVS = 12  # of our tuned settings
TRAITS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "sb": {"shared_buffer": True},
    "psa": {"weight_adaptation_method": "PSA"},
    "sb-psa": {"shared_buffer": True, "weight_adaptation_method": "PSA"},
}


def train_ours(folder: Path, preset: str, seed: int, steps: int, width: int) -> None:
    """Trains, or goes on with, a run of ours."""
    run_dir = folder / f"ours-{preset}-{seed}"
    before = process_time()
    if (run_dir / "config.toml").is_file():
        run = morl.resume(run_dir, steps)
    else:
        config = {"preset": preset, "hidden_sizes": (width, width)}
        run = morl.train("morl-d", ENV, total_steps=steps, seed=seed, run_dir=run_dir, config=config)
    print(run.directory, run.front.indicators, f"{process_time() - before:.0f} CPU-s", flush=True)


def train_peer(folder: Path, preset: str, seed: int, steps: int, width: int) -> None:
    """Trains morl-baselines' MORL/D and writes what its archive holds at every exchange."""
    from morl_baselines.multi_policy.morld.morld import MORLD

    record: list[dict[str, Any]] = []

    class Recorded(MORLD):  # type: ignore[misc]
        def save(self, *_: object, **__: object) -> None:
            """Notes the archive instead of writing it; the peer calls this at every exchange."""
            points = [np.asarray(point).tolist() for point in self.archive.evaluations]
            record.append({"step": self.global_step, "archive": points, "cpu_seconds": process_time()})

    agent = Recorded(
        env=mo_gym.make(ENV),
        policy_args={"batch_size": 128, "buffer_size": steps, "net_arch": [width, width]},
        gamma=0.99,
        exchange_every=EXCHANGE,
        seed=seed,
        log=False,
        device="cpu",
        **TRAITS[preset],
    )
    agent.train(steps, mo_gym.make(ENV), REFERENCE, num_eval_episodes_for_front=1, save_freq=EXCHANGE)
    fresh = mo_gym.make(ENV)
    fresh.reset(seed=10_000 + seed)
    members = [
        each.wrapped.policy_eval(fresh, weights=each.weights, scalarization=np.dot, log=False)[3]
        for each in agent.archive.individuals
    ]
    record[-1]["front"] = np.array(members).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"peer-{preset}-{seed}.json").write_text(json.dumps(record))


def indicators(points: object) -> str:
    """Returns hypervolume, expected utility and cardinality as cells of a table."""
    front: NDArray[np.float64] = np.asarray(points)
    front = front[non_dominated(front)]
    utility = expected_utility(front, simplex_lattice(2, 100))
    return f"{hypervolume(front, REFERENCE):,.0f} | {utility:.1f} | {len(front)}"


def table(folder: Path) -> None:
    """Prints one row for every front that was recorded at an exchange."""
    print("| who | preset | seed | steps | hypervolume | expected utility | points |\n|---|---|---|---|---|---|---|")
    for run_dir in sorted(folder.glob("ours-*")):
        _, preset, seed = run_dir.name.replace("sb-psa", "sb+psa").split("-")
        for line in map(json.loads, (run_dir / "fronts.jsonl").read_text().splitlines()):
            if line["training_steps"] % EXCHANGE < NUM_ENVS:  # the first yield at or after it
                print(f"| morl | {preset} | {seed} | {line['training_steps']:,} | {indicators(line['points'])} |")
    for file in sorted(folder.glob("peer-*.json")):
        _, preset, seed = file.stem.replace("sb-psa", "sb+psa").split("-")
        for line in json.loads(file.read_text()):
            row = f"| {preset} | {seed} | {line['step']:,} ({line['cpu_seconds']:,.0f} CPU-s) |"
            print(f"| morl-baselines, archive {row} {indicators(line['archive'])} |")
            if "front" in line:
                print(f"| morl-baselines, front {row} {indicators(line['front'])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ours", "peer", "table"])
    parser.add_argument("folder", type=Path, help="where runs are kept")
    parser.add_argument("--presets", nargs="+", choices=list(TRAITS), default=["sb-psa"], help="of MORL/D")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="a run for each")
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps of each run")
    parser.add_argument("--width", type=int, default=256, help="of both hidden layers")
    arguments = parser.parse_args()
    gymnasium.logger.min_level = logging.ERROR
    if arguments.what == "table":
        table(arguments.folder)
    for seed in arguments.seeds if arguments.what != "table" else []:
        for preset in arguments.presets:
            train = train_ours if arguments.what == "ours" else train_peer
            train(arguments.folder, preset, seed, arguments.steps, arguments.width)


if __name__ == "__main__":
    main()
