"""Training steps per second of MO-DDQN-HER beside morl-baselines' Envelope: one run, one process, as a ratio.

    OMP_WAIT_POLICY=passive python benchmarks/pd_morl.py    six minutes; far longer if threads wait actively
    python benchmarks/pd_morl.py --quick                    about a minute, the peer on one thread only

Without the peer (the extra `bench`, best in an environment of its own) our half runs alone.

A training step is one environment step, what it costs to act and to remember, and one gradient update. Both sides have
the same network, rows per gradient, updates per step, replay capacity and exploration, on one torch thread; the peer
also gets two, and its better figure counts. Chunks of steps alternate between all systems. Building, compiling, filling
the replay, first updates and evaluation are not timed. Three comparisons, because Envelope asks every preference of a
batch about every other (W preferences make W^2 target rows of each transition, twice; ours is one row, once):

    equal rows       the gradient has 128 rows on both sides (Envelope: 32 transitions under 4 preferences each)
    simple target    and Envelope's maximum over preferences is off: a double DQN target, two rows where ours is one
    as published     each with its authors' batch size
"""

import argparse
import platform
import timeit
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import gymnasium
import mo_gymnasium as mo_gym
import numpy as np
import torch
from _turns import Clock, System, ratio, take_turns, training

from morl.agents.pd_morl.config import DiscreteConfig
from morl.agents.pd_morl.discrete import PDMORL
from morl.envs import make_vec
from morl.envs.core.registry import problem
from morl.experiment.components import build_evaluator
from morl.learning.processor import prepared_processor

try:
    from morl_baselines.multi_policy.envelope.envelope import Envelope
except ModuleNotFoundError:
    Envelope = None

ENVIRONMENTS = ("deep-sea-treasure-v0", "minecart-v0")
HIDDEN_WIDTHS = (256, 256, 256, 256)  # both publish these
CAPACITY = 10_000
STARTS = 100
SAMPLED_PREFERENCES = 4
NEVER = 10**9

SHARED = {"net_arch": list(HIDDEN_WIDTHS), "buffer_size": CAPACITY, "learning_starts": STARTS}
SHARED |= {"initial_epsilon": DiscreteConfig.exploration_start, "final_epsilon": DiscreteConfig.exploration_end}
SHARED |= {"epsilon_decay_steps": DiscreteConfig.exploration_steps, "seed": 0, "device": "cpu", "log": False}
EXAMPLE = {"max_grad_norm": 0.1, "homotopy_decay_steps": 10_000, "target_net_update_freq": 1000}  # theirs


def ours(env: str, num_envs: int, batch: int) -> System:
    """Return our agent on its own vector environment, before its first update."""
    sizes: dict[str, Any] = {"batch_size": batch, "hidden_sizes": HIDDEN_WIDTHS, "buffer_size": CAPACITY}
    sizes["relabel_from"] = "absolute-normal"  # as theirs
    config = DiscreteConfig(**sizes, random_exploration_steps=STARTS, learning_starts=STARTS, key_update_steps=NEVER)
    agent = PDMORL(problem(env), config, seed=0, num_envs=num_envs, device=torch.device("cpu"))
    loop = agent.learn(make_vec(env, num_envs), NEVER, lambda preferences, *_: np.zeros_like(preferences))
    while agent.steps < STARTS:
        next(loop)
    name = f"MO-DDQN-HER, {num_envs} environments, batch {batch}"
    assert agent.parameters.shape[1] == parameters(env), "the networks differ"
    return System(name, f"{batch} ({2 * batch})", training(agent, loop, num_envs))


def parameters(env: str) -> int:
    """Return the size of the network that both sides are given."""
    task = problem(env)
    inputs = int(np.prod(task.observation_space.shape)) + task.num_objectives
    outputs = task.action_space.n * task.num_objectives
    widths = (inputs, *HIDDEN_WIDTHS, outputs)
    return sum((wide_in + 1) * wide_out for wide_in, wide_out in pairwise(widths))


def peer(env: str, batch: int, envelope: bool, threads: tuple[int, ...]) -> list[System]:
    """Returns Envelope, before its first update: one agent, on each number of threads."""
    clock = Clock(mo_gym.make(env))
    sizes = {"batch_size": batch, "num_sample_w": SAMPLED_PREFERENCES}
    agent = Envelope(clock, envelope=envelope, **sizes, **SHARED, **EXAMPLE)
    agent.train(STARTS, num_eval_weights_for_front=agent.reward_dim)  # its last step makes the first update

    def updates() -> int:
        return int(next(iter(agent.q_optim.state.values()))["step"])

    def advance(steps: int, threads: int) -> tuple[float, float]:
        before = updates()
        clock.readings.clear()
        torch.set_num_threads(threads)
        # One step more than is counted: from the beginning of the first to the beginning of the last.
        agent.train(steps + 1, reset_num_timesteps=False, num_eval_weights_for_front=agent.reward_dim)
        torch.set_num_threads(1)
        assert len(clock.readings) == updates() - before == steps + 1
        return clock.elapsed()

    rows = batch * SAMPLED_PREFERENCES
    forward = rows + 2 * rows * (SAMPLED_PREFERENCES if envelope else 1)
    name = f"Envelope{'' if envelope else ', double DQN target'}, batch {batch} x {SAMPLED_PREFERENCES}"
    assert sum(parameter.numel() for parameter in agent.q_net.parameters()) == parameters(env), "the networks differ"
    spelled = f"{rows} ({forward:,})"
    return [System(f"{name}, threads: {n}", spelled, partial(advance, threads=n)) for n in threads]


def print_row(env: str, comparison: str, system: System, reference: System | None) -> None:
    wall = median(system.wall)
    processor = median(system.processor)
    cells = [env, comparison, system.name, system.note]
    cells += [f"{1 / wall:.1f}", f"{1 / processor:.1f}", f"{1 / wall:.1f}"]  # `advance` asserts one update per step
    if reference is not None:
        cells += ratio(reference, system)
    print(f"| {' | '.join(cells)} |", flush=True)


def compare(env: str, rounds: int, steps: int, threads: tuple[int, ...]) -> None:
    """Lets all systems take turns, back and forth, and prints one row for each."""
    equal, small = ([ours(env, num_envs, batch) for num_envs in (10, 1)] for batch in (128, 32))
    comparisons: list[tuple[str, list[System], list[System]]] = [("ours alone", [*equal, *small], [])]
    if Envelope is not None:
        comparisons = [
            ("equal rows", equal, peer(env, 32, envelope=True, threads=threads)),
            ("simple target", equal, peer(env, 32, envelope=False, threads=threads)),
            ("as published", small, peer(env, 64, envelope=True, threads=threads)),
        ]
    systems = [*equal, *small, *(system for _, _, peers in comparisons for system in peers)]
    take_turns(systems, rounds, steps)
    for comparison, mine, peers in comparisons:
        best = min(peers, key=lambda system: median(system.wall), default=None)
        for system in [*peers, *mine]:
            print_row(env, comparison, system, best)


def key_update_seconds(env: str) -> float:
    """Return what one evaluation of our key preferences takes; none of them is timed above."""
    task = problem(env)
    agent = PDMORL(task, DiscreteConfig(hidden_sizes=HIDDEN_WIDTHS), seed=0, num_envs=10, device=torch.device("cpu"))
    evaluator = build_evaluator(env, {}, task.discount)
    keys = agent.keys.preferences
    evaluate = partial(evaluator, agent.act, np.zeros(len(keys), dtype=np.int64), keys, DiscreteConfig.key_episodes)
    evaluate(seed=0)  # builds the environments
    return min(timeit.repeat(lambda: evaluate(seed=1), number=1, repeat=3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns: about a minute")
    rounds, steps, threads = (3, 20, (1,)) if parser.parse_args().quick else (5, 100, (1, 2))
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    if Envelope is None:
        print("morl-baselines is not installed (pip install -c constraints.txt -e '.[bench]'): ours alone\n")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {rounds} rounds of {steps} steps\n")
    titles = ["environment", "comparison", "system", "rows per update: gradient (forward)", "steps/s", "steps/CPU-s"]
    titles += ["updates/s", "ratio to the peer's best (range)", "ratio of CPU time"][: 1 if Envelope is None else 3]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with prepared_processor(threads=1):  # the peer gains from it too
        for env in ENVIRONMENTS:
            compare(env, rounds, steps, threads)
        for env in ENVIRONMENTS:
            share = 1e6 * key_update_seconds(env) / DiscreteConfig.key_update_steps
            print(f"\nOur key evaluations, not timed above, add {share:.0f} us to a step of {env}.")


if __name__ == "__main__":
    main()
