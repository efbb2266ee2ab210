"""PD-MORL where the front is a staircase in the action: does it find both ends?

    python benchmarks/staircase.py                                   all tasks, both searches, two seeds
    python benchmarks/staircase.py --tasks van --seeds 0
    python benchmarks/staircase.py --write docs/results/staircase.md

Rewards are constant in the action within a step, so that the gradient of the values is almost zero there, and the steps
of the ends are narrow. Each cell holds the expected utility of the front above the reference point, as a share of that
of the known front, and how many of the two ends are on the front.
"""

import itertools
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import tyro
from gymnasium.spaces import Box
from numpy.typing import NDArray

import morl
from morl.envs import register, specs
from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.single import single_form
from morl.envs.core.types import Array, EnvOption
from morl.experiment.run import Run
from morl.pareto import non_dominated
from morl.preferences import simplex_lattice
from morl.version import VERSION

Points = NDArray[np.float64]
SEARCHES = ("gradient", "secants")
STEPS = 10
DIAL_EDGES = np.array([-0.9, -0.2, 0.2, 0.9])
DIALS = {"dial": (0.0, 0.25, 0.5, 0.75, 1.0), "folded-dial": (0.25, 0.5, 0.75, 1.0, 0.0)}
"""Angles of the levels from left to right, in right angles; one end of the folded dial lies beside the other."""
ROAD = 12
FUEL = np.array([0.1, 0.5, 1.2])
VAN_EDGES = np.array([-0.8, 0.8])


class _Staircase(KernelVectorEnv):
    """A task whose reward depends on the step that the only action lies on.

    Args:
        num_envs: number of environments.
        edges: [step - 1] where a step ends.
        max_episode_steps: time limit.
    """

    def __init__(self, num_envs: int, edges: Array, max_episode_steps: int | None) -> None:
        super().__init__(
            num_envs,
            observation_space=Box(0.0, 2.0, (1,), np.float32),
            action_space=Box(-1.0, 1.0, (1,), np.float32),
            reward_space=Box(-2.0, 1.0, (2,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self.edges = edges
        self.arrays = {"progress": np.zeros(num_envs)}

    def _start(self, mask: Array, observations: Array) -> None:
        self.arrays["progress"][mask] = 0.0
        observations[mask] = 0.0

    def _levels(self, actions: Array) -> NDArray[np.int64]:
        """Return the step [env] that each action lies on."""
        return np.searchsorted(self.edges, actions[:, 0].astype(np.float64), side="right")


class DialKernel(_Staircase):
    """Ten times a level is chosen, which pays (sin, cos) of its angle."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, kind: str = "dial") -> None:
        super().__init__(num_envs, DIAL_EDGES, max_episode_steps)
        self.angles = np.pi / 2 * np.array(DIALS[kind])

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        angles = self.angles[self._levels(actions)]
        rewards[:, 0] = np.sin(angles)
        rewards[:, 1] = np.cos(angles)
        progress = self.arrays["progress"]
        progress += 1.0
        observations[:, 0] = progress / STEPS
        terminated[:] = progress == STEPS


class VanKernel(_Staircase):
    """A van drives 1, 2 or 3 cells a step to its goal, the faster, the thirstier; it pays time and fuel."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        super().__init__(num_envs, VAN_EDGES, max_episode_steps)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        gears = self._levels(actions)
        rewards[:, 0] = -1.0
        rewards[:, 1] = -FUEL[gears]
        progress = self.arrays["progress"]
        progress += gears + 1.0
        observations[:, 0] = progress / ROAD
        terminated[:] = progress >= ROAD


def dial_front(discount: float, **_: EnvOption) -> Points:
    """Return the returns of the five policies that keep to one level; no mixture is better for a linear preference."""
    angles = np.linspace(0.0, np.pi / 2, 5)
    factor = (discount ** np.arange(STEPS)).sum()
    returns: Points = factor * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return returns


def van_front(discount: float, **_: EnvOption) -> Points:
    """Return the non-dominated returns of the plans whose gears rise or fall all the way."""
    found = []
    for length in range(ROAD // 3, ROAD + 1):
        powers = discount ** np.arange(length)
        rising = list(itertools.combinations_with_replacement(range(3), length))
        plans = [*rising, *(gears[::-1] for gears in rising)]
        arriving = [gears for gears in plans if sum(gears[:-1]) + length - 1 < ROAD <= sum(gears) + length]
        found += [[-powers.sum(), -(powers * FUEL[list(gears)]).sum()] for gears in arriving]
    points = np.array(found)
    return points[non_dominated(points)]


for name in DIALS:
    register(
        f"staircase/{name}-v0",
        single_form(DialKernel),
        objectives=("east", "north"),
        reference_point=(-0.1, -0.1),
        known_front=dial_front,
        vector_entry_point=DialKernel,
        kwargs={"kind": name},
    )
register(
    "staircase/van-v0",
    single_form(VanKernel),
    objectives=("time", "fuel"),
    reference_point=(-15.0, -6.0),
    known_front=van_front,
    max_episode_steps=50,
    vector_entry_point=VanKernel,
)


@dataclass(frozen=True)
class Arguments:
    """Which runs to make."""

    tasks: list[str] = field(default_factory=lambda: ["van", *DIALS])
    steps: int = 6_000
    random_steps: int = 1_500
    """Environment steps of random exploration."""
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    folder: Path = Path("runs/staircase")
    """Where run folders are kept; finished runs are not repeated."""
    write: Path | None = None
    """Write the page to this file."""
    quick: bool = False
    """One seed of one task, 600 steps: does it run?"""


class Found(NamedTuple):
    """What a run found."""

    utility: float
    """Expected utility above the reference point, as a share of the known front's."""
    ends: int
    """Ends of the known front whose best return is reached to a hundredth of the range."""


def train(task: str, search: str, seed: int, arguments: Arguments) -> Run:
    """Return a finished run, trained if it is not there."""
    run_dir = arguments.folder / f"{task}-{search}-{arguments.steps}" / f"seed-{seed}"
    if (run_dir / "front.json").is_file():
        return morl.load(run_dir)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return morl.train(
            "pd-morl",
            f"staircase/{task}-v0",
            total_steps=arguments.steps,
            seed=seed,
            run_dir=run_dir,
            overwrite=True,
            evaluate_every=arguments.steps,
            evaluation_divisions=20,
            config={
                "actor_search": search,
                "random_exploration_steps": arguments.random_steps,
                "learning_starts": min(500, arguments.random_steps),
            },
        )


def measure(run: Run) -> Found:
    """Return how much of the known front a run found."""
    entry = specs[run.env_id]
    assert entry.known_front is not None
    known = entry.known_front(entry.discount)
    weights = simplex_lattice(2, 100)
    lowest = (weights @ np.array(entry.reference_point)).mean()
    best = (weights @ known.T).max(axis=1).mean() - lowest
    reached = (weights @ run.front.points.T).max(axis=1).mean() - lowest
    near = run.front.points.max(axis=0) > known.max(axis=0) - 0.01 * np.ptp(known, axis=0)
    return Found(float(reached / best), int(near.sum()))


def page(arguments: Arguments, rows: list[str]) -> str:
    """Return the page of results."""
    lines = [
        "# Fronts that are staircases in the action",
        "",
        f"`benchmarks/staircase.py` makes this page: PD-MORL with `actor_search` as in the columns, {arguments.steps:,}"
        f" steps of which {arguments.random_steps:,} are random, seeds {', '.join(map(str, arguments.seeds))}, morl"
        f" {VERSION}."
        " Expected utility of the front above the reference point, in per cent of the known front's, mean; in brackets"
        " the ends found with each seed, of 2. The steps of the ends are 10 % of the actions on the van and 5 % on the"
        " dials.",
        "",
        f"| task | {' | '.join(SEARCHES)} |",
        f"|---|{'---|' * len(SEARCHES)}",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Arguments) -> None:
    """Train what is missing, and print the page."""
    if arguments.quick:
        arguments = Arguments(
            tasks=["van"], steps=600, random_steps=200, seeds=[0], folder=Path("runs/staircase-quick")
        )
    rows = []
    for task in arguments.tasks:
        cells = []
        for search in SEARCHES:
            found = [measure(train(task, search, seed, arguments)) for seed in arguments.seeds]
            ends = ", ".join(str(one.ends) for one in found)
            cells.append(f"{100.0 * mean(one.utility for one in found):.1f} ({ends})")
            print(task, search, cells[-1], flush=True)
        rows.append(f"| {task} | {' | '.join(cells)} |")
    text = page(arguments, rows)
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
