"""What the parts know of each other: a problem, an agent, a policy. Protocols and plain records, nothing that runs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.vector import VectorEnv

FloatArray: TypeAlias = NDArray[np.float64]
IndexArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Observations: TypeAlias = Any
"""A batch of observations as a vector environment gives it: an array [env, ...], or a dict or tuple of such arrays."""
Actions: TypeAlias = NDArray[Any]
"""A batch of actions [env, ...] of the environment's action space."""
Infos: TypeAlias = Mapping[str, Any]
"""The infos of a vector environment's step."""
StateDict: TypeAlias = Mapping[str, Any]
"""Plain data that a checkpoint holds: tensors, arrays, numbers, strings, None, and lists and dicts of them."""
VectorEnvironment: TypeAlias = "VectorEnv[Any, Any, Any]"
"""A Gymnasium vector environment with rewards [env, objective]."""

KnownFront = Callable[[float], NDArray[np.float64]]
"""Discount -> the true Pareto front [n, objective]."""


class Evaluate(Protocol):
    """What the runner hands to `Agent.learn`, and counts the steps of."""

    def __call__(
        self, preferences: NDArray[np.float64], episodes: int, policies: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean discounted returns [n, objective] of `policies` [n] (0 by default) under `preferences`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """All that an agent is told about an environment: its spaces and what its rewards mean.

    `reference_point` is the worst return that still counts in the hypervolume, in the units of returns discounted by
    `discount`; `known_front` is None where the true front is not known.
    """

    id: str
    observation_space: "gymnasium.Space[Any]"
    action_space: "gymnasium.Space[Any]"
    objectives: tuple[str, ...]
    discount: float
    reference_point: tuple[float, ...] | None = None
    known_front: KnownFront | None = None

    @property
    def num_objectives(self) -> int:
        """Return the length of the reward vector."""
        return len(self.objectives)


class Agent(Protocol):
    """What the runner needs of an agent. Agents satisfy it; they do not inherit from it.

    All state lives on `self`, so that a run is resumed by a new `learn` generator over the loaded state, bit for bit.
    """

    steps: int
    """Environment steps taken in training so far."""
    pretraining_steps: int
    """Environment steps taken before training proper."""
    updates: int
    """Gradient updates so far."""

    def learn(self, envs: "VectorEnv[Any, Any, Any]", total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Train until `steps` reaches `total_steps`; yield wherever the state is consistent and can be saved."""
        ...

    def act(self, observations: Any, preferences: NDArray[np.float64], policies: NDArray[np.int64]) -> NDArray[Any]:
        """Return the deterministic actions [env, ...] of `policies` [env] under `preferences` [env, objective]."""
        ...

    def policies(self, preferences: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what the front should show: policy numbers [n] and the preference each acts for [n, objective].

        `preferences` is the evaluation grid. A conditioned agent offers policy 0 once for each of them; a population
        offers each member once, with its own preference (NaN where it has none).
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Return what tells how learning goes; called only when it is logged."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that exact resuming needs, as tensors, arrays, numbers, strings, lists and dicts of them."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        ...

    def reset_episodes(self) -> None:
        """Begin new episodes at the next step: called where the environment's state could not be saved."""
        ...

    def export_policies(self) -> dict[int, dict[str, Any]]:
        """Return what acting needs, by policy number: small, without replay or optimizer."""
        ...

    def import_policies(self, policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Take over policies that `export_policies` returned; enough to act, not to go on learning."""
        ...
