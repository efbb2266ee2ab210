"""Several seeds trained as one batch: one agent with a learner for each seed, a run folder for each learner."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Member:
    """One learner of an agent that trains several, seen as an agent of its own (`morl.protocols.Agent`).

    Args:
        together: the agent; its methods take the number of a learner.
        learner: which one this is.
    """

    def __init__(self, together: Any, learner: int) -> None:
        self.together, self.learner = together, learner

    @property
    def steps(self) -> int:
        """Return the environment steps of this learner in training."""
        return int(self.together.steps)

    @property
    def pretraining_steps(self) -> int:
        """Return the environment steps of this learner before training proper."""
        return int(self.together.pretraining_steps)

    @property
    def updates(self) -> int:
        """Return the gradient updates of this learner."""
        return int(self.together.updates)

    def act(self, observations: Any, preferences: NDArray[np.float64], policies: NDArray[np.int64]) -> NDArray[Any]:
        """Return the deterministic actions [env, ...] of this learner."""
        actions: NDArray[Any] = self.together.act(observations, preferences, policies, self.learner)
        return actions

    def policies(self, preferences: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what the front should show."""
        numbers: tuple[NDArray[np.int64], NDArray[np.float64]] = self.together.policies(preferences)
        return numbers

    def metrics(self) -> dict[str, float]:
        """Return what tells how this learner does."""
        return dict(self.together.metrics(self.learner))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this learner, as a run of its own would have it."""
        return dict(self.together.state_dict(self.learner))

    def export_policies(self) -> dict[int, Mapping[str, Any]]:
        """Return what acting needs."""
        return dict(self.together.export_policies(self.learner))
