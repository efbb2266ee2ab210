"""Learning from images against learning from vectors: hypervolume of the same game, seen in several ways.

    python benchmarks/images.py                                        all agents, both games, three seeds: many hours
    python benchmarks/images.py --games treasure --agents pd-morl --seeds 0 --steps 60000
    python benchmarks/images.py --table                                what is finished, without training
    python benchmarks/images.py --convolutions                         grouped convolutions against one for each policy

Each row has the hypervolume of a run, its share of that of the vector run of the same agent, settings, seed and number
of steps, the training step from which on it has 90 % of the final hypervolume of the vectors, seconds, and the largest
memory of its process. Games: Deep Sea Treasure (11 x 11 pixels) and Minecart (480 x 480 pixels, shrunk to 40 x 40). An
image of Minecart does not show how fast the cart drives; a third view, vectors without that number, says what this
costs by itself.

Run folders are kept in --folder: finished runs are not repeated and stopped ones are resumed.
"""

import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
import tyro
from _runs import is_finished
from numpy.typing import NDArray

import morl
from morl.envs import make, register, specs
from morl.learning.image_networks import convolve, convolve_grouped
from morl.learning.types import Convolution, ImageShape
from morl.pareto import hypervolume

SHARE = 0.9
MEASURED = "images.json"
"""In the run folder: hypervolumes, steps, seconds and memory of the finished run."""
WITHOUT_SPEED = "benchmark/minecart-without-speed-v0"
SPEED = 2
"""Column of minecart's vectors."""


class Game(NamedTuple):
    """A game that can be seen in several ways.

    Attributes:
        views: name of a view -> environment; "vector" is what the others are compared with.
        image_settings: of the agent, for the view "image" alone.
        reference: of the hypervolume.
        steps: default number of environment steps.
        settings: of a run, beside the agent's.
        agents: agent, or agent@variant -> its settings.
    """

    views: dict[str, str]
    image_settings: dict[str, Any]
    reference: tuple[float, ...]
    steps: int
    settings: dict[str, Any]
    agents: dict[str, dict[str, Any]]


MINECART: dict[str, Any] = {
    "initial_steps": 600_000,
    "samples_per_update": 1024,
    "minibatches": 8,
    "epochs": 6,
    "learning_rate": 1e-3,
    "entropy_weight": 0.03,
    "snapshot_updates": 24,
    "extension_snapshot_updates": 24,
    "snapshot_episodes": 1,
}
"""Settings of C-MORL."""
GAMES = {
    "treasure": Game(
        views={"vector": "deep-sea-treasure-v0", "image": "images/deep-sea-treasure-v0"},
        image_settings={},
        reference=(0.0, -19.0),
        steps=60_000,
        settings={
            "num_envs": 64,
            "evaluate_every": 6_000,
            "evaluation_divisions": 100,
            "evaluation_episodes": 1,
            "reward_units": "environment",
        },
        agents={
            "pd-morl": {
                "target_action": "paper",
                "critics": 2,
                "hidden_sizes": [128, 128],
                "batch_size": 256,
                "updates_per_step": 0.1,
                "learning_rate": 1e-3,
                "tau": 0.03,
                "buffer_size": 100_000,
                "random_exploration_steps": 5_000,
                "learning_starts": 1_000,
                "exploration_steps": 50_000,
                "exploration_end": 0.2,
            },
            "c-morl": {"initial_steps": 40_000, "samples_per_update": 512, "learning_rate": 1e-3},
            "morl-d": {
                "networks": "conditioned",
                "weights": "corners",
                "adaptation": "corner-weights",
                "replay": "shared",
                "archive": "convex",
                "hidden_sizes": [128, 128],
                "batch_size": 32,
                "updates_per_step": 0.5,
                "exchange_every": 6_000,
                "evaluation_episodes": 1,
                "buffer_size": 100_000,
                "exploration_steps": 40_000,
            },
        },
    ),
    "minecart": Game(
        views={"vector": "minecart-v0", "vector without speed": WITHOUT_SPEED, "image": "minecart-rgb-v0"},
        image_settings={"image_size": 40},
        reference=(-1.0, -1.0, -200.0),
        steps=600_000,
        settings={
            "num_envs": 72,
            "evaluate_every": 300_000,
            "evaluation_divisions": 2,
            "evaluation_episodes": 3,
            "reward_units": "environment",
        },
        agents={
            "c-morl": MINECART,
            "c-morl@memory": {**MINECART, "memory": "gru"},
        },
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Which runs to make."""

    games: list[str] = field(default_factory=lambda: list(GAMES))
    agents: list[str] = field(default_factory=lambda: ["pd-morl", "c-morl", "c-morl@memory", "morl-d"])
    """Names of agents, or name@variant."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    steps: int | None = None
    """Environment steps; default: those of the game."""
    folder: Path = Path("runs/images")
    """Where run folders are kept."""
    table: bool = False
    """Train nothing; print the table of the runs that are finished."""
    convolutions: bool = False
    """Train nothing; time convolutions."""


class Job(NamedTuple):
    """One run."""

    game: str
    agent: str
    view: str
    seed: int
    steps: int
    folder: str

    @property
    def run_dir(self) -> Path:
        """Return the run folder."""
        view = self.view.replace(" ", "-")
        return Path(self.folder) / self.game / self.agent / view / f"steps-{self.steps}" / f"seed-{self.seed}"


def measured(job: Job) -> dict[str, Any] | None:
    """Return what a finished run has measured; None where it is not finished."""
    file = job.run_dir / MEASURED
    return json.loads(file.read_text()) if file.is_file() else None


class _WithoutSpeed(gymnasium.ObservationWrapper[NDArray[np.float32], int, NDArray[np.float32]]):
    """Minecart, whose vectors have a zero in the place of the cart's speed."""

    def observation(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what an image would show."""
        hidden = observation.copy()
        hidden[SPEED] = 0.0
        return hidden


def minecart_without_speed(render_mode: str | None = None) -> gymnasium.Env[NDArray[np.float32], int]:
    """Return the environment of the third view."""
    return _WithoutSpeed(make("minecart-v0", render_mode=render_mode))


def register_views() -> None:
    """Register what the package does not have."""
    known = specs["minecart-v0"]
    if WITHOUT_SPEED not in specs:
        register(
            WITHOUT_SPEED,
            entry_point=minecart_without_speed,
            objectives=known.objectives,
            discount=known.discount,
            reference_point=known.reference_point,
        )


def run(job: Job) -> None:
    """Train or resume a run, and write what it measures."""
    register_views()
    game = GAMES[job.game]
    trained_here = not is_finished(job.run_dir)
    if not trained_here:
        found = morl.load(job.run_dir)
    elif (job.run_dir / "config.toml").is_file():
        found = morl.resume(job.run_dir, job.steps)
    else:
        found = morl.train(
            job.agent.partition("@")[0],
            game.views[job.view],
            total_steps=job.steps,
            seed=job.seed,
            run_dir=job.run_dir,
            config=game.agents[job.agent] | (game.image_settings if job.view == "image" else {}),
            progress=False,
            **game.settings,
        )
    lines = [json.loads(line) for line in (job.run_dir / "fronts.jsonl").read_text().splitlines()]
    curve = [(line["training_steps"], hypervolume(line["points"], game.reference)) for line in lines]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    result = {
        "hypervolume": hypervolume(found.front.points, game.reference),
        "curve": curve,
        "wall_seconds": json.loads((job.run_dir / "front.json").read_text())["wall_seconds"],
        "largest_memory_gib": memory if trained_here else None,
    }
    (job.run_dir / MEASURED).write_text(json.dumps(result))


def rows(jobs: dict[str, Job]) -> list[str]:
    """Return the lines of the table for the finished views of an agent; none while that of vectors is not finished."""
    vector = measured(jobs["vector"])
    if vector is None:
        return []
    wanted = SHARE * vector["hypervolume"]
    lines = []
    for view, job in jobs.items():
        found = measured(job)
        if found is None:
            continue
        memory = found["largest_memory_gib"]
        cells = [
            job.game,
            job.agent,
            str(job.seed),
            f"{job.steps:,}",
            view,
            f"{found['hypervolume']:.1f}",
            f"{found['hypervolume'] / vector['hypervolume']:.2f}",
            next((f"{step:,}" for step, value in found["curve"] if value >= wanted), "not reached"),
            f"{found['wall_seconds']:.0f}",
            "-" if memory is None else f"{memory:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


HEADER = (
    "| game | agent | seed | steps | view | hypervolume | share of vectors | 90 % at step | seconds | GiB |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


class Layer(NamedTuple):
    """A convolution to be timed, for 6 policies and batches of 32."""

    image: ImageShape
    convolution: Convolution


LAYERS = (
    Layer(ImageShape(3, 80, 80), Convolution(32, 8, 4)),
    Layer(ImageShape(32, 19, 19), Convolution(64, 4, 2)),
    Layer(ImageShape(3, 22, 22), Convolution(16, 4, 2)),
    Layer(ImageShape(3, 11, 11), Convolution(16, 3, 1)),
)


def time_convolutions(repetitions: int = 20) -> None:
    """Print the milliseconds of forward and backward of one grouped convolution, and of one for each policy."""
    torch.set_num_threads(1)
    print("| image | filters | grouped, ms | one for each policy, ms | ratio |\n| --- | --- | --- | --- | --- |")
    for image, convolution in LAYERS:
        images = torch.randn((6, 32, *image))
        weights = torch.randn(6, convolution.filters, image.channels, convolution.size, convolution.size)
        biases = torch.zeros(6, convolution.filters)
        weights.requires_grad_()
        spent = {convolve_grouped: 0.0, convolve: 0.0}
        for repetition in range(repetitions + 2):
            for function in spent:  # in turn, so that other work on the machine hits both
                start = time.process_time()
                found = function(images, weights, biases, convolution.stride)
                torch.autograd.grad(found.square().sum(), weights)
                spent[function] += (time.process_time() - start) * (repetition >= 2)
        grouped, single = (1e3 * seconds / repetitions for seconds in spent.values())
        shape = f"{image.channels} x {image.height} x {image.width}"
        filters = f"{convolution.filters} of {convolution.size} x {convolution.size}, stride {convolution.stride}"
        print(f"| {shape} | {filters} | {grouped:.1f} | {single:.1f} | {grouped / single:.1f} |")


def main(arguments: Arguments) -> None:
    if arguments.convolutions:
        time_convolutions()
        return
    groups = [
        {
            view: Job(game, agent, view, seed, arguments.steps or GAMES[game].steps, str(arguments.folder))
            for view in GAMES[game].views
        }
        for game in arguments.games
        for seed in arguments.seeds
        for agent in arguments.agents
        if agent in GAMES[game].agents
    ]
    waiting = [job for group in groups for job in group.values() if measured(job) is None]
    if not arguments.table:
        for job in waiting:  # a process for each, so that its largest memory is its own
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                pool.submit(run, job).result()
            print("finished", job.run_dir, flush=True)
    print(HEADER)
    for group in groups:
        for line in rows(group):
            print(line)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
