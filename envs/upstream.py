"""Faults of mo-gymnasium 1.3.2, each repaired by one small wrapper. docs/environments.md lists them."""

from typing import Any

import gymnasium
import numpy as np

Env = gymnasium.Env[Any, Any]


class SeededOre(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Minecart draws its ore from NumPy's global generator, so `reset(seed=)` has no effect. Draw from `np_random`."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        for mine in env.unwrapped.mines:  # type: ignore[attr-defined]
            mine.distributions = [_Ore(env.unwrapped, *frozen.args) for frozen in mine.distributions]


class _Ore:
    """A normal distribution with the two members that minecart uses of SciPy's frozen one."""

    def __init__(self, env: Env, mean: float, deviation: float) -> None:
        self.env = env
        self.args = (mean, deviation)

    def rvs(self) -> float:
        mean, deviation = self.args
        return mean + deviation * float(self.env.np_random.standard_normal())


class ArrayReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Breakable-bottles returns its reward as a list; return float64 [objective]."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the step with the reward as an array."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, np.asarray(reward, dtype=np.float64), terminated, truncated, info


class CopiedObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Some environments return the array in which they keep their state (or pixels); return a copy of it."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Return a copy of the first observation."""
        observation, info = self.env.reset(**kwargs)
        return np.array(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the step with a copy of the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return np.array(observation), reward, terminated, truncated, info


REPAIRS: dict[str, tuple[type[gymnasium.Wrapper[Any, Any, Any, Any]], ...]] = {
    "minecart-v0": (SeededOre,),
    "minecart-deterministic-v0": (SeededOre,),
    "minecart-rgb-v0": (SeededOre, CopiedObservation),
    "breakable-bottles-v0": (ArrayReward,),
    "water-reservoir-v0": (CopiedObservation,),
    "mo-mountaincarcontinuous-v0": (CopiedObservation,),
}


def repair(env_id: str, env: Env) -> Env:
    """Return the environment inside the wrappers that repair what is wrong with it."""
    for wrapper in REPAIRS.get(env_id, ()):
        env = wrapper(env)
    return env
