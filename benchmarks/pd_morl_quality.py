"""Fronts of morl-baselines' CAPQL, to be read beside those of PD-MORL at as many steps on the same tasks.

    morl train pd-morl mo-halfcheetah-v4 --seeds 3
    python benchmarks/pd_morl_quality.py capql runs/capql --envs mo-halfcheetah-v4      half an hour for 200,000 steps
    python benchmarks/pd_morl_quality.py table runs/capql runs/pd-morl/mo-halfcheetah-v4/seed-*

CAPQL (the extra `bench`) has its own defaults: layers of 256-256, batch 128, one update a step. After training, each
preference of an even grid gets three episodes on fresh seeds, without noise; their discounted returns are judged by our
indicators, with the reference point of our runs, and 0.99 as they have it.
"""

import argparse
import json
import logging
from pathlib import Path
from time import process_time

import gymnasium
import mo_gymnasium as mo_gym
import numpy as np
from numpy.typing import NDArray

from morl.pareto import expected_utility, hypervolume, non_dominated
from morl.preferences import finest_lattice

DISCOUNT = 0.99
EPISODES = 3
NEVER = 10**9


def train_capql(folder: Path, env: str, seed: int, steps: int) -> None:
    """Trains CAPQL, evaluates it once, and writes the mean discounted return of every preference."""
    from morl_baselines.multi_policy.capql.capql import CAPQL

    file = folder / f"{env}-seed-{seed}.json"
    if file.is_file():
        return
    before = process_time()
    task = mo_gym.make(env)
    agent = CAPQL(task, gamma=DISCOUNT, seed=seed, device="cpu", log=False)
    fewest = {"num_eval_weights_for_front": agent.reward_dim, "num_eval_episodes_for_front": 1}
    agent.train(steps, mo_gym.make(env), np.zeros(agent.reward_dim), eval_freq=NEVER, **fewest)
    trained = process_time() - before
    preferences = finest_lattice(agent.reward_dim, 101)
    fresh = mo_gym.make(env)
    fresh.reset(seed=10_000 + seed)
    returns = [np.mean([episode(agent, fresh, each) for _ in range(EPISODES)], axis=0).tolist() for each in preferences]
    found = {"env": env, "seed": seed, "steps": steps, "cpu_seconds": trained, "returns": returns}
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found | {"preferences": preferences.tolist()}))


def episode(agent: object, env: object, preference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the discounted return [objective] of an episode under a preference."""
    observation, _ = env.reset()
    total = np.zeros(len(preference))
    factor = 1.0
    ended = False
    while not ended:
        action = agent.eval(np.asarray(observation, dtype=np.float32), preference)
        observation, reward, terminated, truncated, _ = env.step(action)
        total = total + factor * reward
        factor *= DISCOUNT
        ended = terminated or truncated
    return total


def table(folder: Path, runs: list[Path]) -> None:
    """Prints one row for each run; CAPQL's points are judged from the reference point of ours on that task."""
    print(
        "| system | task | seed | steps | hypervolume | expected utility | own utility |\n|---|---|---|---|---|---|---|"
    )
    references = {}
    for run in runs:
        found = json.loads((run / "front.json").read_text())
        references[found["env"]] = found["reference_point"]
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        own = next(value for name, value in last.items() if name.endswith("conditioned_utility"))
        row = f"| PD-MORL | {found['env']} | {found['seed']} | {found['training_steps']:,} |"
        reached = found["indicators"]
        print(f"{row} {reached['hypervolume']:,.0f} | {reached['expected_utility']:.1f} | {own:.1f} |")
    for found in (json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))):
        if found["env"] not in references:
            continue
        returns = np.array(found["returns"])
        preferences = np.array(found["preferences"])
        front = returns[non_dominated(returns)]
        utility = expected_utility(front, preferences)
        own = (returns * preferences).sum(axis=1).mean()
        row = f"| CAPQL, {found['cpu_seconds']:,.0f} CPU-s | {found['env']} | {found['seed']} | {found['steps']:,} |"
        print(f"{row} {hypervolume(front, references[found['env']]):,.0f} | {utility:.1f} | {own:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["capql", "table"])
    parser.add_argument("folder", type=Path, help="where CAPQL's results are kept")
    parser.add_argument("runs", type=Path, nargs="*", help="run folders of ours for the table")
    parser.add_argument("--envs", nargs="+", default=["mo-halfcheetah-v5", "mo-hopper-v5"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="a run for each")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps of each run")
    arguments = parser.parse_args()
    gymnasium.logger.min_level = logging.ERROR
    if arguments.what == "table":
        table(arguments.folder, arguments.runs)
        return
    for env in arguments.envs:
        for seed in arguments.seeds:
            train_capql(arguments.folder, env, seed, arguments.steps)


if __name__ == "__main__":
    main()
