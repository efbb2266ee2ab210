"""Training steps per second of MO-TD3-HER beside Stable-Baselines3's TD3 and morl-baselines' CAPQL, as ratios.

    OMP_WAIT_POLICY=passive python benchmarks/pd_morl_continuous.py            about ten minutes on two cores
    python benchmarks/pd_morl_continuous.py --quick                            two minutes

A training step is one environment step, what it costs to act and to remember, and one update at batch 256. All systems
have hidden layers of the same widths and take turns in one process, each on one torch thread; the peers also get two,
and their better figure counts. Stable-Baselines3 learns one scalar reward: fewer outputs, no preference as an input,
no angles, no hindsight. CAPQL has its own algorithm (a soft actor-critic). Several learners in one process are compared
with as many runs of Stable-Baselines3 one after another. Filling the replay and evaluation are not timed.
"""

import argparse
import platform
from functools import partial
from statistics import median
from time import perf_counter, process_time

import gymnasium
import mo_gymnasium as mo_gym
import numpy as np
import torch
from _turns import Clock, System, ratio, take_turns, training
from stable_baselines3 import TD3

from morl.agents.pd_morl.config import ContinuousConfig
from morl.agents.pd_morl.continuous import ContinuousPDMORL
from morl.envs import make_vec
from morl.envs.core.registry import problem
from morl.learning.processor import prepared_processor

try:
    from morl_baselines.multi_policy.capql.capql import CAPQL
except ModuleNotFoundError:
    CAPQL = None

ENVIRONMENT = "mo-hopper-v5"
NUM_ENVS = 10
BATCH = 256
STARTS = 300
NEVER = 10**9


def ours(name: str, learners: int, width: int, preset: str = "improved", **config: object) -> System:
    """Return some learners of our agent on their own vector environment, before their first update."""
    settings = ContinuousConfig.preset(
        preset,
        hidden_sizes=(width, width),
        batch_size=BATCH,
        random_exploration_steps=STARTS,
        learning_starts=STARTS,
        key_update_steps=NEVER,
        key_pretraining_steps=0,
        **config,
    )
    seeds: object = 0 if learners == 1 else tuple(range(learners))
    agent = ContinuousPDMORL(problem(ENVIRONMENT), settings, seeds, NUM_ENVS, torch.device("cpu"))
    evaluates = [lambda preferences, *_: np.zeros_like(preferences)] * learners
    loop = agent.learn(make_vec(ENVIRONMENT, NUM_ENVS * learners), NEVER, *evaluates)
    while agent.steps < STARTS:
        next(loop)
    return System(f"{name}, {width}-{width}", f"{learners}", training(agent, loop, NUM_ENVS))


def stable_baselines(width: int, threads: int) -> System:
    """Return Stable-Baselines3's TD3 on equal weights, before its first update."""
    objectives = problem(ENVIRONMENT).num_objectives
    clock = Clock(mo_gym.wrappers.LinearReward(mo_gym.make(ENVIRONMENT), np.full(objectives, 1.0 / objectives)))
    widths = {"policy_kwargs": {"net_arch": [width, width]}}
    model = TD3("MlpPolicy", clock, batch_size=BATCH, learning_starts=STARTS, seed=0, device="cpu", **widths)
    model.learn(STARTS)

    def advance(steps: int) -> tuple[float, float]:
        clock.readings.clear()
        torch.set_num_threads(threads)
        model.learn(steps + 1, reset_num_timesteps=False)  # from the beginning of the first step to that of the last
        torch.set_num_threads(1)
        assert len(clock.readings) == steps + 1
        return clock.elapsed()

    return System(f"Stable-Baselines3 TD3, {width}-{width}, threads: {threads}", "1", advance)


def capql(width: int, threads: int) -> System:
    """Return morl-baselines' CAPQL before its first update."""
    clock = Clock(mo_gym.make(ENVIRONMENT))
    agent = CAPQL(
        clock, net_arch=[width, width], batch_size=BATCH, learning_starts=STARTS, seed=0, device="cpu", log=False
    )
    reference = np.zeros(agent.reward_dim)
    evaluation = {"num_eval_weights_for_front": agent.reward_dim}

    def train(steps: int) -> None:
        agent.train(steps, clock, reference, eval_freq=NEVER, reset_num_timesteps=False, **evaluation)

    train(STARTS)

    def advance(steps: int) -> tuple[float, float]:
        clock.readings.clear()
        torch.set_num_threads(threads)
        train(steps + 1)
        torch.set_num_threads(1)
        return clock.elapsed()

    return System(f"CAPQL, {width}-{width}, threads: {threads}", "1", advance)


def compare(width: int, rounds: int, steps: int, threads: tuple[int, ...], learners: int) -> None:
    """Lets all systems of one width take turns and prints a row for each."""
    peers = {"Stable-Baselines3": [stable_baselines(width, n) for n in threads]}
    if CAPQL is not None:
        peers["CAPQL"] = [capql(width, n) for n in threads]
    one_step = partial(ours, learners=1, width=width)
    mine = [
        one_step("MO-TD3-HER, preset paper, actor every 2nd update", preset="paper", policy_delay=2),
        one_step("MO-TD3-HER"),
        one_step("MO-TD3-HER, eager", backend="eager"),
        one_step("MO-TD3-HER, eager, bfloat16", precision="bfloat16"),
        ours("MO-TD3-HER", learners, width),
    ]
    every = [system for systems in peers.values() for system in systems]
    take_turns([*every, *mine], rounds, steps)
    best = {name: min(systems, key=lambda system: median(system.wall)) for name, systems in peers.items()}
    for system in [*every, *mine]:
        count = int(system.note)
        system.wall = [seconds / count for seconds in system.wall]  # per step of one learner
        system.processor = [seconds / count for seconds in system.processor]
        cells = [system.name, system.note, f"{1 / median(system.wall):.0f}", f"{1 / median(system.processor):.0f}"]
        for name in ("Stable-Baselines3", "CAPQL"):
            cells += ratio(best[name], system) if name in best else ("", "")
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns: about two minutes")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 400], help="of both hidden layers")
    chosen = parser.parse_args()
    rounds, steps, threads = (3, 30, (1,)) if chosen.quick else (5, 200, (1, 2))
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    if CAPQL is None:
        print("morl-baselines is not installed (pip install -c constraints.txt -e '.[bench]'): without CAPQL\n")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {ENVIRONMENT}, {rounds} rounds of {steps}\n")
    titles = [
        "system",
        "learners",
        "steps/s (of all learners)",
        "steps/CPU-s",
        "times SB3",
        "CPU",
        "times CAPQL",
        "CPU",
    ]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with prepared_processor(threads=1):  # the peers gain from it too
        start = perf_counter()
        used = process_time()
        for width in chosen.widths:
            compare(width, rounds, steps, threads, learners=6)
        wall = perf_counter() - start
        used = process_time() - used
    print(f"\n{wall:.0f} s on the clock, {used:.0f} s of processor time: {used / wall:.0%} of one core was ours.")


if __name__ == "__main__":
    main()
