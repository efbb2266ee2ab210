"""Simple policies that a learner on the task families should beat, and their mean returns.

A policy takes the batch environment and a generator, and returns an action for every environment [env, ...].
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from gymnasium.spaces import Discrete

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.vector import make_vec
from morl.envs.core.types import Array, EnvOption
from morl.envs.families import mec_offloading as mec
from morl.envs.families import processor_sharing as sharing
from morl.envs.families.building import HOTTEST, NUMBER, TARGET
from morl.seeding import stream

Kernel = TypeVar("Kernel", bound=KernelVectorEnv)
Policy: TypeAlias = Callable[[Kernel, np.random.Generator], Array]


class Measured(NamedTuple):
    """Mean undiscounted return [objective] over episodes, and its standard error."""

    mean: Array
    error: Array


def num_actions(envs: KernelVectorEnv) -> int:
    """Return the number of actions of an environment with a Discrete action space."""
    assert isinstance(envs.single_action_space, Discrete)
    return int(envs.single_action_space.n)


def allowed_action(envs: KernelVectorEnv, generator: np.random.Generator) -> Array:
    """Return any action that the mask allows, all equally likely."""
    mask = envs._infos()["action_mask"]
    return np.asarray(np.argmax(generator.random(mask.shape) * mask, axis=1))


def any_action(envs: KernelVectorEnv, generator: np.random.Generator) -> Array:
    """Return any action, all equally likely."""
    return np.asarray(generator.integers(num_actions(envs), size=envs.num_envs))


def cloud(envs: KernelVectorEnv, _: np.random.Generator) -> Array:
    """Send everything to the cloud."""
    return np.zeros(envs.num_envs, dtype=np.int64)


def random_edge(envs: KernelVectorEnv, generator: np.random.Generator) -> Array:
    """Send the task to any edge server."""
    return np.asarray(generator.integers(1, num_actions(envs), size=envs.num_envs))


def least_backlog(envs: mec.MecOffloadingKernel, _: np.random.Generator) -> Array:
    """Send the task to the server that would be done first with what it has."""
    tasks = envs.state.tasks
    servers = envs.state.servers
    number = np.arange(tasks.shape[3])
    running = number < servers[:, :, sharing.RUNNING, None]
    left = np.where(running, tasks[:, :, sharing.TARGET] - servers[:, :, sharing.VIRTUAL, None], 0.0).sum(axis=2)
    coming = number < servers[:, :, sharing.COMING, None]
    left += np.where(coming, tasks[:, :, sharing.SIZE], 0.0).sum(axis=2)
    clock = envs.state.links[:, :, mec.CLOCK]
    return np.asarray(np.argmin(np.divide(left, clock, out=np.full_like(left, np.inf), where=clock > 0), axis=1))


def myopic(preference: float) -> Policy[mec.MecOffloadingKernel]:
    """Return the policy of the best immediate reward: 0.01 `preference` delay + 50 (1 - `preference`) energy."""
    delay = 0.01 * preference
    energy = 50.0 * (1.0 - preference)

    def choose(envs: mec.MecOffloadingKernel, _: np.random.Generator) -> Array:
        rewards = np.maximum(envs.prospects(), -1e9)  # those of absent servers are -inf
        return np.asarray(np.argmax(delay * rewards[:, :, 0] + energy * rewards[:, :, 1], axis=1))

    return choose


def longest_queue(envs: KernelVectorEnv, _: np.random.Generator) -> Array:
    """Serve the queue with the most customers."""
    return np.asarray(np.argmax(envs.last_observations, axis=1))


def last_queue(envs: KernelVectorEnv, _: np.random.Generator) -> Array:
    """Serve the queue with the highest arrival rate, always."""
    return np.full(envs.num_envs, num_actions(envs) - 1)


def off(envs: KernelVectorEnv, _: np.random.Generator) -> Array:
    """Neither heat nor cool."""
    return np.zeros(envs.action_space.shape or (), dtype=np.float32)


def thermostat(gain: float) -> Policy[KernelVectorEnv]:
    """Return the policy that runs each unit at `gain` times its zone's distance from 20 degrees, at most full power."""

    def choose(envs: KernelVectorEnv, _: np.random.Generator) -> Array:
        return np.asarray(np.clip(gain * (TARGET - HOTTEST * envs.last_observations[:, :NUMBER]), -1.0, 1.0))

    return choose


OFFICE = {"off": off, "thermostat 0.05": thermostat(0.05), "thermostat 0.1": thermostat(0.1)}
MYOPIC = {f"myopic {weight}": myopic(weight) for weight in (0.5, 0.9, 0.95, 0.975, 0.99, 1.0)}
BASELINES: dict[str, dict[str, Callable[..., Array]]] = {
    "building-3d-v0": {**OFFICE},
    "building-9d-v0": {**OFFICE},
    "mec-offloading-v0": {
        "uniform": allowed_action,
        "all cloud": cloud,
        "random edge": random_edge,
        "least backlog": least_backlog,
        **MYOPIC,
    },
    "server-queues-v0": {"uniform": any_action, "longest queue": longest_queue, "last queue": last_queue},
}


def measure(env_id: str, policy: str, episodes: int = 300, seed: int = 0, **env_options: EnvOption) -> Measured:
    """Return the mean return of a baseline over the first episode of each of `episodes` environments.

    Args:
        env_id: a key of `BASELINES`.
        policy: a key of `BASELINES[env_id]`.
        episodes: number of environments.
        seed: of the environments and of the policy.
        env_options: passed to the environment's constructor.
    """
    envs = make_vec(env_id, episodes, seed=seed, **env_options)
    generator = stream(seed, policy)
    choose = BASELINES[env_id][policy]
    envs.reset()
    returns = np.zeros((episodes, envs.num_objectives))
    all_ended = False
    while not all_ended:
        _, rewards, terminated, truncated, _ = envs.step(choose(envs, generator))
        returns += rewards
        all_ended = bool((terminated | truncated).all())
    return Measured(returns.mean(axis=0), returns.std(axis=0) / np.sqrt(episodes))
