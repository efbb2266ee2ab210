"""A policy to act with: one preference, Stable-Baselines3's predict signature."""

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from morl.protocols import Agent


class Policy:
    """Acts for one preference.

    Attributes:
        preference: [objective] what was asked for, summing to one.
        conditioning: [objective] preference that the network is given; NaN where it takes none.
        policy_id: number of the policy file it comes from.
    """

    def __init__(
        self,
        agent: Agent,
        observation_space: gymnasium.Space[Any],
        preference: NDArray[np.float64],
        conditioning: NDArray[np.float64],
        policy_id: int,
    ) -> None:
        self.preference = preference
        self.conditioning = conditioning
        self.policy_id = policy_id
        self._agent = agent
        self._observation_space = observation_space

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        action_masks: Any = None,
    ) -> tuple[NDArray[Any], Any]:
        """Return the action (or actions, for a batch of observations) and the unchanged `state`.

        Args:
            observation: one observation of the environment's space, or a batch of them along a first axis.
            state: what the episode has paid so far, for agents that act on it: the discounted sum of rewards and
                the discount of the next one, [objective + 1] or a batch; nothing yet where not given. Passed through.
            episode_start: unused, as in Stable-Baselines3's policies without memory.
            deterministic: unused: these policies are deterministic.
            action_masks: [choice] or a batch, true where a choice is allowed, as in sb3-contrib; only for agents whose
                `act` takes masks.

        Raises:
            ValueError: the observation has the shape of neither.
        """
        del episode_start, deterministic
        batched = self._is_batch(observation)
        batch = observation if batched else _with_first_axis(observation)
        rows = _length(batch)
        preferences = np.broadcast_to(self.conditioning, (rows, len(self.conditioning)))
        arguments = [batch, preferences, np.full(rows, self.policy_id)]
        if "accrued" in inspect.signature(self._agent.act).parameters:
            nothing = np.append(np.zeros(preferences.shape[1]), 1.0)
            accrued = nothing if state is None else np.asarray(state, dtype=np.float64)
            arguments.append(np.broadcast_to(accrued, (rows, len(nothing))))
        extras = {} if action_masks is None else {"masks": np.atleast_2d(action_masks)}
        actions = self._agent.act(*arguments, **extras)
        return (actions if batched else actions[0]), state

    def _is_batch(self, observation: Any) -> bool:
        space, part = self._observation_space, observation
        while isinstance(space, spaces.Dict | spaces.Tuple):  # the first leaf decides
            key: Any = next(iter(space.spaces)) if isinstance(space, spaces.Dict) else 0
            if not isinstance(part, Mapping if isinstance(space, spaces.Dict) else tuple | list):
                raise ValueError(f"observation is {part!r:.100}, but must be of the space {space!r:.200}")
            space, part = space[key], part[key]
        shape, expected = np.shape(part), space.shape or ()
        if shape == expected:
            return False
        if shape[1:] == expected and len(shape) == len(expected) + 1:
            return True
        raise ValueError(f"observation has shape {shape}, but must be {expected}, or a batch (n, ...) of that shape")


def _with_first_axis(observation: Any) -> Any:
    match observation:
        case dict():
            return {key: _with_first_axis(part) for key, part in observation.items()}
        case tuple():
            return tuple(_with_first_axis(part) for part in observation)
        case _:
            return np.asarray(observation)[None]


def _length(batch: Any) -> int:
    while isinstance(batch, dict | tuple):
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(batch)
