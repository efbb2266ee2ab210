"""Several vector environments as one: their lanes side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from morl.envs.core.arguments import lane_seeds
from morl.envs.core.contract import VectorEnvironment


class ConcatVectorEnv(VectorEnvironment):
    """All lanes of some vector environments of the same kind, in their order. Each part stays usable on its own.

    Args:
        parts: at least one; spaces and objectives of the first hold for all.
    """

    def __init__(self, parts: Sequence[VectorEnvironment]) -> None:
        first = parts[0]
        self.parts = tuple(parts)
        self.num_envs = sum(part.num_envs for part in parts)
        self.single_observation_space, self.single_action_space = (
            first.single_observation_space,
            first.single_action_space,
        )
        self.observation_space = batch_space(first.single_observation_space, self.num_envs)
        self.action_space = batch_space(first.single_action_space, self.num_envs)
        self.num_objectives, self.objectives, self.metadata = first.num_objectives, first.objectives, first.metadata
        self.spec = first.spec
        self._ends = np.cumsum([part.num_envs for part in parts])

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes; `seed` is a list of one seed for each lane, a number s for s + lane, or None."""
        if options and "reset_mask" in options:
            raise ValueError("options['reset_mask'] is for each part: lanes side by side are reset together")
        seeds = None if seed is None else lane_seeds(seed, self.num_envs)
        results = []
        for part, end in zip(self.parts, self._ends, strict=True):
            own: Any = None if seeds is None else seeds[end - part.num_envs : end]
            results.append(part.reset(seed=own, options=options))
        observations, infos = zip(*results, strict=True)
        return _joined(observations), self._merged(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every part with its share of the actions."""
        shares = np.split(np.asarray(actions), self._ends[:-1])
        results = [part.step(share) for part, share in zip(self.parts, shares, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*results, strict=True)
        flags = np.concatenate(terminated), np.concatenate(truncated)
        return _joined(observations), np.concatenate(rewards), *flags, self._merged(infos)

    def _merged(self, infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return infos of all lanes; a part that lacks an entry has zeros (None for objects) in its lanes."""
        merged: dict[str, Any] = {}
        for key in {key: None for info in infos for key in info}:
            example = next(info[key] for info in infos if key in info)
            if isinstance(example, Mapping):
                merged[key] = self._merged([info.get(key, {}) for info in infos])
            elif isinstance(example, np.ndarray) and example.ndim > 0:
                missing = None if example.dtype == object else 0
                merged[key] = np.concatenate(
                    [
                        info[key]
                        if key in info
                        else np.full((part.num_envs, *example.shape[1:]), missing, example.dtype)
                        for info, part in zip(infos, self.parts, strict=True)
                    ]
                )
        return merged

    def close(self, **kwargs: Any) -> None:
        """Close every part."""
        for part in self.parts:
            part.close(**kwargs)


def _joined(observations: Sequence[Any]) -> Any:
    match observations[0]:
        case dict() as first:
            return {key: _joined([observation[key] for observation in observations]) for key in first}
        case tuple():
            return tuple(_joined(part) for part in zip(*observations, strict=True))
        case _:
            return np.concatenate(observations)


def side_by_side(parts: Sequence[VectorEnvironment]) -> VectorEnv[Any, Any, Any]:
    """Return the lanes of all parts as one vector environment; a single part as it is."""
    return parts[0] if len(parts) == 1 else ConcatVectorEnv(parts)
