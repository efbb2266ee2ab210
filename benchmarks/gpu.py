"""What a GPU is worth: updates by width, policies and backend, whole runs, the cost of a launch. For the day of a GPU.

    OMP_NUM_THREADS=1 python benchmarks/gpu.py --minutes 8 --output gpu.jsonl
    python benchmarks/gpu.py --quick                            two small cells and a short run; also without a GPU

One JSON line a cell, the most telling first, each written at once: the script ends between two cells when its minutes
are over, and what is there can be used. A rate is that of policies: updates per second times the number of policies.
"numba" is the compiled CPU path with all processors; "eager" and "cuda-graph" run on the GPU, and "cuda-graph, tf32"
and "cuda-graph, bfloat16" with cheaper products. Without a GPU "eager" runs on the CPU and graphs are left out.

Run the tests first, `pytest -m gpu`: rates of wrong updates are worth nothing.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any, Literal

import torch

import morl
from morl.agents import find_agent
from morl.envs import make_vec
from morl.envs.core.registry import problem
from morl.learning.backends import make_update
from morl.learning.backends.cuda_graph import CapturedWork
from morl.learning.backends.eager import tf32_products
from morl.learning.off_policy import OffPolicyAlgorithm, Precision
from morl.learning.processor import gpu_facts, prepared_processor
from morl.learning.sac import SAC, SACSettings
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
from morl.learning.types import BackendSetting

OBSERVATION = 17  # half-cheetah
ACTION = 6
OBJECTIVES = 2
ROWS = 20_000
UPDATES_PER_CALL = 10
CALLS_BEFORE = 5  # three eager ones, one that captures, one that replays
ENV = "mo-hopper-v5"

Cell = dict[str, object]
Way = tuple[str, BackendSetting, Precision]
"""Name, backend and precision."""

CPU_WAYS: tuple[Way, ...] = (("numba", "numba", "float32"),)
EAGER_WAYS: tuple[Way, ...] = (("eager", "eager", "float32"),)
GRAPH_WAYS: tuple[Way, ...] = (
    ("cuda-graph", "cuda-graph", "float32"),
    ("cuda-graph, tf32", "cuda-graph", "tf32"),
    ("cuda-graph, bfloat16", "cuda-graph", "bfloat16"),
)


@dataclass(frozen=True)
class Size:
    """The size of an update."""

    algorithm: Literal["td3", "sac"]
    width: int
    policies: int
    batch: int

    def __str__(self) -> str:
        return f"{self.algorithm} {self.width}-{self.width}, {self.policies} policies, batch {self.batch}"


SIZES = (
    Size("td3", 256, 6, 256),
    Size("td3", 64, 6, 128),
    Size("td3", 256, 1, 256),
    Size("sac", 256, 6, 128),
    Size("td3", 256, 64, 256),
    Size("td3", 64, 64, 128),
    Size("sac", 256, 64, 128),
    Size("td3", 64, 1, 128),
    Size("td3", 400, 64, 256),
    Size("td3", 256, 256, 256),
)
QUICK_SIZES = (Size("td3", 16, 2, 16), Size("sac", 16, 2, 16))


# --- Measuring --------------------------------------------------------------------------------------------------------


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def calls_per_second(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the median of three rates, after calls that are not timed."""
    for _ in range(CALLS_BEFORE):
        call()
    rates = []
    for _ in range(3):
        synchronize(device)
        start = perf_counter()
        count = 0
        while count < 2 or perf_counter() - start < seconds / 3:
            call()
            count += 1
            if count % 8 == 0:  # not to run away from the GPU
                synchronize(device)
        synchronize(device)
        rates.append(count / (perf_counter() - start))
    return median(rates)


# --- What a launch costs ----------------------------------------------------------------------------------------------


def floors(device: torch.device, seconds: float) -> Cell:
    """Return the machine, microseconds of a launch, eager and in a graph, and rates of batched products."""
    found: Cell = {"torch": torch.__version__, "python": platform.python_version(), "processor": platform.processor()}
    numbers = torch.zeros(1000, device=device)

    def launch_many() -> dict[str, torch.Tensor]:
        for _ in range(1000):
            numbers.add_(1.0)
        return {}

    found["microseconds of a launch"] = round(1e3 / calls_per_second(launch_many, device, seconds), 2)
    if device.type != "cuda":
        return found
    found |= gpu_facts()
    captured = CapturedWork()
    rate = calls_per_second(lambda: captured(None, lambda _: launch_many(), {}), device, seconds)
    found["microseconds of a node of a graph"] = round(1e3 / rate, 2)
    for policies in (1, 6, 64):
        one = torch.randn(policies, 256, 256, device=device)
        for name in ("float32", "tf32"):
            with tf32_products() if name == "tf32" else nullcontext():
                rate = calls_per_second(lambda one=one: [torch.bmm(one, one) for _ in range(50)], device, seconds / 2)
            found[f"TFLOP/s, {policies} x 256, {name}"] = round(rate * 50 * policies * 2 * 256**3 / 1e12, 2)
    return found


# --- Updates ----------------------------------------------------------------------------------------------------------


def algorithm_of(size: Size, device: torch.device, precision: Precision) -> OffPolicyAlgorithm:
    hidden = (size.width, size.width)
    if size.algorithm == "sac":
        soft = SACSettings(hidden_sizes=hidden, discount=0.99, precision=precision, target_entropy=-float(ACTION))
        generator = torch.Generator().manual_seed(0)
        return SAC(OBSERVATION, ACTION, OBJECTIVES, soft, size.policies, generator, device)
    settings = TD3Settings(hidden_sizes=hidden, discount=0.99, precision=precision)
    return TD3(OBSERVATION, ACTION, OBJECTIVES, settings, range(size.policies), device)


def batches(size: Size, algorithm: OffPolicyAlgorithm, device: torch.device) -> SampledBatches:
    """Return random batches, as a replay buffer gives them."""
    generator = torch.Generator(device).manual_seed(1)
    shape = (size.policies, UPDATES_PER_CALL, size.batch)
    columns = 2 * OBSERVATION + ACTION + OBJECTIVES + 1
    return SampledBatches(
        rows=torch.randn(size.policies, ROWS, columns, generator=generator, device=device),
        index=torch.randint(ROWS, shape, generator=generator, device=device),
        observation_width=OBSERVATION,
        action_width=ACTION,
        condition=torch.zeros((*shape, 0), device=device),
        noise=algorithm.sample_noise(UPDATES_PER_CALL, size.batch, generator),
        scale=torch.ones(size.policies, OBJECTIVES, device=device),
        weight=torch.full((*shape, OBJECTIVES), 1.0 / OBJECTIVES, device=device),
    )


def update_rates(size: Size, device: torch.device, seconds: float) -> Cell:
    """Return policy-updates per second by every way to execute them, and the memory of the GPU."""
    found: Cell = {}
    on_gpu = device.type == "cuda"
    for name, backend, precision in (*EAGER_WAYS, *(GRAPH_WAYS if on_gpu else ()), *CPU_WAYS):
        place = torch.device("cpu") if backend == "numba" else device
        try:
            algorithm = algorithm_of(size, place, precision)
            update = make_update(algorithm, backend)
            drawn = batches(size, algorithm, place)
            rate = calls_per_second(lambda update=update, drawn=drawn: update(drawn), place, seconds)
            found[name] = round(rate * UPDATES_PER_CALL * size.policies)
        except RuntimeError as error:  # out of memory, or what a first day on a GPU brings to light
            found[name] = f"failed: {str(error).splitlines()[0][:200]}"
    if on_gpu:
        found["MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return found


# --- Whole runs -------------------------------------------------------------------------------------------------------


def run_rates(device: torch.device, seconds: float, learners: tuple[int, ...]) -> Cell:
    """Return environment steps per second of all learners of PD-MORL, environments included, by device."""
    found: Cell = {}
    stated = problem(ENV)
    agent_class = find_agent("pd-morl", stated.action_space)
    ways = [("numba", torch.device("cpu")), *([("cuda-graph", device)] if device.type == "cuda" else [])]
    for count in learners:
        for backend, place in ways:
            config = agent_class.config_class(
                hidden_sizes=(256, 256),
                batch_size=256,
                random_exploration_steps=100,
                learning_starts=100,
                buffer_size=50_000,
                key_update_steps=10**9,
                backend=backend,
            )
            agent = agent_class(stated, config, tuple(range(count)), 10, place)
            found[f"{backend}, {count} learners"] = round(step_rate(agent, count, 10, place, seconds) * count)
    return found


def step_rate(agent: Any, learners: int, num_envs: int, device: torch.device, seconds: float) -> float:
    """Return environment steps per second of each learner, after steps that are not timed."""
    envs = make_vec(ENV, num_envs * learners)
    steps = agent.learn(envs, 10**9, *[lambda *_: None] * learners)
    for _ in range(20):
        next(steps)
    synchronize(device)
    start = perf_counter()
    before = agent.steps
    while perf_counter() - start < seconds:
        next(steps)
    synchronize(device)
    rate: float = (agent.steps - before) / (perf_counter() - start)
    envs.close()
    return rate


def massive_rates(device: torch.device, seconds: float, num_envs: int) -> Cell:
    """Return environment steps per second of PD-MORL's preset "massive", environments included, by device."""
    stated = problem(ENV)
    agent_class = find_agent("pd-morl", stated.action_space)
    found: Cell = {}
    for precision in ("float32", "tf32") if device.type == "cuda" else ("float32",):
        config = agent_class.config_class.preset(
            "massive",
            hidden_sizes=(256, 256),
            random_exploration_steps=0,
            learning_starts=num_envs,
            key_update_steps=10**9,
            precision=precision,
            backend="cuda-graph" if device.type == "cuda" else "auto",
        )
        rate = step_rate(agent_class(stated, config, 0, num_envs, device), 1, num_envs, device, seconds)
        found[f"{device.type}, {precision}, steps/s"] = round(rate)
        found[f"{device.type}, {precision}, updates/s"] = round(rate * config.updates_per_step, 1)
    return found


def time_to_hypervolume(env: str, device: torch.device, total_steps: int) -> Cell:
    """Return seconds and hypervolume of a whole run, evaluations and files included, by device."""
    found: Cell = {}
    for backend, place in (("auto", "cpu"), *([("cuda-graph", "cuda")] if device.type == "cuda" else [])):
        with TemporaryDirectory() as folder:
            start = perf_counter()
            config = {"backend": backend}
            run_dir = Path(folder) / "run"
            run = morl.train(
                "pd-morl",
                env,
                total_steps=total_steps,
                device=place,
                config=config,
                run_dir=run_dir,
                evaluate_every=total_steps,
                evaluation_divisions=20,
                loggers=[],
            )
            found[f"{place}, seconds"] = round(perf_counter() - start, 1)
            found[f"{place}, hypervolume"] = run.front.indicators["hypervolume"]
    return found


# --- The script -------------------------------------------------------------------------------------------------------


def jobs(device: torch.device, quick: bool) -> list[tuple[str, Callable[[], Cell]]]:
    """Return what is measured, the most telling first."""
    seconds = 0.05 if quick else 0.9
    learners = (1,) if quick else (1, 6, 24)
    found: list[tuple[str, Callable[[], Cell]]] = [("machine", lambda: floors(device, seconds))]
    sizes = QUICK_SIZES if quick else SIZES
    found += [(str(size), lambda size=size: update_rates(size, device, seconds)) for size in sizes]
    whole = (f"{ENV}, 256-256, steps/s", lambda: run_rates(device, 0.2 if quick else 4.0, learners))
    found.insert(4, whole)
    envs = 64 if quick else 1024
    found.insert(5, (f"{ENV}, massive, {envs} environments", lambda: massive_rates(device, 4 * seconds, envs)))
    env, steps = ("deep-sea-treasure-v0", 400) if quick else (ENV, 20_000)
    found.append((f"{env}, {steps} steps", lambda: time_to_hypervolume(env, device, steps)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="end between two cells after so many minutes")
    parser.add_argument("--output", type=Path, help="append the lines to this file as well")
    parser.add_argument("--quick", action="store_true", help="small cells, to try the script")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("no GPU here: eager updates run on the CPU, and there are no graphs", file=sys.stderr)
    deadline = monotonic() + 60.0 * arguments.minutes
    for name, job in jobs(device, arguments.quick):
        if monotonic() > deadline:
            print(f"stopped before {name}: {arguments.minutes} minutes are over", file=sys.stderr)
            break
        start = monotonic()
        try:
            found = job()
        except Exception as error:  # the next cell may well work
            found = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
        line = json.dumps({"what": name, **found, "seconds": round(monotonic() - start, 1)})
        print(line, flush=True)
        if arguments.output is not None:
            with arguments.output.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    with prepared_processor():
        main()
