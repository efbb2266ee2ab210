"""Environment steps per second: our vector backends beside mo-gymnasium's, Gymnasium's and envpool, in one run.

    .venv/bin/python benchmarks/envs.py [--num-envs 8 64] [--cores 1 2] [--seconds 2.0] [--quick] [ID ...]

All candidates step the same number of environments with the same random actions, in turns, in this one process (medians
over the rounds). Two rates: environment steps per second of wall clock, which needs the cores to itself, and per second
of processor time (children included), which holds on a busy machine too. Beside MOSyncVectorEnv there is a third: per
second of processor time of the calling thread alone, which is what the wall clock would show if no other process ran.
`cores` pins the process, so that thread pools have that many threads. The floor is MuJoCo's `mj_step` alone: no reward,
no observation, no Python between substeps.

Peers: MOSyncVectorEnv (mo-gymnasium); AsyncVectorEnv (Gymnasium, one process per environment, with `LinearReward`
around each, because vector rewards crash it at the first reset); envpool, which has no vector rewards and steps the
single-objective task of the same name. A peer that is not installed is named below the table.
"""

import argparse
import importlib.util
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from morl.envs import make, make_vec

TABULAR = [
    "deep-sea-treasure-v0",
    "deep-sea-treasure-mirrored-v0",
    "fruit-tree-v0",
    "minecart-deterministic-v0",
    "minecart-v0",
    "resource-gathering-v0",
    "four-room-v0",
    "breakable-bottles-v0",
    "fishwood-v0",
    "water-reservoir-v0",
    "mo-mountaincar-v0",
    "mo-mountaincarcontinuous-v0",
]
ENVPOOL = {
    "mo-hopper-v5": "Hopper-v5",
    "mo-halfcheetah-v5": "HalfCheetah-v5",
    "mo-walker2d-v5": "Walker2d-v5",
    "mo-swimmer-v5": "Swimmer-v5",
    "mo-ant-v5": "Ant-v5",
    "mo-humanoid-v5": "Humanoid-v5",
}
ROUNDS = 5
MOST_MODELS = 64  # one MuJoCo model per environment: more of them would fill the memory
MOST_PROCESSES = 8

Step = Callable[[Any], Any]


class Rate(NamedTuple):
    """Environment steps per second of wall clock, of processor time, and of the calling thread's processor time."""

    wall: float
    cpu: float
    caller: float


def processor_seconds() -> float:
    """Return the processor time of this process and its living children."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system time
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def rate(step: Step, actions: list[Any], num_envs: int, seconds: float) -> Rate:
    """Return the rates over about `seconds`."""
    count = 0
    wall = time.perf_counter()
    cpu = processor_seconds()
    caller = time.thread_time()
    while time.perf_counter() - wall < seconds:
        for action in actions:
            step(action)
        count += len(actions)
    return Rate(
        wall=count * num_envs / max(time.perf_counter() - wall, 1e-9),
        cpu=count * num_envs / max(processor_seconds() - cpu, 1e-9),
        caller=count * num_envs / max(time.thread_time() - caller, 1e-9),
    )


def median_rate(rates: list[Rate]) -> Rate:
    """Return the median of each rate."""
    return Rate(
        wall=median(rate.wall for rate in rates),
        cpu=median(rate.cpu for rate in rates),
        caller=median(rate.caller for rate in rates),
    )


def ours(env_id: str, num_envs: int, cores: int) -> tuple[Step, Callable[[], None]]:  # noqa: ARG001 - one shape for all
    vector_env = make_vec(env_id, num_envs, seed=0)
    vector_env.reset()
    return vector_env.step, vector_env.close


def mo_sync(env_id: str, num_envs: int, cores: int) -> tuple[Step, Callable[[], None]]:  # noqa: ARG001
    from mo_gymnasium.wrappers.vector import MOSyncVectorEnv

    vector_env = MOSyncVectorEnv([lambda: make(env_id) for _ in range(num_envs)])
    vector_env.reset(seed=0)
    return vector_env.step, vector_env.close


def asynchronous(env_id: str, num_envs: int, cores: int) -> tuple[Step, Callable[[], None]]:  # noqa: ARG001
    from gymnasium.vector import AsyncVectorEnv
    from mo_gymnasium.wrappers import LinearReward

    vector_env = AsyncVectorEnv([lambda: LinearReward(make(env_id)) for _ in range(num_envs)])
    vector_env.reset(seed=0)
    return vector_env.step, vector_env.close


def envpool(env_id: str, num_envs: int, cores: int) -> tuple[Step, Callable[[], None]]:
    import envpool as peer

    vector_env = peer.make_gymnasium(ENVPOOL[env_id], num_envs=num_envs, num_threads=cores, seed=0)
    vector_env.reset()
    return lambda actions: vector_env.step(actions.astype(np.float64)), vector_env.close


PEERS = {"MOSyncVectorEnv": mo_sync, "AsyncVectorEnv": asynchronous, "envpool": envpool}


def available(peer: str, env_id: str, num_envs: int) -> bool:
    """Return whether a peer can run this at all."""
    if peer == "envpool":
        return env_id in ENVPOOL and importlib.util.find_spec("envpool") is not None
    if peer == "AsyncVectorEnv":
        return env_id in ENVPOOL and num_envs <= MOST_PROCESSES
    return num_envs <= MOST_MODELS or env_id in TABULAR


def floor(env_id: str, actions: list[Any], seconds: float) -> float:
    """Return processor seconds that `mj_step` takes for one environment step, along random episodes (0: no MuJoCo)."""
    env = make(env_id).unwrapped
    if not hasattr(env, "frame_skip") or env_id not in ENVPOOL:
        return 0.0
    import mujoco

    env.reset(seed=0)
    spent = 0.0
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for batch in actions:
            env.data.ctrl[:] = batch[0]
            before = time.thread_time()
            mujoco.mj_step(env.model, env.data, nstep=env.frame_skip)
            spent += time.thread_time() - before
            count += 1
            if not getattr(env, "is_healthy", True):
                env.reset()
    return spent / count


def compare(env_id: str, num_envs: int, cores: int, seconds: float) -> list[str]:
    """Return the cells of one row of the table."""
    own_env = make_vec(env_id, num_envs)
    own_env.action_space.seed(0)
    actions = [own_env.action_space.sample() for _ in range(max(16, (2048 if env_id in TABULAR else 256) // num_envs))]
    running = {"ours": ours(env_id, num_envs, cores)}
    for peer, start in PEERS.items():
        if available(peer, env_id, num_envs):
            running[peer] = start(env_id, num_envs, cores)
    for step, _ in running.values():
        step(actions[0])  # compiles, starts threads
    rates: dict[str, list[Rate]] = {name: [] for name in running}
    least = []
    for _ in range(ROUNDS):
        least.append(floor(env_id, actions, seconds / ROUNDS))
        for name, (step, _) in running.items():
            rates[name].append(rate(step, actions, num_envs, seconds / ROUNDS))
    for _, close in running.values():
        close()
    middle = {name: median_rate(found) for name, found in rates.items()}
    mine = middle["ours"]
    bottom = median(least)
    cells = [env_id, str(cores), str(num_envs), str(own_env.metadata["backend"]), _short(mine.wall), _short(mine.cpu)]
    cells.append(f"{1e6 * bottom:.1f} ({100 / (mine.cpu * bottom) - 100:+.0f} %)" if bottom else "-")
    for peer in PEERS:
        other = middle.get(peer)
        ratios = [] if other is None else [mine.wall / other.wall, mine.cpu / other.cpu]
        if other is not None and peer == "MOSyncVectorEnv":  # the callers of the others mostly wait
            ratios.append(mine.caller / other.caller)
        cells.append(" / ".join(f"{ratio:.2f}x" for ratio in ratios) or "-")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", default=[*TABULAR, *ENVPOOL])
    parser.add_argument("--num-envs", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--cores", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--seconds", type=float, default=2.0, help="per candidate and row")
    parser.add_argument("--quick", action="store_true", help="a few rows, briefly: does it run")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.ids = ["deep-sea-treasure-v0", "mo-hopper-v5"]
        arguments.num_envs = [8]
        arguments.cores = [1]
        arguments.seconds = 0.2
    warnings.simplefilter("ignore")
    make("deep-sea-treasure-v0")  # imports mo-gymnasium
    cpus = sorted(os.sched_getaffinity(0))
    print(f"load before: {os.getloadavg()[0]:.1f} on {len(cpus)} cores")
    print("ratios by wall clock / processor time / calling thread")
    print("| environment | cores | num_envs | backend | steps/s | steps/CPU-s | floor, us (ours above it) |", end="")
    print("".join(f" ours / {peer} |" for peer in PEERS))
    print("|---" * (7 + len(PEERS)) + "|")
    for env_id in arguments.ids:
        for cores in arguments.cores:
            os.sched_setaffinity(0, cpus[:cores])
            for num_envs in arguments.num_envs:
                print(f"| {' | '.join(compare(env_id, num_envs, cores, arguments.seconds))} |", flush=True)
    print(f"load after: {os.getloadavg()[0]:.1f}")
    if importlib.util.find_spec("envpool") is None:
        print("envpool is not installed (pip install 'morl-suite[bench]'), so it was not measured")


def _short(value: float) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.1f} k"


if __name__ == "__main__":
    main()
