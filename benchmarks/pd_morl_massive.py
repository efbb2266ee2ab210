"""PD-MORL's preset `massive` beside `improved`: quality per environment step and per update, on the CPU.

    python benchmarks/pd_morl_massive.py run runs/massive              some minutes of a core
    python benchmarks/pd_morl_massive.py run --envs mo-halfcheetah-v5 --longer        `massive` with six times the steps
    python benchmarks/pd_morl_massive.py table runs/massive            the rows of quality
    python benchmarks/pd_morl_massive.py --quick                       two small runs, to see that it works

`massive` is made for a GPU: hundreds to thousands of environments, and few updates of large batches. Whether its front
is as good for the same environment steps does not depend on the device, nor on how busy the processor is. Both presets
get the same small networks, so that the CPU can do it. A front must not collapse: beside its hypervolume the table has
the number of its points, and the utility of the network when it is conditioned on each preference itself.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import morl

TASKS: dict[str, dict[str, Any]] = {
    "mo-halfcheetah-v5": {"evaluation_divisions": 20},
    "deep-sea-treasure-v0": {"evaluation_divisions": 100, "config": {"one_hot": True}},
    "building-3d-v0": {"evaluation_divisions": 5},
}
NUM_ENVS = {"improved": 10, "massive": 256}
"""Preset -> number of environments."""
STEPS = 50_000
LONGER = 6
"""`massive` also gets so many times the environment steps with --longer: its rows can be compared at equal updates."""
MEASURES = ("selection/hypervolume", "selection/cardinality", "selection/expected_utility", "conditioned_utility")


def train(run_dir: Path, env: str, preset: str, seed: int, steps: int) -> None:
    """Train a run, unless it is there, and write the seconds of processor time that it took."""
    if (run_dir / "seconds.json").is_file():
        return
    before = process_time()
    settings = dict(TASKS[env])
    own = {"preset": preset, "hidden_sizes": (64, 64), **settings.pop("config", {})}
    morl.train(
        "pd-morl",
        env,
        total_steps=steps,
        seed=seed,
        run_dir=run_dir,
        overwrite=True,
        num_envs=NUM_ENVS[preset],
        evaluate_every=steps // 5,
        evaluation_episodes=1,
        loggers=[],
        config=own,
        **settings,
    )
    (run_dir / "seconds.json").write_text(json.dumps(process_time() - before))


def run(folder: Path, envs: list[str], seeds: list[int], steps: int, longer: bool = False) -> None:
    """Train both presets on each task with each seed; longer: also `massive` with LONGER times the steps."""
    for env in envs:
        for seed in seeds:
            for preset in NUM_ENVS:
                train(folder / env / f"{preset}-{seed}", env, preset, seed, steps)
            if longer:
                train(folder / env / f"massive, longer-{seed}", env, "massive", seed, LONGER * steps)


def evaluations(run_dir: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.jsonl in which the front was evaluated."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if MEASURES[0] in line]


def table(folder: Path) -> None:
    """Print a row for each evaluation of each run."""
    names = " | ".join(name.removeprefix("selection/").replace("_", " ") for name in MEASURES)
    print(f"| task | preset | seed | CPU s | steps | updates | {names} |\n|{'---|' * (6 + len(MEASURES))}")
    for file in sorted(folder.glob("*/*/seconds.json")):
        run_dir = file.parent
        preset, _, seed = run_dir.name.rpartition("-")
        seconds = json.loads(file.read_text())
        for line in evaluations(run_dir):
            numbers = " | ".join(shown(line[name]) for name in MEASURES)
            counts = f"{line['training_steps']:,.0f} | {line['updates']:,.0f}"
            print(f"| {run_dir.parent.name} | {preset} | {seed} | {seconds:.0f} | {counts} | {numbers} |")


def shown(value: float) -> str:
    """Return a number with four digits, large ones with all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["run", "table"], default="run")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/massive"), help="where the runs are kept")
    parser.add_argument("--envs", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="environment steps of each run")
    parser.add_argument("--longer", action="store_true", help=f"also `massive` with {LONGER} times the steps")
    parser.add_argument("--quick", action="store_true", help="two small runs, which are not kept")
    arguments = parser.parse_args()
    if arguments.quick:
        with TemporaryDirectory() as folder:
            run(Path(folder), ["building-3d-v0"], [0], 6_000)
            table(Path(folder))
        return
    if arguments.what == "run":
        run(arguments.folder, arguments.envs, arguments.seeds, arguments.steps, arguments.longer)
    table(arguments.folder)


if __name__ == "__main__":
    main()
