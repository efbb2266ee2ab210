"""Epsilon-mixing: random actions among those of policies that collect experience."""

import numpy as np
from numpy.typing import ArrayLike

from morl.agents.morl_d.config import Config
from morl.protocols import FloatArray


class ExplorationSchedule:
    """Probability of a random action: falls linearly from start to end over `exploration_steps`.

    Args:
        config: settings.
        greedy: whether the solver's own policy explores nothing (DQN): its default schedule falls from 1 to 0.05; that
            of other solvers is 0 throughout.
    """

    def __init__(self, config: Config, greedy: bool) -> None:
        default_start = 1.0 if greedy else 0.0
        default_end = 0.05 if greedy else 0.0
        self.start = default_start if config.exploration_start is None else config.exploration_start
        self.end = default_end if config.exploration_end is None else config.exploration_end
        self.steps = config.exploration_steps
        self.random_steps = config.random_exploration_steps

    def decayed(self, steps: ArrayLike) -> FloatArray:
        """Return the scheduled probability [n] after `steps` [n], regardless of the random steps at the start."""
        progress = np.minimum(1.0, np.asarray(steps) / self.steps)
        return np.asarray(self.start + progress * (self.end - self.start), dtype=np.float64)

    def probability(self, steps: ArrayLike) -> FloatArray:
        """Return the probability [n] of a random action after `steps` [n]; 1 for the random steps at the start."""
        return np.where(np.asarray(steps) < self.random_steps, 1.0, self.decayed(steps))
