"""Simple policies that a learner on the task families should beat, and their mean returns.

A policy takes the batch environment and a generator, and returns an action for every lane.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.envs.backends.vector import make_vec
from morl.envs.families import mec_offloading as mec
from morl.envs.families import processor_sharing as sharing
from morl.envs.families.building import HOTTEST, NUMBER, TARGET
from morl.seeding import stream

Array = NDArray[Any]
Policy = Callable[[Any, np.random.Generator], Any]


class Measured(NamedTuple):
    """Mean undiscounted return [objective] over episodes, and its standard error."""

    mean: Array
    error: Array


def allowed(lanes: Any, generator: np.random.Generator) -> Any:
    """Any action that the mask allows, all equally likely."""
    mask = lanes._infos()["action_mask"]
    return np.argmax(generator.random(mask.shape) * mask, axis=1)


def anything(lanes: Any, generator: np.random.Generator) -> Any:
    """Any action, all equally likely."""
    return generator.integers(lanes.single_action_space.n, size=lanes.num_envs)


def cloud(lanes: Any, _: np.random.Generator) -> Any:
    """Everything to the cloud."""
    return np.zeros(lanes.num_envs, dtype=np.int64)


def random_edge(lanes: Any, generator: np.random.Generator) -> Any:
    """Any edge server."""
    return generator.integers(1, lanes.single_action_space.n, size=lanes.num_envs)


def least_backlog(lanes: Any, _: np.random.Generator) -> Any:
    """The server that would be done first with what it has."""
    tasks, servers, links = (lanes.lanes_state[name] for name in ("tasks", "servers", "links"))
    number = np.arange(tasks.shape[3])
    running = number < servers[:, :, sharing.RUNNING, None]
    left = np.where(running, tasks[:, :, sharing.TARGET] - servers[:, :, sharing.VIRTUAL, None], 0.0).sum(axis=2)
    coming = number < servers[:, :, sharing.COMING, None]
    left += np.where(coming, tasks[:, :, sharing.SIZE], 0.0).sum(axis=2)
    clock = links[:, :, mec.CLOCK]
    return np.argmin(np.divide(left, clock, out=np.full_like(left, np.inf), where=clock > 0), axis=1)


def myopic(preference: float) -> Policy:
    """The best immediate reward, delay times 0.01 `preference` plus energy times 50 (1 - `preference`)."""
    delay, energy = 0.01 * preference, 50.0 * (1.0 - preference)

    def choose(lanes: Any, _: np.random.Generator) -> Any:
        rewards = np.maximum(lanes.prospects(), -1e9)  # those of absent servers are -inf
        return np.argmax(delay * rewards[:, :, 0] + energy * rewards[:, :, 1], axis=1)

    return choose


def longest_queue(lanes: Any, _: np.random.Generator) -> Any:
    """The queue with the most customers."""
    return np.argmax(lanes.last_observations, axis=1)


def last_queue(lanes: Any, _: np.random.Generator) -> Any:
    """The queue with the highest arrival rate, always."""
    return np.full(lanes.num_envs, lanes.single_action_space.n - 1)


def off(lanes: Any, _: np.random.Generator) -> Any:
    """No heating or cooling."""
    return np.zeros(lanes.action_space.shape, dtype=np.float32)


def thermostat(gain: float) -> Policy:
    """Each unit at `gain` times its zone's distance from 20 degrees, at most full power."""

    def choose(lanes: Any, _: np.random.Generator) -> Any:
        return np.clip(gain * (TARGET - HOTTEST * lanes.last_observations[:, :NUMBER]), -1.0, 1.0)

    return choose


_OFFICE: dict[str, Policy] = {"off": off, "thermostat 0.05": thermostat(0.05), "thermostat 0.1": thermostat(0.1)}
_MYOPIC = {f"myopic {weight}": myopic(weight) for weight in (0.5, 0.9, 0.95, 0.975, 0.99, 1.0)}
YARDSTICKS: dict[str, dict[str, Policy]] = {
    "building-3d-v0": _OFFICE,
    "building-9d-v0": _OFFICE,
    "mec-offloading-v0": {
        "uniform": allowed,
        "all cloud": cloud,
        "random edge": random_edge,
        "least backlog": least_backlog,
        **_MYOPIC,
    },
    "server-queues-v0": {"uniform": anything, "longest queue": longest_queue, "last queue": last_queue},
}


def measure(env_id: str, policy: str, episodes: int = 300, seed: int = 0, **env_options: Any) -> Measured:
    """Return what `YARDSTICKS[env_id][policy]` earns in one episode of each of `episodes` lanes."""
    lanes = make_vec(env_id, episodes, seed=seed, **env_options)
    generator, choose = stream(seed, policy), YARDSTICKS[env_id][policy]
    lanes.reset()
    returns, over = np.zeros((episodes, lanes.num_objectives)), False
    while not over:
        _, rewards, terminated, truncated, _ = lanes.step(choose(lanes, generator))
        returns += rewards
        over = bool((terminated | truncated).all())
    return Measured(returns.mean(axis=0), returns.std(axis=0) / np.sqrt(episodes))
