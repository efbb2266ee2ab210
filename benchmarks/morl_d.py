"""Training steps per second of MORL/D beside morl-baselines' and Stable-Baselines3's SAC: one run, as ratios.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/morl_d.py     ten minutes on an idle machine
    python benchmarks/morl_d.py --quick                                       two minutes, small networks only
    python benchmarks/morl_d.py --widths 256 --rounds 3                       a part of it

Without the peer (the extra `bench`, best in an environment of its own) it is Stable-Baselines3 alone.

Six policies on mo-halfcheetah-v5 with the settings of morl-baselines' example: SAC, batch 128, one update of one policy
per environment step, policy updated every second time and then twice. A training step is one environment step, what it
costs to act and to remember, and one update. Ours is the whole agent, with shared replay; the peer is MOSAC, the inner
solver of its MORL/D, alone: what its exchanges cost (evaluation, copies of replay buffers) is not counted. Chunks of
steps alternate between all systems; building, filling the replay and first updates are not timed. Seconds of the clock
count what two cores give; steps per CPU-second are the same in a process that has only one.

Then: evaluation of six policies in one wide rollout beside the peer's evaluation, the SB3 solver beside SB3 itself, and
the memory of six policies with a full shared replay of a million transitions.
"""

import argparse
import platform
import resource
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Any

import gymnasium
import mo_gymnasium as mo_gym
import numpy as np
import torch
from _turns import Clock, System, ratio, take_turns, training
from stable_baselines3 import SAC as StableSAC

from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config
from morl.envs import make_vec
from morl.envs.core.registry import problem
from morl.experiment.components import build_evaluator
from morl.learning.processor import prepared_processor

try:
    from morl_baselines.common.evaluation import policy_evaluation_mo
    from morl_baselines.single_policy.ser.mosac_continuous_action import MOSAC
except ModuleNotFoundError:
    MOSAC = None

ENV = "mo-halfcheetah-v5"
POPULATION = 6
BATCH = 128
STARTS = 200
NEVER = 10**9


def agent_of(width: int, num_envs: int, **settings: object) -> MORLD:
    """Return our agent before its first update."""
    numbers: dict[str, Any] = {"population": POPULATION, "batch_size": BATCH, "hidden_sizes": (width, width)}
    numbers |= {"exchange_every": NEVER, "learning_starts": STARTS}
    return MORLD(problem(ENV), Config(**numbers | settings), seed=0, num_envs=num_envs, device=torch.device("cpu"))


def ours(width: int, num_envs: int, **settings: object) -> System:
    """Return our agent on its own vector environment, before its first update."""
    agent = agent_of(width, num_envs, replay="shared", random_exploration_steps=STARTS, **settings)
    loop = agent.learn(make_vec(ENV, num_envs), NEVER, lambda preferences, *_: np.zeros_like(preferences))
    while agent.steps < STARTS - num_envs:
        next(loop)
    agent.updates_due = 0.0
    agent.steps = STARTS
    said = "".join(f", {name} {value}" for name, value in settings.items())
    name = f"MORL/D, {POPULATION} policies, {num_envs} environments{said}"
    return System(name, f"2 x {width}", training(agent, loop, num_envs))


def peer(width: int) -> System:
    """Return morl-baselines' MOSAC, before its first update."""
    clock = Clock(mo_gym.make(ENV))
    agent = MOSAC(clock, np.array([0.5, 0.5]), net_arch=[width, width], learning_starts=STARTS, log=False, device="cpu")
    agent.train(STARTS)

    def advance(steps: int) -> tuple[float, float]:
        clock.readings.clear()
        agent.train(steps + 1)
        return clock.elapsed()

    return System("morl-baselines MOSAC", f"2 x {width}", advance)


def stable(width: int) -> System:
    """Return Stable-Baselines3's SAC on the scalarized environment, before its first update."""
    clock = Clock(mo_gym.wrappers.LinearReward(mo_gym.make(ENV), weight=np.array([0.5, 0.5])))
    arguments: dict[str, Any] = {"policy_kwargs": {"net_arch": [width, width]}, "learning_starts": STARTS}
    model = StableSAC("MlpPolicy", clock, batch_size=BATCH, gamma=0.99, device="cpu", seed=0, **arguments)
    model.learn(STARTS + 1)

    def advance(steps: int) -> tuple[float, float]:
        clock.readings.clear()
        model.learn(steps + 1, reset_num_timesteps=False)
        return clock.elapsed()

    return System("Stable-Baselines3 SAC", f"2 x {width}", advance)


def stable_inside(width: int) -> System:
    """Return the same SAC as a solver of MORL/D, on one environment."""
    agent = agent_of(width, 1, solver="sb3:SAC")
    envs = make_vec(ENV, 1)
    agent.solver.run(envs, STARTS + 1)

    def advance(steps: int) -> tuple[float, float]:
        wall = perf_counter()
        processor = process_time()
        taken, _ = agent.solver.run(envs, steps)
        assert taken == steps
        return perf_counter() - wall, process_time() - processor

    return System("sb3:SAC in MORL/D", f"2 x {width}", advance)


def print_rows(systems: list[System], references: list[System]) -> None:
    for system in systems:
        wall = median(system.wall)
        processor = median(system.processor)
        cells = [system.name, system.note, f"{1 / wall:.0f}", f"{1 / processor:.0f}"]
        cells += [" / ".join(ratio(reference, system)) for reference in references if reference.note == system.note]
        print(f"| {' | '.join(cells)} |", flush=True)


def compare(widths: list[int], rounds: int, steps: int) -> None:
    """Lets all systems take turns, and prints one row for each."""
    for width in widths:
        mine = [ours(width, 12), ours(width, 48), ours(width, 48, workers=1), ours(width, 48, workers=2)]
        if width >= 256:
            mine.append(ours(width, 48, precision="bfloat16"))
        references = ([] if MOSAC is None else [peer(width)]) + [stable(width)]
        inside = stable_inside(width)
        take_turns([*references, inside, *mine], rounds, steps)
        print_rows([*references, inside, *mine], references)


def evaluation() -> None:
    """Prints the steps per second of evaluating six policies, five episodes each, and of the peer's evaluation."""
    agent = agent_of(256, 12)
    task = problem(ENV)
    evaluator = build_evaluator(ENV, {}, task.discount)
    policies = np.repeat(np.arange(POPULATION), 5)
    evaluate = partial(evaluator, agent.act, policies, agent.weights[policies], 1)
    evaluate(seed=0)  # builds the environments
    steps = evaluator.steps
    wall = perf_counter()
    evaluate(seed=1)
    rate = (evaluator.steps - steps) / (perf_counter() - wall)
    print(f"\nEvaluation in one wide rollout: {rate:,.0f} steps/s", end="")
    if MOSAC is not None:
        env = mo_gym.make(ENV)
        actor = MOSAC(env, np.array([0.5, 0.5]), log=False, device="cpu")
        wall = perf_counter()
        policy_evaluation_mo(actor, env, np.array([0.5, 0.5]), rep=1)
        theirs = 1000 / (perf_counter() - wall)
        print(f"; morl-baselines: {theirs:,.0f}; ratio {rate / theirs:.1f}")


def memory() -> None:
    """Prints the memory of six policies whose shared replay is full."""
    agent = agent_of(256, 12, replay="shared")
    agent.solver.replay.rows.fill_(0.5)
    agent.solver.replay.added[:] = agent.solver.replay.capacity
    agent.solver.learn(2, np.tile(np.arange(POPULATION), (POPULATION, 1)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"Memory of six policies with a full shared replay of a million transitions: {peak:,.0f} MiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks, fewer and shorter turns")
    parser.add_argument("--widths", nargs="+", type=int, help="of hidden layers; 64 and 256 where not given")
    parser.add_argument("--rounds", type=int, help="of turns; 5 where not given")
    arguments = parser.parse_args()
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    memory()  # first: it reports the peak of this process
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    widths = arguments.widths or ([64] if arguments.quick else [64, 256])
    steps = 480  # a multiple of all numbers of environments
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {rounds} rounds of {steps} steps\n")
    titles = ["system", "networks", "steps/s", "steps/CPU-s"]
    peers = (["morl-baselines"] if MOSAC is not None else []) + ["Stable-Baselines3"]
    titles += [f"ratio to {name}: wall (range) / CPU" for name in peers]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with prepared_processor(threads=1):  # the peers gain from it too
        compare(widths, rounds, steps)
        evaluation()


if __name__ == "__main__":
    main()
