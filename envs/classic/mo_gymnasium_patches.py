"""Faults of mo-gymnasium 1.3.2, each repaired by one small wrapper. docs/design/mo_gymnasium.md lists them.

`EnvEntry.repairs` says which id gets which.
"""

from typing import Any, Protocol, cast

import gymnasium
import numpy as np

from morl.envs.core.types import Action, Array, Env, Info, Observation, Options, Step


class _Distribution(Protocol):
    """The two members that minecart uses of SciPy's frozen normal distribution."""

    args: tuple[float, float]

    def rvs(self) -> float: ...


class _Mine(Protocol):
    distributions: list[_Distribution]


class _Minecart(Protocol):
    """The members of mo-gymnasium's minecart that the repairs use."""

    mines: list[_Mine]
    np_random: np.random.Generator

    def render_pygame(self) -> None: ...

    def get_state(self) -> Array: ...


class SeededOre(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Minecart draws its ore from NumPy's global generator, so `reset(seed=)` has no effect. Draw from `np_random`."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.repair()

    def repair(self) -> None:
        """Give every mine our distributions."""
        minecart = cast("_Minecart", self.unwrapped)
        for mine in minecart.mines:
            mine.distributions = [_Ore(minecart, distribution.args) for distribution in mine.distributions]

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Repair again after unpickling, which builds minecart anew."""
        self.__dict__.update(attributes)
        self.repair()


class _Ore:
    """A normal distribution that draws from the environment's generator; `args` are mean and standard deviation."""

    def __init__(self, env: _Minecart, args: tuple[float, float]) -> None:
        self.env = env
        mean, deviation = args
        self.args = (mean, deviation)

    def rvs(self) -> float:
        mean, deviation = self.args
        return mean + deviation * float(self.env.np_random.standard_normal())


class BottlesAsDeclared(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Breakable-bottles returns a list as its reward, and counts of dropped bottles where its space declares flags.

    Return float64 [objective] and flags.
    """

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Return the first observation with flags."""
        observation, info = self.env.reset(seed=seed, options=options)
        return _flagged(observation), info

    def step(self, action: Action) -> Step:
        """Return the step with flags and the reward as an array."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _flagged(observation), np.asarray(reward, dtype=np.float64), terminated, truncated, info


def _flagged(observation: dict[str, Any]) -> dict[str, Any]:
    return {**observation, "bottles_dropped": (np.array(observation["bottles_dropped"]) > 0).astype(np.int8)}


class CopiedObservation(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Some environments return the array in which they keep their state (or pixels); return a copy of it."""

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Return a copy of the first observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        return np.array(observation), info

    def step(self, action: Action) -> Step:
        """Return the step with a copy of the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return np.array(observation), cast("Array", reward), terminated, truncated, info


class FixedPictures(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Minecart's pictures of its mines are turned by random angles from NumPy's global generator: fix the angles.

    And its first picture of an episode is drawn before the cart is put home, so it shows the end of the one before.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.repair()

    def repair(self) -> None:
        """Draw the pictures, which happens once, with the generator in a fixed state."""
        outside = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        self.env.reset()
        np.random.set_state(outside)  # noqa: NPY002

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Return a picture of the start of the episode."""
        _, info = self.env.reset(seed=seed, options=options)
        minecart = cast("_Minecart", self.unwrapped)
        minecart.render_pygame()
        return minecart.get_state(), info

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Repair again after unpickling, which builds minecart anew."""
        self.__dict__.update(attributes)
        self.repair()


class TruncatedAtLimit(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Fishwood ends at its 200th step with both flags; a clock that the agent cannot see is a time limit: truncated."""

    def step(self, action: Action) -> Step:
        """Return the step with `terminated` off where it only repeats `truncated`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, cast("Array", reward), terminated and not truncated, truncated, info


class RedrawnAfterQuit(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Closing any environment that draws quits pygame, and Deep Sea Treasure's font is lost (MO-Gymnasium #114).

    A picture that fails for that is drawn once more, on a new window.
    """

    def render(self) -> Any:
        """Return the picture."""
        import pygame

        try:
            return self.env.render()
        except pygame.error:
            cast("_Drawn", self.unwrapped).window = None
            return self.env.render()


class _Drawn(Protocol):
    """The member of mo-gymnasium's Deep Sea Treasure that the repair uses; None: all is loaded anew."""

    window: object


def redrawn_after_quit(env: Env) -> Env:
    """Return an environment that goes on drawing after pygame was quit; as it is, where it does not draw."""
    return env if env.render_mode is None else RedrawnAfterQuit(env)
