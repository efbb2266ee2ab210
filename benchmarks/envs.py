"""Environment steps per second: our vector back ends beside mo-gymnasium's MOSyncVectorEnv, in one run.

    .venv/bin/python benchmarks/envs.py [--lanes 8 64 1024] [--seconds 1.0] [ID ...]

Both sides step the same number of lanes with the same random actions, alternately, in this one process. The figures
are environment steps per second of processor time (best of five rounds), so a busy machine hurts both sides alike.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from morl.envs import make, make_vec

IDS = [
    "deep-sea-treasure-v0",
    "deep-sea-treasure-mirrored-v0",
    "fruit-tree-v0",
    "minecart-deterministic-v0",
    "minecart-v0",
    "resource-gathering-v0",
    "four-room-v0",
    "fishwood-v0",
    "mo-mountaincar-v0",
    "mo-mountaincarcontinuous-v0",
    "mo-hopper-v5",
    "mo-halfcheetah-v5",
]
ROUNDS = 5


def steps_per_second(step: Callable[[Any], Any], actions: list[Any], lanes: int, seconds: float) -> tuple[float, float]:
    """Return lane steps per second of processor time and of wall clock, over about `seconds`."""
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        for action in actions:
            step(action)
        count += len(actions)
    steps = count * lanes
    return steps / (time.process_time() - cpu), steps / (time.perf_counter() - wall)


def compare(env_id: str, lanes: int, seconds: float) -> tuple[str, float, float, float]:
    """Return our back end, both sides' steps per processor second, and our steps per second of wall clock."""
    from mo_gymnasium.wrappers.vector import MOSyncVectorEnv

    ours = make_vec(env_id, lanes, seed=0)
    theirs = MOSyncVectorEnv([lambda: make(env_id) for _ in range(lanes)])
    ours.action_space.seed(0)
    actions = [ours.action_space.sample() for _ in range(max(1, 2048 // lanes))]
    ours.reset()
    theirs.reset(seed=0)
    ours.step(actions[0])  # compiles
    mine, other, wall = 0.0, 0.0, 0.0
    for _ in range(ROUNDS):
        cpu_rate, wall_rate = steps_per_second(ours.step, actions, lanes, seconds / ROUNDS)
        mine, wall = max(mine, cpu_rate), max(wall, wall_rate)
        other = max(other, steps_per_second(theirs.step, actions, lanes, seconds / ROUNDS)[0])
    theirs.close()
    return str(ours.metadata["backend"]), mine, other, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", default=IDS)
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 64, 1024])
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    make("deep-sea-treasure-v0")  # imports mo-gymnasium
    print("| environment | lanes | back end | steps per CPU-s | MOSyncVectorEnv | ratio | steps/s wall |")
    print("|---|---|---|---|---|---|---|")
    for env_id in arguments.ids:
        for lanes in arguments.lanes:
            if lanes > 64 and env_id.startswith("mo-h"):
                continue  # a thousand MuJoCo models of the peer would fill the memory
            backend, mine, other, wall = compare(env_id, lanes, arguments.seconds)
            rates = f"{_short(mine)} | {_short(other)} | {mine / other:.1f}x | {_short(wall)}"
            print(f"| {env_id} | {lanes} | {backend} | {rates} |", flush=True)


def _short(rate: float) -> str:
    return f"{rate / 1e6:.2f} M" if rate >= 1e6 else f"{rate / 1e3:.1f} k" if np.isfinite(rate) else "-"


if __name__ == "__main__":
    main()
