"""What simple policies earn on the task families without physics: the table of docs/results/baselines.md.

    .venv/bin/python benchmarks/families.py [--episodes 1000] [--quick]

Undiscounted returns, mean over episodes and its standard error; the same seeds for every policy. Speed:
`.venv/bin/python benchmarks/envs.py building-3d-v0 mec-offloading-v0 server-queues-v0`.
"""

import argparse

from morl.envs.families.baselines import BASELINES, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="20 episodes: does it run?")
    arguments = parser.parse_args()
    episodes = 20 if arguments.quick else arguments.episodes
    print("| environment | policy | mean return | standard error |")
    print("|---|---|---|---|")
    for env_id, policies in BASELINES.items():
        for policy in policies:
            mean, error = measure(env_id, policy, episodes=episodes)
            cells = (", ".join(f"{value:.{digits}g}" for value in part) for part, digits in ((mean, 6), (error, 2)))
            print(f"| {env_id} | {policy} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
