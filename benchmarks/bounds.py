"""C-MORL under bounds whose best policy is known: how near do fronts come, and do they keep the bound afterwards?

    python benchmarks/bounds.py                                  five seeds of all tasks, default settings
    python benchmarks/bounds.py --tasks cart docking --seeds 0 1
    python benchmarks/bounds.py --write docs/results/bounds.md   the page, from finished runs and new ones

Each run is asked for a policy for every preference of a lattice over the objectives without a bound. These policies act
in 10,000 fresh episodes. All numbers are shares of the size of the bound, in per cent, but the last:

- distance: how far the bounded return stays within the bound; mean over preferences, of the best bound where there are
  several (a best policy touches each of them, or has no reason to).
- violation: by how much it breaks the bound; the worst of all preferences and seeds.
- noise: the standard error of the run's own measurement of the bounded return, of a policy of the front.
- regret: what utility is missing to the best policy that keeps the bounds, as a share of the range of each objective on
  the known front; mean over preferences.
"""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import tyro
from _page import origin_of_runs
from numpy.typing import NDArray
from scipy.optimize import linprog

import morl
from morl.envs import register, specs
from morl.envs.backends.single import single_form
from morl.envs.families.lab import linear_quadratic as lq
from morl.envs.families.lab.convex_front import convex_front
from morl.experiment.run import Run
from morl.preferences import finest_lattice
from morl.version import VERSION

Points = NDArray[np.float64]
MEASURED = "bounds.json"
"""In the run folder: what the finished run reached."""
FRESH_SEED = 54_321
PREFERENCES = 7
"""At most so many preferences are asked for."""

# The cart of lab/linear-quadratic-2-v0, but to be moved by 1 m, from nearly the same start: little is left to chance.
MOVED_CART = lq.CART._replace(
    outputs=np.array([[[1.0, 0.0, -1.0]], [[0.0, 0.0, 0.0]]]),
    start=np.array([0.05, 0.01]),
)


class MovedCartKernel(lq._LinearQuadraticKernel):
    """The batch form of bounds/cart-v0."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        super().__init__(num_envs, MOVED_CART, max_episode_steps)


def cart_front(discount: float, **_: object) -> Points:
    """Return the exact returns [accuracy, effort] that are best for one of 201 preferences."""
    return convex_front(lambda weights: lq.best_controllers(MOVED_CART, discount, weights).returns, 2, divisions=200)


register(
    "bounds/cart-v0",
    single_form(MovedCartKernel),
    objectives=("accuracy", "effort"),
    reference_point=(-25.0, -6.0),
    discount=1.0,
    known_front=cart_front,
    vector_entry_point=MovedCartKernel,
)


class Task(NamedTuple):
    """A task with bounds."""

    env_id: str
    bounds: dict[str, float]
    """Objective -> smallest discounted return."""
    convex: bool = True
    """Whether the best returns under bounds are mixtures of the known front's."""
    description: str = ""
    """What is done there; empty for environments that have a page."""


TASKS = {
    "cart": Task(
        "bounds/cart-v0",
        {"effort": -1.0},
        description=(
            "`bounds/cart-v0`, which the script registers, is the cart of `lab/linear-quadratic-2-v0`, moved by 1 m"
            " from nearly the same start: accuracy against effort."
        ),
    ),
    "linear-quadratic-2": Task("lab/linear-quadratic-2-v0", {"effort": -0.15}),
    "linear-quadratic-4": Task("lab/linear-quadratic-4-v0", {"effort": -1.0}),
    "docking": Task("lab/docking-v0", {"fuel": -1.2, "contact": -100.0}),
    "concave-arc": Task("lab/concave-arc-v0", {"north": 0.3}, convex=False),
}


@dataclass(frozen=True)
class Arguments:
    """Which runs to make."""

    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    solver: str = "ipo"
    """C-MORL's solver of extension."""
    steps: int = 100_000
    seeds: list[int] = field(default_factory=lambda: list(range(5)))
    folder: Path = Path("runs/bounds")
    """Where run folders are kept; finished runs are not repeated."""
    episodes: int = 10_000
    """Fresh episodes of each policy."""
    write: Path | None = None
    """Write the page to this file."""
    quick: bool = False
    """One seed of one task, 2,000 steps: does it run?"""


def best_within(task: Task, known: Points, weights: Points) -> float:
    """Return the largest utility of returns that keep the bounds.

    Args:
        task: with its bounds.
        known: [point, objective] the known front.
        weights: [objective]; 0 where there is a bound.
    """
    names = specs[task.env_id].objectives
    columns = [names.index(name) for name in task.bounds]
    limits = np.array(list(task.bounds.values()))
    if not task.convex:
        return float((known @ weights)[(known[:, columns] >= limits).all(axis=1)].max())
    ones = np.ones((1, len(known)))
    solution = linprog(-(known @ weights), A_ub=-known[:, columns].T, b_ub=-limits, A_eq=ones, b_eq=[1.0])
    return float(-solution.fun)


def train(name: str, seed: int, arguments: Arguments) -> Path:
    """Train and measure a run, unless it is finished; return its folder."""
    task = TASKS[name]
    run_dir = arguments.folder / f"{arguments.solver}-{name}-{arguments.steps}" / f"seed-{seed}"
    if (run_dir / MEASURED).is_file():
        return run_dir
    constraints = {objective: f">= {bound}" for objective, bound in task.bounds.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = morl.train(
            "c-morl",
            task.env_id,
            seed=seed,
            total_steps=arguments.steps,
            run_dir=run_dir,
            overwrite=True,
            config={"constraints": constraints, "solver": arguments.solver},
        )
    measured = measure(run, task, arguments.episodes)
    counts = json.loads((run_dir / "front.json").read_text())
    measured["evaluation"] = counts["evaluation_steps"] / counts["training_steps"]
    (run_dir / MEASURED).write_text(json.dumps(measured))
    return run_dir


def measure(run: Run, task: Task, episodes: int) -> dict[str, float]:
    """Return distance, violation, noise and regret of a finished run, in per cent."""
    entry = specs[task.env_id]
    assert entry.known_front is not None
    known = entry.known_front(entry.discount)
    ranges = np.ptp(known, axis=0)
    free = [column for column, name in enumerate(entry.objectives) if name not in task.bounds]
    sizes = np.abs(np.array(list(task.bounds.values())))
    limits = np.array(list(task.bounds.values()))
    bounded = [entry.objectives.index(name) for name in task.bounds]
    distances = []
    violations = []
    regrets = []
    for preference in finest_lattice(len(free), PREFERENCES):
        weights = np.zeros(len(ranges))
        weights[free] = preference / ranges[free]
        policy = run.policy(weights.tolist(), normalized=False)
        earned = morl.evaluate(policy, task.env_id, episodes=episodes, seed=FRESH_SEED).discounted[0]
        slacks = (earned[bounded] - limits) / sizes
        distances.append(max(float(slacks.min()), 0.0))
        violations.append(max(float(-slacks.min()), 0.0))
        regrets.append(best_within(task, known, weights) - float(earned @ weights))
    errors = np.nan_to_num(run.front.standard_errors[:, bounded]) / sizes
    shares = {
        "distance": mean(distances),
        "violation": max(violations),
        "noise": float(errors.max(axis=1).min()),
        "regret": mean(regrets),
    }
    return {name: 100.0 * share for name, share in shares.items()}


def row(name: str, measured: list[dict[str, float]]) -> str:
    """Return the row of a task."""
    columns = {key: [one[key] for one in measured] for key in measured[0]}
    bounds = ", ".join(f"{objective} >= {bound:g}" for objective, bound in TASKS[name].bounds.items())
    cells = [
        f"`{TASKS[name].env_id}`",
        bounds,
        f"{mean(columns['distance']):.1f} ({max(columns['distance']):.1f})",
        f"{max(columns['violation']):.1f}",
        f"{mean(columns['noise']):.1f}",
        f"{mean(columns['regret']):.1f}",
        f"{mean(columns['evaluation']):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def page(arguments: Arguments, rows: list[str], folders: list[Path]) -> str:
    """Return the page of results.

    Args:
        arguments: which runs they are of.
        rows: of the table, one for each task.
        folders: the run folders.
    """
    descriptions = [TASKS[name].description for name in arguments.tasks if TASKS[name].description]
    lines = [
        "# Fronts at bounds",
        "",
        f"`benchmarks/bounds.py` makes this page: C-MORL with default settings and `{arguments.solver}`,"
        f" {arguments.steps:,} steps, {len(arguments.seeds)} seeds, morl {VERSION}. Policies were asked for by"
        f" preference and measured in {arguments.episodes:,} fresh episodes. All but the last column are per cent:"
        " distance kept from the bound (mean; worst seed), violation of the bound (worst seed) and the run's own"
        " standard error, as shares of the bound; regret to the best policy within the bounds, as a share of the range"
        " of the known front. The last column is evaluation steps for each training step."
        " [The lab](../environments/lab.md) describes the environments `lab/...`.",
        "",
        *(f"{text}\n" for text in descriptions),
        origin_of_runs(folders),
        "",
        "| task | bounds | distance | violation | noise | regret | evaluation |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Arguments) -> None:
    """Train what is missing, and print the page."""
    if arguments.quick:
        arguments = Arguments(tasks=["cart"], steps=2_000, seeds=[0], folder=Path("runs/bounds-quick"), episodes=10)
    rows = []
    all_folders: list[Path] = []
    for name in arguments.tasks:
        folders = [train(name, seed, arguments) for seed in arguments.seeds]
        all_folders += folders
        measured = [json.loads((folder / MEASURED).read_text()) for folder in folders]
        rows.append(row(name, measured))
        print(rows[-1], flush=True)
        for one in measured:
            print({key: round(value, 2) for key, value in one.items()}, flush=True)
    text = page(arguments, rows, all_folders)
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
