"""An orchard: fruit that hangs longer is sweeter, and birds eat more of it."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from morl.envs import register
from morl.envs.core.types import Array, Info, Options, Step

DAYS = 8
WAIT, PICK = 0, 1


def harvest(day: int) -> NDArray[np.float64]:
    """Return [weight, sweetness] of fruit that is picked on a day."""
    share = day / (DAYS - 1)
    return np.array([1.0 - share**2, share])


class Orchard(gymnasium.Env[Array, int]):
    """Every day the choice: wait or pick. Observation: the day, from 0 to 1; nothing is left after eight days."""

    def __init__(self) -> None:
        self.observation_space = Box(0.0, 1.0, (1,), np.float32)
        self.action_space = Discrete(2)
        self.reward_space = Box(0.0, 1.0, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Array, Info]:
        """Start on the first day."""
        super().reset(seed=seed)
        self.day = 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: int) -> Step:
        """Wait or pick."""
        reward = harvest(self.day) if action == PICK else np.zeros(2)
        self.day += 1
        observation = np.array([self.day / DAYS], dtype=np.float32)
        return observation, reward, bool(action == PICK) or self.day == DAYS, False, {}


def true_front(discount: float) -> NDArray[np.float64]:
    """Return the front [point, objective]: one point for each day."""
    return np.array([discount**day * harvest(day) for day in range(DAYS)])


def register_envs() -> None:
    """Register the environment: morl calls this when it looks for an id that it does not know."""
    register(
        "orchard-v0",
        entry_point=Orchard,
        objectives=("weight", "sweetness"),
        reference_point=(-0.1, -0.1),
        discount=1.0,
        known_front=true_front,
    )
