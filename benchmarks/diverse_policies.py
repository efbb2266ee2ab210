"""Diverse policy sets: novel policies in the dent of a front that weighted sums leave empty.

python benchmarks/diverse_policies.py [--quick] [--seeds 0 1 2 3 4] [--table] [--write docs/results/diverse_policies.md]

On the concave arc of the lab no weighted sum has an inner point as its best. Three ways to spend the same number of
environment steps on eight policies, all of MO-TSIVR-PG with a linear utility and the same settings:

- weights: one policy for each of eight preferences, evenly spread: a linear front;
- restarts: eight policies for equal weights, each from another seed;
- novel: the same, trained one after another, each novel against all before it (IPD, docs/guide/diverse_policies.md).

Runs are kept in runs/diverse-policies, so that the script can be stopped and started again. A set's points are the mean
returns of its final policies, nothing that training passed on its way.
"""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import TypedDict

import numpy as np
import tyro

import morl
from morl.envs import specs
from morl.experiment.novelty import novelty
from morl.pareto import hypervolume, non_dominated
from morl.protocols import FloatArray

ENV = "lab/concave-arc-v0"
AGENT = "mo-tsivr-pg"
CONFIG = {"initial_episodes": 48, "episodes": 12, "learning_rate": 1e-2}
BOUND = {"novelty_threshold": 0.3, "novelty_grace_steps": 2}
METHODS = {
    "weights": "a policy for each of {} weights",
    "restarts": "equal weights, {} seeds",
    "novel": "equal weights, {} policies, each novel",
}
EPISODES = 4
"""On which novelty is measured; nothing is random in the environment."""
NEAR = 0.02
"""Of an end of the arc, in each objective: points that are farther from both are inner ones."""


@dataclass(frozen=True)
class Arguments:
    """Which sets to train."""

    seeds: list[int] = field(default_factory=lambda: list(range(5)))
    policies: int = 8
    """Of each set."""
    steps: int = 20_000
    """Environment steps for each policy."""
    folder: Path = Path("runs/diverse-policies")
    table: bool = False
    """Train nothing; show the sets that are finished."""
    write: Path | None = None
    """Also write the table there, and the points beside it as JSON."""
    quick: bool = False
    """One seed, two policies, a twentieth of the steps: does it run?"""


class PolicySet(TypedDict):
    """A finished set, as its file holds it."""

    points: list[list[float]]
    """[policy, objective] mean undiscounted returns."""
    novelty: list[float]
    """[policy] mean distance of the actions from those of the nearest other policy of the set."""


# --- Training ---------------------------------------------------------------------------------------------------------


def train_weights(folder: Path, seed: int, arguments: Arguments) -> list[morl.Policy]:
    """Return a policy for each of several weights, trained in one run."""
    run = trained(folder, arguments.steps * arguments.policies, seed, population=arguments.policies)
    return [morl.load_policy(file) for file in sorted((run.directory / "policies").iterdir())]


def train_in_turn(folder: Path, seed: int, arguments: Arguments, novel: bool) -> list[morl.Policy]:
    """Return policies for equal weights, trained in turn; novel: each differs from all before it."""
    files: list[Path] = []
    for number in range(arguments.policies):
        own_seed = 100 * seed + number
        run = trained(folder / str(number), arguments.steps, own_seed, 1, files if novel else [])
        file = folder / f"{number}.pt"
        run.policy(row=0).save(file)
        files.append(file)
    return [morl.load_policy(file) for file in files]


def trained(folder: Path, steps: int, seed: int, population: int, references: list[Path] | None = None) -> morl.Run:
    """Return a finished run, trained or resumed first."""
    if (folder / "front.json").is_file():
        return morl.load(folder)
    if (folder / "checkpoints").is_dir():
        return morl.resume(folder)
    return morl.train(
        AGENT,
        ENV,
        run_dir=folder,
        overwrite=folder.exists(),
        progress=False,
        loggers=[],
        seed=seed,
        total_steps=steps,
        evaluate_every=steps,  # so that the front is that of the final policies
        evaluation_episodes=EPISODES,
        num_envs=12 * population,
        config={**CONFIG, "population": population},
        **({"novelty_references": references, **BOUND} if references else {}),  # type: ignore[arg-type] # of many types
    )


def finished_set(method: str, seed: int, arguments: Arguments) -> PolicySet | None:
    """Return a set, trained first unless only the table is asked for; None: there is none."""
    folder = arguments.folder / method / f"seed-{seed}"
    file = folder / "set.json"
    if not file.is_file():
        if arguments.table:
            return None
        if method == "weights":
            policies = train_weights(folder, seed, arguments)
        else:
            policies = train_in_turn(folder, seed, arguments, novel=method == "novel")
        points = [morl.evaluate(policy, ENV, EPISODES).undiscounted[0].tolist() for policy in policies]
        distances = [nearest(number, policies) for number in range(len(policies))]
        file.write_text(json.dumps(PolicySet(points=points, novelty=distances)))
    found: PolicySet = json.loads(file.read_text())
    return found


def nearest(number: int, policies: list[morl.Policy]) -> float:
    """Return the novelty of one of some policies against the others."""
    others = policies[:number] + policies[number + 1 :]
    return float(novelty(policies[number], others, ENV, EPISODES).min())


# --- The table --------------------------------------------------------------------------------------------------------


def share_of_hypervolume(points: FloatArray) -> float:
    """Return the hypervolume of points as a share of the known front's."""
    entry = specs[ENV]
    assert entry.known_front is not None
    assert entry.reference_point is not None
    reference = np.array(entry.reference_point)
    return hypervolume(points, reference) / hypervolume(entry.known_front(1.0), reference)


def largest_gap(points: FloatArray) -> float:
    """Return the largest angle between neighbours on the front, the ends of the arc included, as a share of the arc."""
    front = points[non_dominated(points)]
    angles = np.arctan2(1.0 - front[:, 1], 1.0 - front[:, 0]) / (np.pi / 2)
    return float(max(after - before for before, after in pairwise([0.0, *sorted(angles), 1.0])))


def inner_points(points: FloatArray) -> int:
    """Return how many non-dominated points lie in the dent, away from both ends."""
    front = points[non_dominated(points)]
    return int(((front < 1.0 - NEAR) & (front > NEAR)).any(axis=1).sum())


def row(method: str, sets: list[PolicySet]) -> str:
    """Return the row of a method: means over seeds, and the smallest and largest share of the hypervolume."""
    arrays = [np.array(one["points"]) for one in sets]
    shares = [share_of_hypervolume(points) for points in arrays]
    cells = [
        METHODS[method].format(len(arrays[0])),
        str(len(sets)),
        f"{mean(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})",
        f"{mean(map(inner_points, arrays)):.1f}",
        f"{mean(map(largest_gap, arrays)):.2f}",
        f"{mean(mean(one['novelty']) for one in sets):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def page(results: dict[str, list[PolicySet]], arguments: Arguments) -> str:
    """Return the table and what its columns mean."""
    header = "| policies | seeds | share of hypervolume (least to most) | inner points | largest gap | novelty |"
    rows = [row(method, sets) for method, sets in results.items() if sets]
    return f"""# Diverse policies on a concave front

<!-- `python benchmarks/diverse_policies.py --write docs/results/diverse_policies.md` writes this page. -->

`{ENV}`, {AGENT} with a linear utility, {arguments.steps:,} environment steps for each policy. [Diverse
policies](../guide/diverse_policies.md) explains the constraint; here every policy has to differ by
{BOUND["novelty_threshold"]} from all before it, from step {BOUND["novelty_grace_steps"]} on.

{header}
|---|---|---|---|---|---|
{chr(10).join(rows)}

- Means over seeds of sets of final policies, played without exploration; shares are relative to the known front.
- Inner points: non-dominated points of a set that are more than {NEAR} away from both ends of the arc. Largest gap:
  between neighbours on the front, as a share of the arc.
- Novelty: the mean distance of a policy's actions from those of the nearest other policy of its set, in the states that
  it visits itself.
"""


def main(arguments: Arguments) -> None:
    """Train what is missing, then print the table."""
    if arguments.quick:
        arguments = Arguments(seeds=[0], policies=2, steps=1_000, folder=Path("runs/diverse-policies-quick"))
    results: dict[str, list[PolicySet]] = {method: [] for method in METHODS}
    for seed in arguments.seeds:
        for method, sets in results.items():
            found = finished_set(method, seed, arguments)
            if found is not None:
                sets.append(found)
                share = share_of_hypervolume(np.array(found["points"]))
                print(f"{method}, seed {seed}: {share:.3f} of the hypervolume", flush=True)
    text = page(results, arguments)
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(text)
        arguments.write.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
