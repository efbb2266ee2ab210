"""What the training benchmarks share: systems that take turns in one process, and the table of their ratios."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, process_time
from typing import Any

import gymnasium

Advance = Callable[[int], tuple[float, float]]  # steps -> seconds of the clock and of the processor


@dataclass
class System:
    """Something that trains: its name, what is worth knowing of it, how to go on, and what was measured."""

    name: str
    note: str
    advance: Advance
    wall: list[float] = field(default_factory=list)  # [round] seconds per step
    processor: list[float] = field(default_factory=list)


class Clock(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes the time at the beginning of every step, so that only whole steps of a peer's loop are counted."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.readings: list[tuple[float, float]] = []

    def step(self, action: object) -> object:
        """Return what the environment returns."""
        self.readings.append((perf_counter(), process_time()))
        return self.env.step(action)

    def elapsed(self) -> tuple[float, float]:
        """Return the seconds of the clock and of the processor from the first step noted to the last."""
        (wall, processor), (wall_end, processor_end) = self.readings[0], self.readings[-1]
        return wall_end - wall, processor_end - processor


def training(agent: object, loop: object, environments: int) -> Advance:
    """Return how to go on with one of our agents; every environment step must have made one update."""

    def advance(steps: int) -> tuple[float, float]:
        before = agent.steps, agent.updates
        wall = perf_counter()
        processor = process_time()
        for _ in range(steps // environments):
            next(loop)
        wall = perf_counter() - wall
        processor = process_time() - processor
        assert (agent.steps, agent.updates) == (before[0] + steps, before[1] + steps)
        return wall, processor

    return advance


def take_turns(systems: Sequence[System], rounds: int, steps: int) -> None:
    """Lets all systems train `steps` steps in turn, back and forth, after some untimed ones."""
    for system in systems:
        system.advance(steps // 2 // 10 * 10)  # the first updates, untimed
    for turn in range(rounds):
        for system in systems if turn % 2 == 0 else systems[::-1]:
            wall, processor = system.advance(steps)
            system.wall.append(wall / steps)
            system.processor.append(processor / steps)


def ratio(reference: System, system: System) -> tuple[str, str]:
    """Return how many times faster a system is, with its range over rounds, and the same for processor time."""
    ratios = [theirs / mine for theirs, mine in zip(reference.wall, system.wall, strict=True)]
    of_processor = median(reference.processor) / median(system.processor)
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", f"{of_processor:.2f}"
