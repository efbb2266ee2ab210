"""Every agent on every task of the lab, with no settings but the number of steps: does it work on a stranger's task?

    python benchmarks/lab.py                                    all agents, tasks and budgets, five seeds: many hours
    python benchmarks/lab.py --agents pd-morl --tasks dam docking --steps 20000 --seeds 0 1
    python benchmarks/lab.py --agents morl-d@tchebycheff --write docs/results/lab.md
    python benchmarks/lab.py --table                            what is finished, without training

Each cell holds, over the seeds: the hypervolume that the members of the front reach on fresh episodes, as a share of
that of the known front, from the same reference point (mean; in brackets the worst seed, and the hypervolume that the
runs report where it differs by more than a hundredth); then two regrets, of what `run.policy(preference)` and
`run.policy(preference, conditioned=True)` earn on fresh episodes. A regret is what is missing to the best of the known
front, in linear utility, as a share of the range of each objective on that front, mean over an even lattice of
preferences. An agent that refuses a task has its sentence in the cell.

Run folders are kept in --folder: finished runs are not repeated, so that the script can be stopped and started again.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Literal, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray

import morl
from morl.acting import Policy
from morl.envs import specs
from morl.experiment.run import Run
from morl.pareto import hypervolume
from morl.preferences import finest_lattice
from morl.version import VERSION

Points = NDArray[np.float64]
LAB = "lab/"
TASKS = [name.removeprefix(LAB).removesuffix("-v0") for name in specs if name.startswith(LAB)]
MEASURED = "lab.json"
"""In the run folder: what the finished run reached."""
REFUSAL = "refusal.txt"
"""Beside the run folders: why the agent does not finish them; empty where it does."""
PREFERENCES = 30
"""At most so many preferences are asked for."""
FRESH_SEED = 12_345
"""Of the episodes on which policies are measured."""
WITHOUT_CHANCE = ("knapsack", "scheduling", "concave-arc", "concave-arc-discrete")
"""One episode of a policy says all on these tasks."""
Kind = Literal["selected", "conditioned"]


class Job(NamedTuple):
    """The runs of one cell."""

    agent: str
    """Name, or name@preset."""
    task: str
    steps: int
    seeds: tuple[int, ...]
    folder: Path
    episodes: int
    """Fresh episodes of each policy."""

    @property
    def env_id(self) -> str:
        """Return the environment's id."""
        return f"{LAB}{self.task}-v0"

    @property
    def place(self) -> Path:
        """Return the folder of the run folders."""
        return self.folder / self.agent.replace(":", ".") / self.task / str(self.steps)

    @property
    def run_dirs(self) -> dict[int, Path]:
        """Return the run folder of each seed."""
        return {seed: self.place / f"seed-{seed}" for seed in self.seeds}


@dataclass(frozen=True)
class Arguments:
    """Which runs to make."""

    agents: list[str] = field(default_factory=lambda: ["pd-morl", "c-morl", "morl-d"])
    """Names of agents, or name@preset."""
    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    """Tasks, without "lab/" and "-v0"."""
    steps: list[int] = field(default_factory=lambda: [20_000, 60_000, 200_000])
    seeds: list[int] = field(default_factory=lambda: list(range(5)))
    folder: Path = Path("runs/lab")
    """Where run folders are kept."""
    episodes: int = 300
    """Fresh episodes of each policy that is measured, on tasks with chance."""
    processes: int = 1
    """Cells that are trained at once."""
    write: Path | None = None
    """Write the page to this file too."""
    table: bool = False
    """Train nothing; show what is finished."""
    quick: bool = False
    """One seed of two tasks, 1,000 steps: does it run?"""


def fill(job: Job) -> None:
    """Train and measure the seeds of a cell that are not finished; write down why, where the agent does not."""
    refusal = train(job)
    job.place.mkdir(parents=True, exist_ok=True)
    (job.place / REFUSAL).write_text("" if refusal is None else refusal)


def train(job: Job) -> str | None:
    """Train and measure the seeds of a cell that are not finished; return why the agent does not, if so.

    Raises:
        SystemExit: somebody stopped the run.
    """
    name, _, preset = job.agent.partition("@")
    options = {"config": {"preset": preset}} if preset else {}
    missing = [seed for seed, run_dir in job.run_dirs.items() if not is_finished(run_dir, job.steps)]
    try:
        if missing:
            morl.train_seeds(
                name, job.env_id, missing, run_dir=job.place, overwrite=True, total_steps=job.steps, **options
            )
        for run_dir in job.run_dirs.values():
            if not is_finished(run_dir, job.steps):
                raise SystemExit(f"{run_dir} was interrupted")
            if not (run_dir / MEASURED).is_file():
                (run_dir / MEASURED).write_text(json.dumps(measure(morl.load(run_dir), job.episodes)))
    except ValueError as error:
        return str(error)
    except Exception as error:  # the other cells are worth training all the same
        return f"{type(error).__name__}: {error}"
    return None


def is_finished(run_dir: Path, steps: int) -> bool:
    """Return whether a run folder holds a front after all steps."""
    front = run_dir / "front.json"
    return front.is_file() and json.loads(front.read_text())["training_steps"] >= steps


def measure(run: Run, episodes: int) -> dict[str, float | None]:
    """Return what a finished run reached: shares of the known front's hypervolume and range."""
    entry = specs[run.env_id]
    assert entry.known_front is not None
    known = entry.known_front(entry.discount)
    reference = np.array(entry.reference_point)
    best = hypervolume(known, reference)
    fresh = run.evaluate(episodes=episodes, seed=FRESH_SEED).discounted
    return {
        "hypervolume": hypervolume(fresh, reference) / best,
        "reported": hypervolume(run.front.points, reference) / best,
        "selected": regret(run, known, "selected", episodes),
        "conditioned": regret(run, known, "conditioned", episodes),
        "points": len(run.front.points),
    }


def regret(run: Run, known: Points, kind: Kind, episodes: int) -> float | None:
    """Return the mean regret of the policies that a run has for an even lattice of preferences; None: it has none.

    Args:
        run: a finished run.
        known: the known front [point, objective].
        kind: "selected": the best member of the front; "conditioned": the network under exactly the preference.
        episodes: fresh episodes of each policy.
    """
    ranges = np.ptp(known, axis=0)
    losses = []
    earned: dict[tuple[int, bytes], Points] = {}
    for weights in finest_lattice(known.shape[1], PREFERENCES) / ranges:
        policy = run.policy(weights.tolist(), normalized=False)  # the weights hold the ranges
        if kind == "conditioned":
            if not policy.data.spec.conditioned:
                return None  # a population takes no preference
            policy = run.policy(weights.tolist(), conditioned=True, normalized=False)
        key = (policy.policy_id, policy.conditioning.tobytes())
        if key not in earned:
            earned[key] = earnings(policy, run.env_id, episodes)
        losses.append(float((known @ weights).max() - earned[key] @ weights))
    return mean(losses)


def earnings(policy: Policy, env_id: str, episodes: int) -> Points:
    """Return the mean discounted return [objective] of a policy over fresh episodes."""
    returns: Points = morl.evaluate(policy, env_id, episodes=episodes, seed=FRESH_SEED).discounted[0]
    return returns


def cell(job: Job) -> str:
    """Return a cell of the table: hypervolume (worst seed; reported), regrets selected and conditioned; in per cent."""
    refusal = (job.place / REFUSAL).read_text() if (job.place / REFUSAL).is_file() else ""
    finished = [run_dir / MEASURED for run_dir in job.run_dirs.values() if (run_dir / MEASURED).is_file()]
    if not finished:
        return refusal.replace("|", "/").replace("\n", " ") if refusal else "-"
    measured = [json.loads(file.read_text()) for file in finished]
    volumes = [100.0 * one["hypervolume"] for one in measured]
    regrets = []
    for kind in ("selected", "conditioned"):
        known = [100.0 * one[kind] for one in measured if one[kind] is not None]
        regrets.append(f"{round(mean(known), 1) + 0.0:.1f}" if known else "-")  # + 0.0: no "-0.0"
    notes = [f"{min(volumes):.1f}"]
    reported = 100.0 * mean(one["reported"] for one in measured)
    if abs(reported - mean(volumes)) > 1.0:
        notes.append(f"reported {reported:.1f}")
    if len(finished) < len(job.seeds):
        notes.append(f"{len(finished)} of {len(job.seeds)} seeds")
    if refusal:
        notes.append(refusal)
    return f"{mean(volumes):.1f} ({'; '.join(notes)}) / {regrets[0]} / {regrets[1]}"


def page(arguments: Arguments, cells: dict[tuple[str, str, int], str]) -> str:
    """Return the page with one table for each agent."""
    lines = [
        "# Agents on the lab's tasks",
        "",
        f"No settings but the number of steps; morl {VERSION}, {len(arguments.seeds)} seeds. Hypervolume on"
        " fresh episodes in per cent of the known front's: mean (worst seed; what the runs report, where it differs) /"
        " regret of `run.policy` / regret of the conditioned policy, in per cent of the range of each objective."
        " `benchmarks/lab.py` makes this page and says how each number is measured.",
    ]
    for agent in arguments.agents:
        titles = ["task", *(f"{steps:,} steps" for steps in arguments.steps)]
        lines += ["", f"## {agent}", "", f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
        for task in arguments.tasks:
            row = [task, *(cells.get((agent, task, steps), "-") for steps in arguments.steps)]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def episodes_on(task: str, episodes: int) -> int:
    """Return the number of fresh episodes of each policy on a task."""
    return 1 if task in WITHOUT_CHANCE else episodes


def filled(jobs: list[Job], processes: int) -> Iterator[Job]:
    """Yield each cell when it is trained and measured; several cells are trained at once."""
    if processes == 1:
        for job in jobs:
            fill(job)
            yield job
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for job, _ in zip(jobs, pool.map(fill, jobs), strict=True):
            yield job


def main(arguments: Arguments) -> None:
    """Train what is missing, print each cell when it is there, and the page at the end."""
    if arguments.quick:
        arguments = Arguments(
            agents=arguments.agents,
            tasks=["scheduling", "linear-quadratic-2"],
            steps=[1_000],
            seeds=[0],
            folder=Path("runs/lab-quick"),
            episodes=2,
        )
    unknown = sorted(set(arguments.tasks) - set(TASKS))
    if unknown:
        raise SystemExit(f"tasks has {', '.join(unknown)}, but must be out of {', '.join(TASKS)}")
    jobs = [
        Job(agent, task, steps, tuple(arguments.seeds), arguments.folder, episodes_on(task, arguments.episodes))
        for steps in sorted(arguments.steps)
        for task in arguments.tasks
        for agent in arguments.agents
    ]
    cells: dict[tuple[str, str, int], str] = {}
    for job in jobs if arguments.table else filled(jobs, arguments.processes):
        cells[job.agent, job.task, job.steps] = cell(job)
        print(f"{job.agent}, {job.task}, {job.steps:,}: {cells[job.agent, job.task, job.steps]}", flush=True)
    text = page(arguments, cells)
    print(text)
    if arguments.write is not None:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(text)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
