"""Episodes as pictures: an environment that draws itself, played exactly as an evaluation plays it.

The loop is `morl.evaluation.Evaluator`, over one environment that shows each step before it is evaluated: so what is
recorded is what `evaluate` measures, bit for bit, for every kind of policy.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from gymnasium import Wrapper
from gymnasium.vector import VectorEnv, VectorWrapper

from morl.envs.backends.vector import make_vec
from morl.envs.core.drawing import Drawing, text_width
from morl.envs.core.quiet import quiet
from morl.envs.core.registry import call_builder, env_name, make
from morl.envs.core.types import (
    Action,
    ActionBatch,
    Env,
    EnvBuilder,
    EnvOption,
    Info,
    Observation,
    ObservationBatch,
    Options,
    Pixels,
    Seed,
    Step,
    VectorStep,
)
from morl.envs.mujoco.offscreen import follow_robot, is_drawn_by_mujoco, offscreen
from morl.experiment.components import evaluator_like, user_evaluation_seed
from morl.protocols import FloatArray, VectorEnvironment

STEPS_PER_SECOND = 10.0
"""Where an environment does not say how fast time passes in it."""
MOST_PICTURES_A_SECOND = 30.0
"""Where more steps pass in a second, some are not drawn."""
SMALLEST_SIDE = 320
"""Pixels; smaller pictures are enlarged by a whole number."""
CAMERA_OPTIONS = {"camera_id", "camera_name", "default_camera_config"}
"""Options of MuJoCo's environments that choose where one looks from."""
LINE = 22
"""Pixels of a line of the caption."""
COLUMN = 14
"""Pixels between two objectives of the caption."""
LETTERS = 15.0
"""Size of the caption's letters."""


class Moment(NamedTuple):
    """What is shown of one step of an episode."""

    picture: Pixels
    step: int
    """Steps so far; 0 is the start of the episode."""
    returns: FloatArray
    """[objective] discounted return so far."""
    over: bool
    """Whether the episode has ended."""


Show = Callable[[Moment], None]
"""Called with each moment that is drawn; what it raises ends the episode."""


class _Display:
    """Adds up an episode's rewards and passes on every so many steps, the first and the last one always."""

    def __init__(self, name: str, discount: float) -> None:
        self.name = name
        self.discount = discount
        self.render: Callable[[], object] = lambda: None
        self.num_objectives = 0
        self.show: Show | None = None
        self.every = 1
        self._over = True

    def start(self) -> None:
        """Show the start of an episode."""
        self._returns = np.zeros(self.num_objectives)
        self._factor = 1.0
        self._step = 0
        self._over = False
        self._pass_on()

    def advance(self, reward: FloatArray, over: bool) -> None:
        """Show a step, unless it lies between those that are shown; after the end nothing is."""
        if self._over:
            return
        if self.num_objectives:
            self._returns = self._returns + self._factor * reward
        self._factor *= self.discount
        self._step += 1
        self._over = over
        if over or self._step % self.every == 0:
            self._pass_on()

    def _pass_on(self) -> None:
        if self.show is None:
            return
        try:
            drawn = self.render()
        except NotImplementedError:
            drawn = None
        self.show(Moment(checked_picture(self.name, drawn), self._step, self._returns.copy(), self._over))


class _ShownEnv(Wrapper[Observation, Action, Observation, Action]):
    """A single environment that shows its steps; the reset that follows the end of an episode is not shown."""

    def __init__(self, env: Env, display: _Display) -> None:
        super().__init__(env)
        self.display = display
        display.render = env.render

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        result = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self.display.start()
        return result

    def step(self, action: Action) -> Step:
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = np.asarray(reward, dtype=np.float64)
        self.display.advance(vector, bool(terminated or truncated))
        return observation, vector, terminated, truncated, info


class _ShownVectorEnv(VectorWrapper[ObservationBatch, ActionBatch, FloatArray]):
    """A vector environment of one that shows its steps; the last one is already that of the next episode: not shown."""

    def __init__(self, env: VectorEnvironment, display: _Display) -> None:
        super().__init__(env)
        self.reward_space = getattr(env, "reward_space", None)
        self.display = display
        display.render = env.render

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        result = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # it takes lists too
        self.display.start()
        return result

    def step(self, actions: ActionBatch) -> VectorStep:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if not (terminated[0] or truncated[0]):
            self.display.advance(np.asarray(rewards[0], dtype=np.float64), over=False)
        return observations, rewards, terminated, truncated, infos


def checked_picture(name: str, drawn: object) -> Pixels:
    """Return a picture that `render` returned.

    Args:
        name: of the environment, for the message.
        drawn: [row, column, 3] bytes; or, of a vector environment, a sequence of one such array.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(drawn, tuple | list) and len(drawn) == 1:
        drawn = drawn[0]
    if not isinstance(drawn, np.ndarray) or drawn.ndim != 3 or drawn.shape[2] != 3 or 0 in drawn.shape:
        found = f"an array of shape {drawn.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise ValueError(
            f"{name} draws no pictures: render() must return pixels [row, column, 3] with render_mode='rgb_array', and"
            f" returned {found}"
        )
    return np.ascontiguousarray(drawn, dtype=np.uint8)


class EpisodePlayer:
    """Plays episodes of an environment and shows them; a context manager that closes the environment.

    Args:
        env: the environment; of an id that has a batch form, the single environment is built.
        env_options: arguments of its constructor.
        discount: of the returns.

    Attributes:
        name: of the environment.
        steps_per_second: how fast its time passes.
        evaluator: plays the episodes, one at a time, as every evaluation does.

    Raises:
        ValueError: it draws no pictures, or cannot be built.
    """

    def __init__(self, env: EnvBuilder, env_options: Mapping[str, EnvOption], discount: float) -> None:
        self.name = env_name(env)
        self._display = _Display(self.name, discount)
        with quiet(warns_of_total_mass=True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*possible render_modes")  # what it returns is checked instead
            ready = [_drawing_env(env, self.name, env_options)]
        self.steps_per_second = _steps_per_second(ready[0])
        self._by_mujoco = not isinstance(ready[0], VectorEnv) and is_drawn_by_mujoco(ready[0])

        def build() -> Env | VectorEnvironment:
            built = ready.pop() if ready else _drawing_env(env, self.name, env_options)
            if isinstance(built, VectorEnv):
                return _ShownVectorEnv(built, self._display)
            return _ShownEnv(built, self._display)

        build.__name__ = f"{self.name} (shown)"  # no id: what is known about one has been applied already
        self._envs = make_vec(build, 1)
        self._display.num_objectives = self._envs.num_objectives
        self.evaluator = evaluator_like(self._envs, lambda _: self._envs, discount, 1)

    @staticmethod
    def first_seed(seed: int) -> int:
        """Return the seed that `evaluator` takes for the episode of `Run.evaluate(episodes=1, seed=seed)`."""
        return user_evaluation_seed(seed)

    @contextmanager
    def shown_by(self, show: Show, every: int = 1) -> Iterator[None]:
        """Pass the moments of episodes to a function while the block runs.

        Args:
            show: called with each moment.
            every: draws the start, every so many steps, and the end.

        Raises:
            ValueError: MuJoCo cannot draw here.
        """
        self._display.show = show
        self._display.every = every
        try:
            with quiet(warns_of_total_mass=True), _pygame_without_display():
                if self._by_mujoco:
                    with offscreen():
                        yield
                else:
                    yield
        finally:
            self._display.show = None

    def __enter__(self) -> "EpisodePlayer":
        """Return the player."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the environment."""
        with quiet():
            self._envs.close()


def _drawing_env(env: EnvBuilder, name: str, env_options: Mapping[str, EnvOption]) -> Env | VectorEnvironment:
    """Return an environment that draws itself: of an id the single one, of a callable what it builds.

    Raises:
        ValueError: it cannot be built so.
    """
    options: dict[str, EnvOption] = {**env_options, "render_mode": "rgb_array"}
    if isinstance(env, str):
        try:
            built = make(env, **options)
        except ValueError as error:
            raise ValueError(f"{name} draws no pictures, or cannot be built with these options: {error}") from error
        if not CAMERA_OPTIONS & options.keys() and is_drawn_by_mujoco(built):
            follow_robot(built)
        return built
    try:
        return call_builder(name, env, 1, options)
    except ValueError:  # it takes no render mode, but may have one
        return call_builder(name, env, 1, dict(env_options))


@contextmanager
def _pygame_without_display() -> Iterator[None]:
    """Keep SDL, which environments draw with, from looking for a display where there is none, and from complaining."""
    if not sys.platform.startswith("linux") or {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & os.environ.keys():
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        os.environ.pop("SDL_VIDEODRIVER", None)


def _steps_per_second(built: Env | VectorEnvironment) -> float:
    """Return how many steps of an environment are a second of its time, as it says itself."""
    inner = built.unwrapped
    stated = inner.metadata.get("render_fps")
    if not isinstance(stated, int | float) or stated <= 0:
        interval = getattr(inner, "dt", None)  # of MuJoCo's, whose metadata may lack it
        stated = 1.0 / interval if isinstance(interval, float) and interval > 0 else STEPS_PER_SECOND
    return float(stated)


# --- Captions ---------------------------------------------------------------------------------------------------------


def captioned(moment: Moment, objectives: tuple[str, ...], title: str) -> Pixels:
    """Return a picture with the returns so far below it; all pictures of an episode have the same size, even numbers.

    Args:
        moment: what is shown.
        objectives: their names.
        title: which policy and which episode it is.
    """
    picture = enlarged(moment.picture)
    height, width = picture.shape[:2]
    width += width % 2
    cells = [f"{name} {number_text(value)}" for name, value in zip(objectives, moment.returns, strict=True)]
    widest = max(text_width(f"{name} -0.0000", LETTERS) for name in objectives) + COLUMN
    columns = max(1, min(len(cells), int((width - COLUMN) // widest)))
    rows = -(-len(cells) // columns)
    band = Drawing(width, LINE * (rows + 1) + 8 + (height % 2))
    band.text((COLUMN / 2, 4 + LINE / 2), f"{title}, step {moment.step}", "faint", LETTERS - 2)
    for place, cell in enumerate(cells):
        left = COLUMN / 2 + (width - COLUMN / 2) / columns * (place % columns)
        band.text((left, 4 + LINE * (1.5 + place // columns)), cell, size=LETTERS)
    below = band.pixels()
    whole = np.full((height + len(below), width, 3), 255, dtype=np.uint8)
    whole[:height, : picture.shape[1]] = picture
    whole[height:] = below
    return whole


def enlarged(picture: Pixels) -> Pixels:
    """Return a picture that is at least `SMALLEST_SIDE` wide, its pixels repeated."""
    times = -(-SMALLEST_SIDE // picture.shape[1])
    return picture if times == 1 else picture.repeat(times, axis=0).repeat(times, axis=1)


def number_text(value: float) -> str:
    """Return a return so far in few characters."""
    return f"{value + 0.0:.5g}"
