"""Random actions, mixed into those that policies choose while they collect experience."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.agents.morl_d.config import Config

Rate = Callable[[Any], NDArray[np.float64]]
"""How many steps a policy knows of [n] -> probability of a random action [n]."""


def exploration_rate(config: Config, greedy: bool) -> Rate:
    """Return the schedule of random actions: from start to end, linearly, over `exploration_steps`.

    Args:
        config: settings.
        greedy: whether the policy itself explores nothing (DQN): then, where nothing is given, 1 falls to 0.05.
    """
    first, last = (1.0, 0.05) if greedy else (0.0, 0.0)
    start = first if config.exploration_start is None else config.exploration_start
    end = last if config.exploration_end is None else config.exploration_end

    def rate(known: Any) -> NDArray[np.float64]:
        done = np.minimum(1.0, np.asarray(known) / config.exploration_steps)
        return np.asarray(start + done * (end - start), dtype=np.float64)

    return rate
