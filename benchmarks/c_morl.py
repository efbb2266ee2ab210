"""Policy-steps per second of C-MORL's population beside Stable-Baselines3's PPO, in one process, as a ratio.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/c_morl.py    about two minutes on two free cores
    python benchmarks/c_morl.py --quick                                      a minute
    python benchmarks/c_morl.py --growth                                     tables over policies, objectives, envs

A policy-step is one environment step of one policy, with all that it costs to act, to remember and to learn from it:
both sides have two networks of 64 x 64 tanh units, 8 environments x 512 steps between updates, 10 epochs of 32
minibatches of 128, Adam, gradient and value clipping. M runs of Stable-Baselines3 one after the other make as many
policy-steps per second as one of them; its torch uses one thread, and two where there are two cores, and its better
figure counts.
Chunks of whole updates alternate between all systems. Evaluation is a system of its own. Physics alone is the floor:
the batch's own stepping call, without actions, observations or rewards. The time of the whole Hopper-2d run is computed
from what was measured: 8.0M steps of initialization, 4.0M of extension, and the 4.0M of evaluation that it counts.
"""

import argparse
import os
import platform
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Any

import gymnasium
import mo_gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.config import Config
from morl.envs import make_vec
from morl.envs.core.registry import problem
from morl.experiment.components import build_evaluator
from morl.learning.processor import prepared_processor

HOPPER = "cmorl-hopper-2d-v0"
ENVS = 8
STEPS = 512
EPOCHS = 10
MINIBATCHES = 32
SAMPLES = ENVS * STEPS

Advance = Callable[[], tuple[int, float, float]]  # policy-steps, seconds of the clock and of the processor


def timed(work: Callable[[], int]) -> tuple[int, float, float]:
    wall = perf_counter()
    processor = process_time()
    steps = work()
    return steps, perf_counter() - wall, process_time() - processor


def ours(policies: int, env: str = HOPPER, envs_per_policy: int = ENVS, solver: str | None = None) -> Advance:
    """Return one update of a population after the other: initialization, or extension by `solver`."""
    stated = problem(env)
    sizes: dict[str, Any] = {"samples_per_update": SAMPLES, "epochs": EPOCHS, "minibatches": MINIBATCHES}
    sizes |= {"snapshot_updates": 10**9, "extension_snapshot_updates": 10**9, "snapshot_episodes": 1}
    extension = {"selected": policies, "initial_divisions": 1, "extension_updates": 10**6, "solver": solver}
    initial = {"initial_divisions": policies - 1, "initial_steps": 10**9}
    changes = initial if solver is None else extension | {"initial_steps": stated.num_objectives * SAMPLES}
    tasks = policies if solver is None else policies * stated.num_objectives
    agent = CMORL(stated, Config(**sizes | changes), 0, tasks * envs_per_policy, torch.device("cpu"))
    envs = make_vec(env, tasks * envs_per_policy)
    random = np.random.default_rng(0)
    learning = agent.learn(envs, 10**12, lambda preferences, *_: 100.0 + random.random(preferences.shape))
    while solver is not None and agent.round == 0:
        next(learning)

    def work() -> int:
        before = agent.steps
        target = agent.updates + EPOCHS * MINIBATCHES
        while agent.updates < target:
            next(learning)
        return agent.steps - before

    return partial(timed, work)


def stable_baselines(threads: int) -> Advance:
    """Return one update of Stable-Baselines3's PPO after the other, on the mean of both objectives."""

    def build() -> gymnasium.Env[Any, Any]:
        return mo_gymnasium.wrappers.LinearReward(gymnasium.make(HOPPER), np.array([0.5, 0.5]))

    sizes = {"n_steps": STEPS, "batch_size": SAMPLES // MINIBATCHES, "n_epochs": EPOCHS}
    network = {"net_arch": [64, 64], "activation_fn": torch.nn.Tanh}
    model = PPO("MlpPolicy", DummyVecEnv([build] * ENVS), policy_kwargs=network, device="cpu", **sizes)
    model.learn(SAMPLES)

    def work() -> int:
        torch.set_num_threads(threads)
        model.learn(SAMPLES, reset_num_timesteps=False)
        torch.set_num_threads(1)
        return SAMPLES

    return partial(timed, work)


def physics(num_envs: int) -> Advance:
    """Returns physics alone, for as many environment steps as an update has."""
    envs = make_vec(HOPPER, num_envs)
    envs.reset(seed=0)
    batch = envs.batch
    skip = envs.template.frame_skip  # type: ignore[attr-defined]

    def work() -> int:
        for _ in range(STEPS):
            batch.step(nstep=skip)
        return STEPS * num_envs

    return partial(timed, work)


def evaluation() -> Advance:
    """Return one evaluation of 10 snapshots after the other, 5 episodes each, as extension asks for them."""
    stated = problem(HOPPER)
    agent = CMORL(stated, Config(initial_divisions=9), 0, 60, torch.device("cpu"))
    evaluator = build_evaluator(HOPPER, {}, stated.discount)
    policies, preferences = agent.policies(np.zeros((0, 2)))

    def work() -> int:
        before = evaluator.steps
        while evaluator.steps - before < SAMPLES:  # untrained policies soon fall
            evaluator(agent.act, policies, preferences, 5, 0)
        return evaluator.steps - before

    return partial(timed, work)


def measure(systems: dict[str, Advance], rounds: int) -> dict[str, tuple[float, float]]:
    """Returns microseconds per policy-step, of the clock and of the processor: medians over alternating rounds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for advance in systems.values():
        advance()  # compiles, fills caches
    for _ in range(rounds):
        for name, advance in systems.items():
            steps, wall, processor = advance()
            found[name].append((1e6 * wall / steps, 1e6 * processor / steps))
    return {name: (median(w for w, _ in pairs), median(p for _, p in pairs)) for name, pairs in found.items()}


def show(rows: dict[str, tuple[float, float]], base: str) -> None:
    print(
        "| system | policy-steps/s | us per policy-step (clock) | us (processor) | ratio (clock) | ratio (processor) |"
    )
    print("|---|---|---|---|---|---|")
    for name, (wall, processor) in rows.items():
        ratios = f"{rows[base][0] / wall:.1f} | {rows[base][1] / processor:.1f}"
        print(f"| {name} | {1e6 / wall:,.0f} | {wall:.1f} | {processor:.1f} | {ratios} |")


@prepared_processor()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rounds = 2 if arguments.quick else 7
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    if arguments.growth:
        sizes = (1, 2, 4, 6, 10) if arguments.quick else (1, 2, 4, 6, 10, 20, 50)
        policies = {f"M = {count}": ours(count) for count in sizes if count > 1}
        show(measure(policies, rounds), "M = 2")
        objectives = {"m = 2": ours(6), "m = 3": ours(6 - 3, "cmorl-hopper-3d-v0")}
        show(measure(objectives, rounds), "m = 2")
        environments = {f"{count} environments": ours(6, envs_per_policy=count) for count in (4, 8, 16, 32)}
        show(measure(environments, rounds), "8 environments")
        return
    threads = (1,) if arguments.quick else tuple(range(1, min(2, os.cpu_count() or 1) + 1))
    systems = {f"Stable-Baselines3 PPO, {count} threads": stable_baselines(count) for count in threads}
    systems["C-MORL, initialization, M = 6"] = ours(6)
    for solver in ("ipo",) if arguments.quick else ("ipo", "cpo", "lagrangian", "reference-code"):
        systems[f"C-MORL, extension by {solver}, 10 tasks"] = ours(5, solver=solver)
    systems["evaluation, 10 snapshots x 5 episodes"] = evaluation()
    systems["physics alone, 48 environments"] = physics(48)
    rows = measure(systems, rounds)
    peers = [name for name in rows if name.startswith("Stable")]
    show(rows, min(peers, key=lambda name: rows[name][0]))
    parts = {"C-MORL, initialization, M = 6": 8.0, "C-MORL, extension by ipo, 10 tasks": 4.0}
    parts["evaluation, 10 snapshots x 5 episodes"] = 4.0
    print(f"\nwhole Hopper-2d run, computed: {sum(steps * rows[name][0] for name, steps in parts.items()):,.0f} s")


if __name__ == "__main__":
    main()
