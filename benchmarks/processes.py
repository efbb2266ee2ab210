"""Worker processes beside the synchronous backend on slow environments, in one run.

    .venv/bin/python benchmarks/processes.py [--num-envs 8] [--rounds 5] [--quick] [ID ...]

Both step as many environments with the same actions, alternately. Figures are environment steps per second of wall
clock, best of all rounds. What processes gain is the cores they use; other work on those cores takes the gain away: the
load average is printed. `waiting` is an environment that sleeps 5 ms a step, as one that waits for another program.
"""

import argparse
import os
import time
import warnings
from typing import Any

import gymnasium
import numpy as np

from morl.envs import MultiObjectiveVectorEnv, make_vec
from morl.envs.backends.processes import usable_cores
from morl.envs.core.types import Array, Info, Options, Step

IDS = ["waiting", "minecart-rgb-v0", "mo-reacher-v5"]


class Waiting(gymnasium.Env[Any, Any]):
    """Sleeps 5 ms a step."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    reward_space = gymnasium.spaces.Box(0, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Array, Info]:  # noqa: ARG002
        """Begin."""
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Step:
        """Wait."""
        time.sleep(0.005)
        return np.zeros(1, np.float32), np.eye(2)[action], False, False, {}


def seconds_per_step(envs: MultiObjectiveVectorEnv, actions: list[Any]) -> float:
    start = time.perf_counter()
    for action in actions:
        envs.step(action)
    return (time.perf_counter() - start) / len(actions)


def compare(env_id: str, num_envs: int, rounds: int, steps: int) -> tuple[float, float]:
    """Return seconds per vector step: synchronous, processes."""
    env = Waiting if env_id == "waiting" else env_id
    rivals = [make_vec(env, num_envs, seed=0, backend=backend) for backend in ("synchronous", "processes")]
    rivals[0].action_space.seed(0)
    actions = [rivals[0].action_space.sample() for _ in range(steps)]
    best = [float("inf")] * 2
    for envs in rivals:
        envs.reset()
        envs.step(actions[0])
    for _ in range(rounds):
        for index, envs in enumerate(rivals):
            best[index] = min(best[index], seconds_per_step(envs, actions))
    for envs in rivals:
        envs.close()
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", default=IDS)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rounds, steps = (1, 3) if arguments.quick else (arguments.rounds, arguments.steps)
    print(f"{arguments.num_envs} environments, {usable_cores()} cores, load {os.getloadavg()[0]:.1f}")
    print("| environment | synchronous, ms per environment step | steps/s synchronous | steps/s processes | ratio |")
    print("|---|---|---|---|---|")
    for env_id in arguments.ids:
        alone, spread = compare(env_id, arguments.num_envs, rounds, steps)
        rates = f"{arguments.num_envs / alone:.0f} | {arguments.num_envs / spread:.0f} | {alone / spread:.2f}x"
        print(f"| {env_id} | {alone / arguments.num_envs * 1e3:.3f} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
