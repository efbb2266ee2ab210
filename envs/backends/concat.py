"""Several vector environments as one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space

from morl.envs.core.arguments import env_seeds
from morl.envs.core.contract import MultiObjectiveVectorEnv
from morl.envs.core.types import ActionBatch, Info, ObservationBatch, Options, Seed, VectorStep


class ConcatVectorEnv(MultiObjectiveVectorEnv):
    """All environments of some vector environments of the same kind, in their order. Each part stays usable on its own.

    Args:
        parts: at least one; spaces and objectives of the first hold for all.
    """

    def __init__(self, parts: Sequence[MultiObjectiveVectorEnv]) -> None:
        first = parts[0]
        self.parts = tuple(parts)
        self.num_envs = sum(part.num_envs for part in parts)
        self.single_observation_space = first.single_observation_space
        self.single_action_space = first.single_action_space
        self.observation_space = batch_space(first.single_observation_space, self.num_envs)
        self.action_space = batch_space(first.single_action_space, self.num_envs)
        self.num_objectives = first.num_objectives
        self.objectives = first.objectives
        self.metadata = first.metadata
        self.spec = first.spec
        self._ends = np.cumsum([part.num_envs for part in parts])

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments; `seed` is a list of one seed for each, a number s for s + index, or None."""
        if options and "reset_mask" in options:
            raise ValueError("options['reset_mask'] is for each part: a ConcatVectorEnv resets all environments")
        seeds = None if seed is None else env_seeds(seed, self.num_envs)
        results = []
        for part, end in zip(self.parts, self._ends, strict=True):
            own = None if seeds is None else seeds[end - part.num_envs : end]
            results.append(part.reset(seed=own, options=options))  # type: ignore[arg-type] # Gymnasium's takes lists too
        return _joined([result[0] for result in results]), self._merged([result[1] for result in results])

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step every part with its share of the actions."""
        shares = np.split(np.asarray(actions), self._ends[:-1])
        results = [part.step(share) for part, share in zip(self.parts, shares, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*results, strict=True)
        return (
            _joined(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            self._merged(infos),
        )

    def _merged(self, infos: Sequence[Mapping[str, Any]]) -> Info:
        """Return infos of all environments; where a part lacks an entry, its rows are zeros (None for objects)."""
        merged: Info = {}
        for key in {key: None for info in infos for key in info}:
            example = next(info[key] for info in infos if key in info)
            if isinstance(example, Mapping):
                merged[key] = self._merged([info.get(key, {}) for info in infos])
            elif isinstance(example, np.ndarray) and example.ndim > 0:
                missing = None if example.dtype == object else 0
                rows = []
                for info, part in zip(infos, self.parts, strict=True):
                    shape = (part.num_envs, *example.shape[1:])
                    rows.append(info[key] if key in info else np.full(shape, missing, example.dtype))
                merged[key] = np.concatenate(rows)
        return merged

    def close(self, **kwargs: object) -> None:
        """Close every part."""
        for part in self.parts:
            part.close(**kwargs)


def _joined(observations: Sequence[ObservationBatch]) -> ObservationBatch:
    """Return the observations of all parts as one batch."""
    match observations[0]:
        case dict() as first:
            return {key: _joined([observation[key] for observation in observations]) for key in first}
        case tuple():
            return tuple(_joined(part) for part in zip(*observations, strict=True))
        case _:
            return np.concatenate(observations)


def concat_envs(parts: Sequence[MultiObjectiveVectorEnv]) -> MultiObjectiveVectorEnv:
    """Return the environments of all parts as one vector environment; a single part as it is."""
    return parts[0] if len(parts) == 1 else ConcatVectorEnv(parts)
