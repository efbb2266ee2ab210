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
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Any

import gymnasium
import mo_gymnasium as mo_gym
import numpy as np
import torch

from morl.agents.pd_morl import PDMORL, Config
from morl.envs import make_vec
from morl.envs.registry import problem
from morl.experiment.session import build_evaluator
from morl.learning.processor import prepared_processor

try:
    from morl_baselines.multi_policy.envelope.envelope import Envelope
except ModuleNotFoundError:
    Envelope = None

ENVIRONMENTS = ("deep-sea-treasure-v0", "minecart-v0")
HIDDEN_WIDTHS = (256, 256, 256, 256)  # both publish these
CAPACITY, STARTS, SAMPLED_PREFERENCES, NEVER = 10_000, 100, 4, 10**9

SHARED = {"net_arch": list(HIDDEN_WIDTHS), "buffer_size": CAPACITY, "learning_starts": STARTS}
SHARED |= {"initial_epsilon": Config.exploration_start, "final_epsilon": Config.exploration_end}
SHARED |= {"epsilon_decay_steps": Config.exploration_steps, "seed": 0, "device": "cpu", "log": False}
EXAMPLE = {"max_grad_norm": 0.1, "homotopy_decay_steps": 10_000, "target_net_update_freq": 1000}  # theirs

Advance = Callable[[int], tuple[float, float]]  # steps -> seconds of the clock and of the processor


@dataclass
class System:
    """Something that trains: how to go on, the rows of one update, and what was measured."""

    name: str
    rows: str  # with a gradient (all that pass forward)
    parameters: int
    advance: Advance
    wall: list[float] = field(default_factory=list)  # [round] seconds per step
    processor: list[float] = field(default_factory=list)


def ours(env: str, lanes: int, batch: int) -> System:
    """Returns our agent on its own vector environment, before its first update."""
    sizes = {"batch_size": batch, "hidden_widths": HIDDEN_WIDTHS, "replay_capacity": CAPACITY}
    config = Config(**sizes, random_steps=STARTS, learning_starts=STARTS, key_update_steps=NEVER)
    agent = PDMORL(problem(env), config, seed=0, num_envs=lanes, device=torch.device("cpu"))
    training = agent.learn(make_vec(env, lanes), NEVER, lambda preferences, _: np.zeros_like(preferences))
    while agent.steps < STARTS:
        next(training)

    def advance(steps: int) -> tuple[float, float]:
        before = agent.steps, agent.updates
        wall, processor = perf_counter(), process_time()
        for _ in range(steps // lanes):
            next(training)
        wall, processor = perf_counter() - wall, process_time() - processor
        assert (agent.steps, agent.updates) == (before[0] + steps, before[1] + steps)
        return wall, processor

    name = f"MO-DDQN-HER, {lanes} lane{'s' * (lanes > 1)}, batch {batch}"
    return System(name, f"{batch} ({2 * batch})", agent.parameters.shape[1], advance)


class Clock(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes the time at the beginning of every step, so that only whole steps of the peer's loop are counted."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.readings: list[tuple[float, float]] = []

    def step(self, action: Any) -> Any:
        """Returns what the environment returns."""
        self.readings.append((perf_counter(), process_time()))
        return self.env.step(action)


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
        (wall, processor), (wall_end, processor_end) = clock.readings[0], clock.readings[-1]
        return wall_end - wall, processor_end - processor

    rows = batch * SAMPLED_PREFERENCES
    forward = rows + 2 * rows * (SAMPLED_PREFERENCES if envelope else 1)
    name = f"Envelope{'' if envelope else ', double DQN target'}, batch {batch} x {SAMPLED_PREFERENCES}"
    size = sum(parameter.numel() for parameter in agent.q_net.parameters())
    spelled = f"{rows} ({forward:,})"
    return [System(f"{name}, threads: {n}", spelled, size, partial(advance, threads=n)) for n in threads]


def print_row(env: str, comparison: str, system: System, reference: System | None) -> None:
    wall, processor = median(system.wall), median(system.processor)
    cells = [env, comparison, system.name, system.rows]
    cells += [f"{1 / wall:.1f}", f"{1 / processor:.1f}", f"{1 / wall:.1f}"]  # `advance` asserts one update per step
    if reference is not None:
        ratios = [theirs / mine for theirs, mine in zip(reference.wall, system.wall, strict=True)]
        cells.append(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        cells.append(f"{median(reference.processor) / processor:.2f}")
    print(f"| {' | '.join(cells)} |", flush=True)


def compare(env: str, rounds: int, steps: int, threads: tuple[int, ...]) -> None:
    """Lets all systems take turns, back and forth, and prints one row for each."""
    equal, small = ([ours(env, lanes, batch) for lanes in (10, 1)] for batch in (128, 32))
    comparisons: list[tuple[str, list[System], list[System]]] = [("ours alone", [*equal, *small], [])]
    if Envelope is not None:
        comparisons = [
            ("equal rows", equal, peer(env, 32, envelope=True, threads=threads)),
            ("simple target", equal, peer(env, 32, envelope=False, threads=threads)),
            ("as published", small, peer(env, 64, envelope=True, threads=threads)),
        ]
    systems = [*equal, *small, *(system for _, _, peers in comparisons for system in peers)]
    assert len({system.parameters for system in systems}) == 1, "the networks differ"
    for system in systems:
        system.advance(steps // 2 // 10 * 10)  # the first updates, untimed
    for turn in range(rounds):
        for system in systems if turn % 2 == 0 else systems[::-1]:
            wall, processor = system.advance(steps)
            system.wall.append(wall / steps)
            system.processor.append(processor / steps)
    for comparison, mine, peers in comparisons:
        best = min(peers, key=lambda system: median(system.wall), default=None)
        for system in [*peers, *mine]:
            print_row(env, comparison, system, best)


def key_update_seconds(env: str) -> float:
    """Returns what one evaluation of our key preferences takes; none of them is timed above."""
    task = problem(env)
    agent = PDMORL(task, Config(hidden_widths=HIDDEN_WIDTHS), seed=0, num_envs=10, device=torch.device("cpu"))
    evaluator, keys = build_evaluator(env, {}, task.discount), agent.keys.preferences
    evaluate = partial(evaluator, agent.act, np.zeros(len(keys), dtype=np.int64), keys, Config.key_episodes)
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
            share = 1e6 * key_update_seconds(env) / Config.key_update_steps
            print(f"\nOur key evaluations, not timed above, add {share:.0f} us to a step of {env}.")


if __name__ == "__main__":
    main()
