"""Microseconds per update of TD3, SAC and PPO by each backend: eager PyTorch, torch.compile, compiled Numba kernels.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/backends.py             about half an hour
    python benchmarks/backends.py --quick                                               one policy, small networks
    python benchmarks/backends.py --systems eager numba --algorithms td3 sac            without torch.compile
    python benchmarks/backends.py --runs                                                whole runs, eager beside numba

All backends of an algorithm start from the same parameters and take turns in one process on the same batches; after an
untimed start each row is the median over rounds. One update is that of the whole population: critics, and every second
time (PD-MORL's and MORL/D's default) actors and targets; for PPO one minibatch gradient step. torch uses one thread,
the kernels as many as there are processors, so wall clock and processor time are both given. torch.compile is no
backend of this project: it is measured because it is the alternative; its compile time is printed apart. `--write FILE`
writes the table and the machine as Markdown.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Literal

import torch
from gymnasium import spaces
from torch import Tensor

import morl
from morl.learning.backends import make_update
from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.optimizers import Adam
from morl.learning.ppo import PPO, PPOSettings, actor_critic
from morl.learning.processor import prepared_processor
from morl.learning.sac import SAC, SACSettings
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings

OBSERVATION = 17  # half-cheetah
ACTION = 6
OBJECTIVES = 2
BATCH = 128
ROWS = 20_000
UPDATES_PER_CALL = 10
CPU = torch.device("cpu")

SystemName = Literal["eager", "compile", "numba"]
AlgorithmName = Literal["td3", "sac", "ppo"]
SYSTEMS: tuple[SystemName, ...] = ("eager", "compile", "numba")
ALGORITHMS: tuple[AlgorithmName, ...] = ("td3", "sac", "ppo")

Advance = Callable[[], None]
"""Runs `UPDATES_PER_CALL` updates."""


@dataclass
class Timing:
    """Seconds per update of one backend, a number for each round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    start_seconds: float = 0.0
    """Seconds of the untimed start: compilation, caches."""


def random_numbers(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transitions(algorithm: OffPolicyAlgorithm, policies: int) -> SampledBatches:
    """Return random transitions of a half-cheetah's sizes, for some updates of every policy."""
    generator = random_numbers(1)
    width = 2 * OBSERVATION + ACTION + OBJECTIVES + 1
    rows = torch.randn(policies, ROWS, width, generator=generator)
    rows[..., OBSERVATION : OBSERVATION + ACTION].tanh_()
    rows[..., -1] = (rows[..., -1] > 2.0).float()
    shape = (policies, UPDATES_PER_CALL, BATCH)
    return SampledBatches(
        rows=rows,
        index=torch.randint(ROWS, shape, generator=generator),
        observation_width=OBSERVATION,
        action_width=ACTION,
        condition=torch.zeros((*shape, 0)),
        noise=algorithm.sample_noise(UPDATES_PER_CALL, BATCH, generator),
        scale=torch.ones(policies, OBJECTIVES),
        weight=torch.full((*shape, OBJECTIVES), 1.0 / OBJECTIVES),
    )


def off_policy(algorithm: OffPolicyAlgorithm, policies: int, system: SystemName) -> Advance:
    """Return the updates of TD3 or SAC by one backend."""
    batches = transitions(algorithm, policies)
    if system == "compile":
        compiled = torch.compile(algorithm.update)

        def advance() -> None:
            for batch in batches:
                compiled(batch)

        return advance
    update = make_update(algorithm, system)

    def advance_all() -> None:
        update(batches)

    return advance_all


def on_policy(policies: int, units: int, system: SystemName) -> Advance:
    """Return PPO's minibatch gradient steps by one backend."""
    generator = random_numbers(0)
    network = actor_critic(OBSERVATION, spaces.Box(-1.0, 1.0, (ACTION,)), OBJECTIVES, (units, units))
    parameters = network.initialize(policies, generator).requires_grad_()
    ppo = PPO(network, parameters, Adam(parameters, epsilon=1e-5), PPOSettings())
    batch = {
        "observation": torch.randn(policies, BATCH, OBSERVATION, generator=generator),
        "action": torch.randn(policies, BATCH, ACTION, generator=generator),
        "log_probability": torch.randn(policies, BATCH, 1, generator=generator) - 8.0,
        "value": torch.randn(policies, BATCH, OBJECTIVES, generator=generator),
        "target": torch.randn(policies, BATCH, OBJECTIVES, generator=generator),
        "advantage": torch.randn(policies, BATCH, 1, generator=generator),
    }
    rates = torch.full((policies,), 3e-4)
    step: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    step = torch.compile(ppo.step) if system == "compile" else make_update(ppo, system)

    def advance() -> None:
        for _ in range(UPDATES_PER_CALL):
            step(batch, rates)

    return advance


def system_of(algorithm: AlgorithmName, policies: int, units: int, system: SystemName) -> Advance:
    """Return the updates of a fresh algorithm by one backend."""
    sizes = (units, units)
    match algorithm:
        case "td3":
            settings = TD3Settings(hidden_sizes=sizes, discount=0.99, layer_norm=True, loss="huber")
            td3 = TD3(OBSERVATION, ACTION, OBJECTIVES, settings, range(policies), CPU)
            return off_policy(td3, policies, system)
        case "sac":
            soft = SACSettings(hidden_sizes=sizes, discount=0.99, target_entropy=-float(ACTION))
            sac = SAC(OBSERVATION, ACTION, OBJECTIVES, soft, policies, random_numbers(0), CPU)
            return off_policy(sac, policies, system)
        case "ppo":
            return on_policy(policies, units, system)


def measure(systems: Mapping[SystemName, Advance], rounds: int, calls: int) -> dict[SystemName, Timing]:
    """Return seconds per update; the systems take turns, back and forth, after an untimed start."""
    timings: dict[SystemName, Timing] = {}
    for name, advance in systems.items():
        before = perf_counter()
        try:
            for _ in range(3):
                advance()
        except Exception as error:  # torch.compile needs a C++ compiler and raises whatever it likes
            print(f"{name} does not run here: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        timings[name] = Timing(start_seconds=perf_counter() - before)
    for turn in range(rounds):
        order = list(timings) if turn % 2 == 0 else list(timings)[::-1]
        for name in order:
            wall = perf_counter()
            processor = process_time()
            for _ in range(calls):
                systems[name]()
            updates = calls * UPDATES_PER_CALL
            timings[name].wall.append((perf_counter() - wall) / updates)
            timings[name].processor.append((process_time() - processor) / updates)
    return timings


def row_of(algorithm: str, policies: int, units: int, timings: Mapping[SystemName, Timing]) -> str:
    """Return a row of the table: microseconds (wall / processor), and the ratio of the best alternative to numba."""
    cells = [algorithm.upper(), str(policies), f"{units}-{units}"]
    for name in SYSTEMS:
        if name in timings:
            wall = 1e6 * median(timings[name].wall)
            processor = 1e6 * median(timings[name].processor)
            cells.append(f"{wall:,.0f} / {processor:,.0f}")
        else:
            cells.append("-")
    others = [timing for name, timing in timings.items() if name != "numba"]
    if others and "numba" in timings:
        wall_ratio = min(median(other.wall) for other in others) / median(timings["numba"].wall)
        processor_ratio = min(median(other.processor) for other in others) / median(timings["numba"].processor)
        cells.append(f"{wall_ratio:.1f} / {processor_ratio:.1f}")
    else:
        cells.append("-")
    compile_seconds = f"{timings['compile'].start_seconds:.0f}" if "compile" in timings else "-"
    return f"| {' | '.join([*cells, compile_seconds])} |"


def table(
    algorithms: Sequence[AlgorithmName],
    systems: Sequence[SystemName],
    populations: Sequence[int],
    widths: Sequence[int],
) -> list[str]:
    """Measure everything and return the lines of the table."""
    lines = [
        "| algorithm | policies | units | eager | compile | numba | best alternative / numba | compile time, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for algorithm in algorithms:
        for policies in populations:
            for units in widths:
                candidates = {name: system_of(algorithm, policies, units, name) for name in systems}
                calls = max(1, round(16_000 / (policies * units)))
                lines.append(row_of(algorithm, policies, units, measure(candidates, rounds=5, calls=calls)))
                print(lines[-1], flush=True)
                torch.compiler.reset()
    return lines


RUNS: dict[str, tuple[str, str, int]] = {
    "PD-MORL (TD3), half-cheetah": ("pd-morl", "mo-halfcheetah-v5", 6_000),
    "MORL/D (SAC), half-cheetah": ("morl-d", "mo-halfcheetah-v5", 16_000),
    "C-MORL (PPO), Hopper-2d": ("c-morl", "cmorl-hopper-2d-v0", 60_000),
    "C-MORL (PPO), fruit tree": ("c-morl", "fruit-tree-v0", 60_000),
    "C-MORL (PPO), minecart": ("c-morl", "minecart-v0", 60_000),
}
"""What is trained -> agent, environment, environment steps; the settings are those that a user gets."""


def whole_runs(rounds: int, only: str) -> list[str]:
    """Train every agent with both backends in turn; return a table of whole-run seconds and ratios."""
    lines = [
        "| run | steps | eager, s (wall / processor) | numba, s (the same) | eager / numba (the same) |",
        "|---|---|---|---|---|",
    ]
    for name, (agent, env, steps) in RUNS.items():
        if only not in name:
            continue
        wall: dict[str, list[float]] = {"eager": [], "numba": []}
        processor: dict[str, list[float]] = {"eager": [], "numba": []}
        for turn in range(rounds + 1):  # the first one compiles and is not counted
            for backend in ("eager", "numba") if turn % 2 else ("numba", "eager"):
                with TemporaryDirectory() as folder:
                    started = perf_counter()
                    used = process_time()
                    options = {"seed": turn, "evaluate_every": steps, "device": "cpu"}
                    config = {"backend": backend}
                    morl.train(agent, env, total_steps=steps, run_dir=f"{folder}/run", config=config, **options)
                    if turn > 0:
                        wall[backend].append(perf_counter() - started)
                        processor[backend].append(process_time() - used)
        cells = [name, f"{steps:,}"]
        cells += [f"{median(wall[each]):.1f} / {median(processor[each]):.1f}" for each in wall]
        wall_ratio = median(wall["eager"]) / median(wall["numba"])
        processor_ratio = median(processor["eager"]) / median(processor["numba"])
        lines.append(f"| {' | '.join([*cells, f'{wall_ratio:.2f} / {processor_ratio:.2f}'])} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one policy, 64 units, without torch.compile")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--policies", nargs="+", type=int, default=[1, 6])
    parser.add_argument("--units", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--runs", action="store_true", help="whole runs instead of updates")
    parser.add_argument("--only", default="", help="whole runs whose name has this part")
    parser.add_argument("--rounds", type=int, default=3, help="counted turns of each whole run")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    arguments = parser.parse_args()
    machine = (
        f"Batch {BATCH}, observation {OBSERVATION}, action {ACTION}, {OBJECTIVES} objectives; microseconds per update"
        f" of the whole population, wall clock / processor. {platform.processor() or platform.machine()},"
        f" {os.cpu_count()} processors, torch {torch.__version__}, Python {platform.python_version()}."
    )
    print(machine)
    with prepared_processor(threads=1):
        if arguments.runs:
            lines = whole_runs(arguments.rounds, arguments.only)
        elif arguments.quick:
            lines = table(arguments.algorithms, ["eager", "numba"], [1], [64])
        else:
            lines = table(arguments.algorithms, arguments.systems, arguments.policies, arguments.units)
    if arguments.write is not None:
        arguments.write.write_text("\n".join([machine, "", *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
