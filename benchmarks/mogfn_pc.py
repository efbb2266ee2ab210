"""What MOGFN-PC's samples cover of a front that is known: the metrics of the papers, over the runs of a study.

    python benchmarks/mogfn_pc.py               the finished runs of configs/studies/mogfn-pc.toml, one row each variant
    python benchmarks/mogfn_pc.py --quick       a short run of its own: does it work?

From the last network of each run, `samples` episodes are drawn for each of `preferences` random preferences
(Dirichlet(1.5), the same for all) and each exponent, by sampling actions, not by the most likely ones. Of the objects:
hypervolume from the origin, IGD+ to the exact front, R2 to the ideal point (1, ..., 1), share of the exact front found,
share of the samples that lie on it, mean utility, and diversity: the mean distance, in cells, between the `top` best
different objects of a preference, mean over preferences. "uniform" takes random allowed actions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from _runs import is_finished
from numpy.typing import NDArray

import morl
from morl.acting import PolicyBank
from morl.envs import make_vec, problem
from morl.experiment import checkpoint
from morl.experiment.run import Run
from morl.experiment.units import RewardUnits
from morl.pareto import convex_coverage_set, hypervolume, igd_plus, mean_distance, r2, share_found
from morl.policy_files import PolicyData
from morl.preferences import dirichlet, simplex_lattice

Points = NDArray[np.float64]


class Samples(NamedTuple):
    """What was sampled, preference by preference."""

    preferences: Points  # [preference, objective]
    returns: Points  # [preference, sample, objective]
    objects: Points  # [preference, sample, axis] the last cells


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    study: Path = Path("studies/mogfn-pc")
    """Folder of the study's runs."""
    env: str = "hyper-grid-v0"
    """Environment with a known front."""
    preferences: int = 32
    """Random preferences."""
    samples: int = 128
    """Objects for each preference."""
    top: int = 10
    """The best different objects of a preference, whose diversity is measured."""
    exponents: tuple[float, ...] = (16.0, 64.0, 512.0)
    """Reward exponents to sample with, where they were learned."""
    quick: bool = False
    """One short run, few samples."""


def play(env: str, count: int, choose: Callable[[Any, Any], NDArray[np.int64]]) -> tuple[Points, Points]:
    """Return the returns [env, objective] and last observations [env, axis] of one episode in each environment.

    Args:
        env: its id.
        count: number of environments.
        choose: observations and masks -> actions [env].
    """
    envs = make_vec(env, count)
    observations, infos = envs.reset(seed=0)
    returns = np.zeros((count, problem(env).num_objectives))
    objects = np.zeros((count, observations.shape[1]))
    running = np.ones(count, dtype=np.bool_)
    while running.any():
        objects[running] = observations[running]
        actions = choose(observations, infos["action_mask"])
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        returns[running] += rewards[running]
        running &= ~(terminated | truncated)
    envs.close()
    return returns, objects


def networks(run: Run, exponents: tuple[float, ...]) -> dict[str, PolicyData]:
    """Return the policies of the newest checkpoint of a run, for each reward exponent that was learned.

    Args:
        run: of MOGFN-PC, from rewards in the environment's units.
        exponents: reward exponents to act with; the order-preserving loss has none.
    """
    newest = checkpoint.newest(run.directory)
    assert newest is not None
    agent = run.experiment.build_agent(RewardUnits.none(len(run.front.objectives)))
    agent.load_state_dict(checkpoint.load(newest, {})["agent"])
    learned = agent.config
    if learned.loss == "order-preserving":
        return {"": agent.export_policies()[0]}
    found = {}
    for exponent in exponents:
        if exponent <= learned.largest_exponent:
            agent.config = replace(learned, acting_exponent=exponent)
            found[f", exponent {exponent:g}"] = agent.export_policies()[0]
    return found


def sample(data: PolicyData, arguments: Arguments) -> Samples:
    """Return objects that a policy samples for each preference."""
    objectives = len(data.spec.objectives)
    preferences = dirichlet(objectives, arguments.preferences, 0, 1.5)
    rows = np.repeat(preferences, arguments.samples, axis=0)
    bank = PolicyBank(data.spec, torch.device("cpu"))
    bank.add(0, data)
    random = torch.Generator().manual_seed(0)
    ids = np.zeros(len(rows), dtype=np.int64)

    def choose(observations: Any, masks: Any) -> NDArray[np.int64]:
        return np.asarray(bank.act(observations, rows, ids, masks=masks == 1, generator=random))

    returns, objects = play(arguments.env, len(rows), choose)
    shape = (arguments.preferences, arguments.samples, -1)
    return Samples(preferences, returns.reshape(shape), objects.reshape(shape))


def uniform(arguments: Arguments, seed: int) -> Samples:
    """Return objects of random allowed actions."""
    stated = problem(arguments.env)
    random = np.random.default_rng(seed)
    preferences = dirichlet(stated.num_objectives, arguments.preferences, 0, 1.5)
    count = arguments.preferences * arguments.samples

    def choose(observations: Any, masks: Any) -> NDArray[np.int64]:  # noqa: ARG001
        return np.argmax(random.random(masks.shape) * masks, axis=1)

    returns, objects = play(arguments.env, count, choose)
    shape = (arguments.preferences, arguments.samples, -1)
    return Samples(preferences, returns.reshape(shape), objects.reshape(shape))


def measure(found: Samples, front: Points, top: int) -> dict[str, float]:
    """Return the metrics of samples.

    Args:
        found: the samples.
        front: [n, objective] the exact front.
        top: number of best objects of a preference.
    """
    points = found.returns.reshape(-1, front.shape[1])
    objectives = front.shape[1]
    lattice = simplex_lattice(objectives, 100 if objectives == 2 else 12)
    on_front = (np.abs(points[:, None] - front[None]) <= 1e-6).all(axis=2).any(axis=1)
    utilities = np.einsum("pso,po->ps", found.returns, found.preferences)
    diversity = [
        mean_distance(best_different(objects, values, top))
        for objects, values in zip(found.objects, utilities, strict=True)
    ]
    return {
        "hypervolume": hypervolume(points, np.zeros(objectives)),
        "IGD+": igd_plus(points, front),
        "R2": r2(points, np.ones(objectives), lattice),
        "front found": share_found(points, front),
        "samples on the front": float(on_front.mean()),
        "utility": float(utilities.mean()),
        "diversity": float(np.mean(diversity)),
    }


def best_different(objects: Points, utilities: Points, count: int) -> Points:
    """Return the best different objects [n, axis] of a preference.

    Args:
        objects: [sample, axis].
        utilities: [sample].
        count: at most so many.
    """
    different, first = np.unique(objects, axis=0, return_index=True)
    chosen: Points = different[np.argsort(-utilities[first], kind="stable")[:count]]
    return chosen


def finished(study: Path, variant: str, env: str) -> list[Run]:
    """Return the runs of a variant that have a front after all steps."""
    folders = sorted((study / variant / env).glob("seed-*"))
    return [morl.load(folder) for folder in folders if is_finished(folder)]


def row(name: str, measured: list[dict[str, float]]) -> str:
    """Return a row of the table: means and standard deviations over runs."""
    cells = []
    for metric in measured[0]:
        values = [each[metric] for each in measured]
        spread = f" +- {stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{mean(values):.4f}{spread}")
    return f"| {name} | {len(measured)} | " + " | ".join(cells) + " |"


def main(arguments: Arguments) -> None:
    """Print the table."""
    known = problem(arguments.env).known_front
    assert known is not None
    front = known(1.0)
    if arguments.quick:
        arguments = Arguments(study=Path("runs/mogfn-quick"), preferences=4, samples=16, top=4, quick=True)
        run_dir = arguments.study / "short" / arguments.env / "seed-0"
        morl.train("mogfn-pc", arguments.env, total_steps=20_000, run_dir=run_dir, overwrite=True)
    volume = hypervolume(front, np.zeros(front.shape[1]))
    best = (dirichlet(front.shape[1], arguments.preferences, 0, 1.5) @ front.T).max(axis=1).mean()
    total = arguments.preferences * arguments.samples
    convex = hypervolume(front[convex_coverage_set(front)], np.zeros(front.shape[1])) / volume
    print(f"{arguments.env}: {len(front)} points, hypervolume {volume:.4f}, utility at most {best:.4f}.")
    print(f"Its convex part has {convex:.4f} of the hypervolume.")
    print(f"{total:,} samples of each network.\n")
    rows = {"uniform": [measure(uniform(arguments, seed), front, arguments.top) for seed in range(5)]}
    variants = sorted(path.name for path in arguments.study.iterdir() if path.is_dir())
    for variant in variants:
        for run in finished(arguments.study, variant, arguments.env):
            for suffix, data in networks(run, arguments.exponents).items():
                measured = measure(sample(data, arguments), front, arguments.top)
                rows.setdefault(variant + suffix, []).append(measured)
    titles = list(rows["uniform"][0])
    print("| samples of | runs | " + " | ".join(titles) + " |\n|---" + "|---" * (len(titles) + 1) + "|")
    for name, measured in rows.items():
        print(row(name, measured))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
