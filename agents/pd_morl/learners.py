"""The learner axis: several seeds of one agent train as one batch.

Every learner has a seed, environments, random streams and rows of each tensor of its own, so that its run does not
depend on the others. Arrays over environments hold one learner after the other, [learner * env]; tensors have an axis
for each, [learner, env].
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.staging import Staging
from morl.protocols import FloatArray, Infos, Observations, StateDict, VectorEnvironment
from morl.seeding import derived_seed, stream

Number = TypeVar("Number", bound=np.generic)


class Learners:
    """The seeds of the learners, their environments and their streams of random numbers for exploration.

    Args:
        seeds: one for each learner; an integer is the seed of the only one.
        num_envs: environments of each learner.
        device: where tensors lie.
    """

    def __init__(self, seeds: int | Sequence[int], num_envs: int, device: torch.device) -> None:
        self.seeds = (seeds,) if isinstance(seeds, int) else tuple(seeds)
        self.num_envs = num_envs
        self.device = device
        self.staging = Staging(device)
        self._exploration = [stream(seed, "exploration") for seed in self.seeds]

    def __len__(self) -> int:
        """Return the number of learners."""
        return len(self.seeds)

    @property
    def total_envs(self) -> int:
        """Return the number of environments of all learners."""
        return len(self.seeds) * self.num_envs

    def envs(self, learner: int) -> slice:
        """Return the rows of a learner in arrays [learner * env, ...].

        Args:
            learner: number of the learner.
        """
        return rows(learner, self.num_envs)

    def env_levels(self) -> FloatArray:
        """Return a number in [0, 1) [learner * env] for each environment, evenly spread for how much it explores.

        Neighboring environments have preferences that lie close together; their numbers, the fractional parts of
        multiples of the golden ratio, lie far apart, so that all preferences are explored with all of them.
        """
        levels = np.arange(1, self.num_envs + 1) * ((np.sqrt(5.0) - 1.0) / 2.0) % 1.0
        return np.tile(levels, len(self))

    def derived_seeds(self, name: str, *keys: int) -> list[int]:
        """Return a seed for a part of each learner (`morl.seeding.derived_seed`).

        Args:
            name: of the part.
            keys: numbers that tell apart parts of the same name.
        """
        return [derived_seed(seed, name, *keys) for seed in self.seeds]

    def reset(self, envs: VectorEnvironment, name: str, step: int) -> tuple[Observations, Infos]:
        """Reset all environments and return the first observations and their infos.

        Environment j of a learner is seeded with s + j, where s is the learner's derived seed.

        Args:
            envs: [learner * env].
            name: of the derived seed.
            step: environment steps so far; resets at different steps are seeded differently.
        """
        seeds = self.derived_seeds(name, step)
        if len(seeds) == 1:
            return envs.reset(seed=seeds[0])
        env_seeds: Any = [seed + env for seed in seeds for env in range(self.num_envs)]
        return envs.reset(seed=env_seeds)

    def split(self, array: NDArray[Number]) -> NDArray[Number]:
        """Return an array [learner * env, ...] as [learner, env, ...].

        Args:
            array: [learner * env, ...].
        """
        return array.reshape((len(self), self.num_envs, *array.shape[1:]))

    def uniform(self, *shape: int) -> FloatArray:
        """Return uniform numbers in [0, 1) [learner * env, *shape], each learner's from its own stream.

        Args:
            shape: numbers of each environment.
        """
        return np.concatenate([generator.random((self.num_envs, *shape)) for generator in self._exploration])

    def normal(self, *shape: int) -> FloatArray:
        """Return standard normal numbers [learner * env, *shape], each learner's from its own stream.

        Args:
            shape: numbers of each environment.
        """
        return np.concatenate([generator.standard_normal((self.num_envs, *shape)) for generator in self._exploration])

    def uniform_of(self, learner: int) -> FloatArray:
        """Return uniform numbers in [0, 1) [env] from the stream of one learner.

        Args:
            learner: number of the learner.
        """
        return self._exploration[learner].random(self.num_envs)

    def rows_of(self, learner: int, tensors: Mapping[str, Tensor], count: int = 1) -> dict[str, Tensor]:
        """Return one learner's rows of tensors by name; views, not copies.

        Args:
            learner: number of the learner.
            tensors: name -> [learner * count, ...].
            count: rows of each learner.
        """
        return {name: tensor[rows(learner, count)] for name, tensor in tensors.items()}

    def load_rows(self, learner: int, tensors: dict[str, Tensor], saved: Mapping[str, Tensor], count: int = 1) -> None:
        """Restore one learner's rows of tensors in place; missing tensors are created on the device.

        Args:
            learner: number of the learner.
            tensors: name -> [learner * count, ...].
            saved: result of `rows_of`.
            count: rows of each learner.
        """
        for name, values in saved.items():
            if name not in tensors:
                shape = (len(self) * count, *values.shape[1:])
                tensors[name] = values.new_zeros(shape, device=self.device)
            tensors[name][rows(learner, count)] = values

    def state_dict(self, learner: int) -> StateDict:
        """Return the state of one learner's random stream.

        Args:
            learner: number of the learner.
        """
        return self._exploration[learner].bit_generator.state

    def load_state_dict(self, state: StateDict, learner: int) -> None:
        """Restore the state of one learner's random stream.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        self._exploration[learner].bit_generator.state = state


def rows(learner: int, count: int = 1) -> slice:
    """Return the rows of one learner in a tensor [learner * count, ...].

    Args:
        learner: number of the learner.
        count: rows of each learner.
    """
    return slice(learner * count, (learner + 1) * count)
