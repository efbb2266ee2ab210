"""Faults of mo-gymnasium 1.3.2, each repaired by one small wrapper. docs/design/mo_gymnasium.md lists them.

`EnvEntry.repairs` says which id gets which.
"""

from typing import TYPE_CHECKING, Any, Protocol, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from morl.envs.core.types import Action, Array, Env, Info, Observation, Options, Step

if TYPE_CHECKING:
    import pygame


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
    canvas: "pygame.Surface"
    pixels: Array
    mine_sprites: "_Ground"
    cart_sprites: "pygame.sprite.Group[Any]"

    def render_pygame(self) -> None: ...

    def get_state(self) -> Array: ...

    def get_pixels(self, update: bool, /) -> Array: ...


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
    Mines and home are drawn once, not at every step: of a step's time, three quarters went into them.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.repair()

    def repair(self) -> None:
        """Draw the pictures, which happens once, with the generator in a fixed state; keep what does not move."""
        outside = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        self.env.reset()
        np.random.set_state(outside)  # noqa: NPY002
        self._keep_the_ground()

    def _keep_the_ground(self) -> None:
        """Replace the sprites of the mines, which are all drawn at every step, by one picture of all that stands."""
        import pygame

        minecart = cast("_Minecart", self.unwrapped)
        carts = minecart.cart_sprites
        minecart.cart_sprites = pygame.sprite.Group()
        minecart.render_pygame()  # without the cart, which is empty
        minecart.cart_sprites = carts
        minecart.mine_sprites = _Ground(minecart.canvas.copy())

        def get_pixels(update: bool) -> Array:
            """Return the picture, drawn since then or not."""
            if update:
                minecart.pixels = _pixels(minecart.canvas)
            return minecart.pixels

        minecart.get_pixels = get_pixels  # type: ignore[method-assign]

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


class _Ground:
    """Home and mines as one picture, in the place of the sprites of the mines."""

    def __init__(self, picture: "pygame.Surface") -> None:
        self.picture = picture

    def update(self) -> None:
        """Leave all as it is: mines do not move."""

    def draw(self, canvas: "pygame.Surface") -> None:
        """Cover the canvas."""
        canvas.blit(self.picture, (0, 0))


def _pixels(canvas: "pygame.Surface") -> NDArray[np.uint8]:
    """Return the picture [row, column, channel] on a canvas of 32 bits a pixel.

    Copy channel by channel: a copy that reads the bytes of each pixel together takes four times as long.
    """
    import pygame

    words = np.ascontiguousarray(pygame.surfarray.pixels2d(canvas).T)
    channels = words.view(np.uint8).reshape((*words.shape, 4))
    picture = np.empty((*words.shape, 3), np.uint8)
    for channel, shift in enumerate(canvas.get_shifts()[:3]):
        picture[:, :, channel] = channels[:, :, shift // 8]
    return picture


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
