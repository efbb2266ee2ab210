"""Parameters and time of policy sets beside a conditioned actor: TD3 with the sizes of a half-cheetah.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/policy_sets.py          about a minute
    python benchmarks/policy_sets.py --quick

All kinds of networks take turns in one process, on the same batch, in which every row has a preference of its own. An
update is that of PD-MORL: both critics, and every second time the actor. Acting is one call for a thousand
observations. Numbers are medians of processor time over rounds, of eager updates in one thread; ratios are to the
conditioned actor, with their range over rounds. The critics are the same in all.
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time

import torch
from torch import Tensor

from morl.learning.processor import prepared_processor
from morl.learning.sampled_batches import Batch
from morl.learning.td3 import TD3, TD3Settings
from morl.learning.types import PolicySet

OBSERVATION = 17
ACTION = 6
OBJECTIVES = 2
ACTING = 1_000

NETWORKS: dict[str, PolicySet | None] = {
    "conditioned": None,
    "combination": PolicySet("combination", OBJECTIVES),
    "hyper, 4 features": PolicySet("hyper", OBJECTIVES, 4),
    "hyper, 16 features": PolicySet("hyper", OBJECTIVES, 16),
}


def td3(policy_set: PolicySet | None, units: int) -> TD3:
    settings = TD3Settings(hidden_sizes=(units, units), discount=0.99, layer_norm=True, policy_set=policy_set)
    return TD3(OBSERVATION + OBJECTIVES, ACTION, OBJECTIVES, settings, [0], torch.device("cpu"))


def states(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return observations that end with preferences [1, count, width], and the preferences."""
    weights = torch.rand(1, count, OBJECTIVES, generator=random)
    preferences = weights / weights.sum(dim=2, keepdim=True)
    return torch.cat([torch.randn(1, count, OBSERVATION, generator=random), preferences], dim=2), preferences


def random_batch(size: int) -> Batch:
    random = torch.Generator().manual_seed(1)
    observation, preferences = states(size, random)
    following = torch.cat([torch.randn(1, size, OBSERVATION, generator=random), preferences], dim=2)
    return Batch(
        observation=observation,
        action=torch.randn(1, size, ACTION, generator=random).tanh(),
        reward=torch.randn(1, size, OBJECTIVES, generator=random),
        next_observation=following,
        terminated=torch.zeros(1, size, 1),
        noise=torch.randn(1, 1, size, ACTION, generator=random),
        utility=lambda values, _: (values * preferences).sum(dim=-1),
        weight=preferences,
    )


def seconds(work: Callable[[], object], repeats: int) -> float:
    start = process_time()
    for _ in range(repeats):
        work()
    return (process_time() - start) / repeats


def shown(times: Sequence[float], reference: Sequence[float]) -> str:
    ratios = [mine / theirs for mine, theirs in zip(times, reference, strict=True)]
    return f"{median(times) * 1e3:.2f} ms | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def measure(units: int, size: int, rounds: int, repeats: int) -> None:
    algorithms = {name: td3(policy_set, units) for name, policy_set in NETWORKS.items()}
    batch = random_batch(size)
    observations, _ = states(ACTING, torch.Generator().manual_seed(2))
    updates: dict[str, list[float]] = {name: [] for name in NETWORKS}
    acting: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for algorithm in algorithms.values():
        seconds(lambda algorithm=algorithm: algorithm.update(batch), 4)  # untimed
    for turn in range(rounds):
        for name in list(NETWORKS)[:: 1 if turn % 2 == 0 else -1]:
            algorithm = algorithms[name]
            updates[name].append(seconds(lambda algorithm=algorithm: algorithm.update(batch), repeats))
            acting[name].append(seconds(lambda algorithm=algorithm: algorithm.act(observations), repeats))
    print(f"\nHidden layers of 2 x {units} units, batches of {size}, {ACTING:,} observations to act for\n")
    print("| networks | parameters of the actor | update | ratio | acting | ratio |\n|---|---|---|---|---|---|")
    for name, algorithm in algorithms.items():
        count = f"{algorithm.actor.num_parameters:,}"
        times = [shown(times[name], times["conditioned"]) for times in (updates, acting)]
        print(f"| {name} | {count} | {times[0]} | {times[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, small networks only")
    quick = parser.parse_args().quick
    with prepared_processor():
        measure(64, 64, 3 if quick else 9, 4 if quick else 40)
        if not quick:
            measure(128, 128, 9, 40)


if __name__ == "__main__":
    main()
