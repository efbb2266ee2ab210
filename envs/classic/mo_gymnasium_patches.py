"""Faults of mo-gymnasium 1.3.2, each repaired by one small wrapper. docs/environments.md lists them."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

Env = gymnasium.Env[Any, Any]


@contextlib.contextmanager
def quiet(env_id: str = "") -> Iterator[None]:
    """Silence two warnings about what environments are built of.

    mo-gymnasium gives float64 bounds to float32 boxes. The halfcheetah's model sets its total mass in a way that
    MuJoCo 4 deprecates; every instance would print that and append it to MUJOCO_LOG.TXT in the working directory.
    """
    with warnings.catch_warnings(), _quiet_models() if "cheetah" in env_id else contextlib.nullcontext():
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        yield


@contextlib.contextmanager
def _quiet_models() -> Iterator[None]:
    import mujoco  # here, for those environments that need it anyway

    def tell(message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(f"MuJoCo: {message}", stacklevel=2)

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(tell)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


class SeededOre(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Minecart draws its ore from NumPy's global generator, so `reset(seed=)` has no effect. Draw from `np_random`."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.repair()

    def repair(self) -> None:
        """Give every mine our distributions."""
        for mine in self.unwrapped.mines:  # type: ignore[attr-defined]
            mine.distributions = [_Ore(self.unwrapped, *distribution.args) for distribution in mine.distributions]

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Repair again after unpickling, which builds minecart anew."""
        self.__dict__.update(attributes)
        self.repair()


class _Ore:
    """A normal distribution with the two members that minecart uses of SciPy's frozen one."""

    def __init__(self, env: Env, mean: float, deviation: float) -> None:
        self.env = env
        self.args = (mean, deviation)

    def rvs(self) -> float:
        mean, deviation = self.args
        return mean + deviation * float(self.env.np_random.standard_normal())


class BottlesAsDeclared(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Breakable-bottles returns a list as its reward, and counts of dropped bottles where its space declares flags.

    Return float64 [objective] and flags.
    """

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Return the first observation with flags."""
        observation, info = self.env.reset(**kwargs)
        return _flagged(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the step with flags and the reward as an array."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _flagged(observation), np.asarray(reward, dtype=np.float64), terminated, truncated, info


def _flagged(observation: dict[str, Any]) -> dict[str, Any]:
    return {**observation, "bottles_dropped": (np.array(observation["bottles_dropped"]) > 0).astype(np.int8)}


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


class FixedPictures(gymnasium.Wrapper[Any, Any, Any, Any]):
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

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Return a picture of the start of the episode."""
        _, info = self.env.reset(**kwargs)
        minecart: Any = self.unwrapped
        minecart.render_pygame()
        return minecart.get_state(), info

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Repair again after unpickling, which builds minecart anew."""
        self.__dict__.update(attributes)
        self.repair()


class TruncatedAtLimit(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Fishwood ends at its 200th step with both flags; a clock that the agent cannot see is a time limit: truncated."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the step with `terminated` off where it only repeats `truncated`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated and not truncated, truncated, info


REPAIRS: dict[str, tuple[type[gymnasium.Wrapper[Any, Any, Any, Any]], ...]] = {
    "minecart-v0": (SeededOre,),
    "minecart-deterministic-v0": (SeededOre,),
    "fishwood-v0": (TruncatedAtLimit, CopiedObservation),
    "minecart-rgb-v0": (SeededOre, FixedPictures, CopiedObservation),
    "breakable-bottles-v0": (BottlesAsDeclared,),
    "water-reservoir-v0": (CopiedObservation,),
    "mo-mountaincarcontinuous-v0": (CopiedObservation,),
}


def repair(env_id: str, env: Env) -> Env:
    """Return the environment inside the wrappers that repair what is wrong with it."""
    for wrapper in REPAIRS.get(env_id, ()):
        env = wrapper(env)
    return env
