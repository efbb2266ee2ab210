"""A window in which a policy acts, and the keys that steer it while it runs.

`Steering` decides what acts and knows no window; a `Window` shows pictures and returns keys, and knows no policy.
Gymnasium's `render_mode="human"` has neither captions nor keys for this: the window is our own for every environment.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from typing import Any, Protocol

import numpy as np
import torch

from morl.acting import Policy, PolicyBank
from morl.envs.core.types import Pixels
from morl.experiment.rendering import MOST_PICTURES_A_SECOND, EpisodePlayer, Moment, captioned
from morl.preferences import normalized_preference
from morl.protocols import Actions, FloatArray, IndexArray, Observations

WEIGHT_STEP = 0.05
"""How far a key moves a weight of the preference."""
LAST_PICTURE_SECONDS = 1.0
SLOWEST = 0.125
FASTEST = 16.0
KEYS = (
    "left, right: along the front   up, down: weight of {objective}   tab: next objective   c: condition the network"
    "   space: pause   + -: speed   r: again   n: next seed   q: quit"
)


class SteeredFront(Protocol):
    """What steering reads of a front."""

    @property
    def points(self) -> FloatArray:
        """Return the returns [n, objective]."""
        ...

    @property
    def objectives(self) -> tuple[str, ...]:
        """Return the names of the objectives."""
        ...


class Chooser(Protocol):
    """A run as far as steering needs it."""

    @property
    def front(self) -> SteeredFront:
        """Return the front."""
        ...

    def policy(
        self, preference: Sequence[float] | None = None, *, row: int | None = None, conditioned: bool = False
    ) -> Policy:
        """Return a policy."""
        ...

    def best_row(self, preference: Sequence[float]) -> int:
        """Return the row of the front that has the highest utility for a preference."""
        ...


class Steering:
    """Which policy acts, and what the keys change about it.

    Args:
        run: the front and the policies.
        preference: [objective] weights >= 0; None where a row is given.
        row: of the front.
        conditioned: condition the network on the preference itself.

    Attributes:
        policy: the policy that acts now.
        preference: [objective] what the keys move, summing to one.
        row: the policy's row of the front; None for the conditioned network.
        objective: the number of the objective whose weight the keys move.
        paused: whether time stands still.
        speed: how fast time passes, 1 as the environment says.
        wish: "restart", "next" or "quit", until somebody has done it; else empty.

    Raises:
        ValueError: as for `Run.policy`.
    """

    def __init__(self, run: Chooser, preference: Sequence[float] | None, row: int | None, conditioned: bool) -> None:
        self.run = run
        self.objectives = run.front.objectives
        self.order = np.lexsort(run.front.points.T[::-1]).tolist()
        self.objective = 0
        self.paused = False
        self.speed = 1.0
        self.wish = ""
        self.row: int | None = None
        if preference is None or row is not None:
            self.policy = run.policy(preference, row=row, conditioned=conditioned)
            self.row = row
            count = len(self.objectives)
            known = self.policy.preference
            self.preference = np.full(count, 1.0 / count) if np.isnan(known).any() else known / known.sum()
        else:
            self._follow(normalized_preference(preference, self.objectives), conditioned)

    @property
    def title(self) -> str:
        """Return what acts, in a few words."""
        weights = ", ".join(f"{weight:.2f}" for weight in self.preference)
        what = f"conditioned on ({weights})" if self.row is None else f"row {self.row}, policy {self.policy.policy_id}"
        speed = "" if self.speed == 1.0 else f", {self.speed:g}x"
        return f"{what}{speed}{', paused' if self.paused else ''}"

    @property
    def help(self) -> str:
        """Return what the keys do."""
        return KEYS.format(objective=self.objectives[self.objective])

    def press(self, key: str) -> None:
        """Do what a key means; other keys mean nothing.

        Args:
            key: "left", "right", "up", "down", "tab", "space", "c", "r", "n", "+", "-", "q" or "escape".
        """
        match key:
            case "left" | "right":
                self._step_along(1 if key == "right" else -1)
            case "up" | "down":
                self._move_weight(WEIGHT_STEP if key == "up" else -WEIGHT_STEP)
            case "tab":
                self.objective = (self.objective + 1) % len(self.objectives)
            case "c" if self.policy.data.spec.conditioned:
                self._follow(self.preference, conditioned=self.row is not None)
            case "space":
                self.paused = not self.paused
            case "+" | "-":
                self.speed = min(FASTEST, max(SLOWEST, self.speed * (2.0 if key == "+" else 0.5)))
            case "r":
                self.wish = "restart"
            case "n":
                self.wish = "next"
            case "q" | "escape":
                self.wish = "quit"

    def _step_along(self, forward: int) -> None:
        """Let the next policy of the front act, in the order of the first objective."""
        row = self.run.best_row(self.preference.tolist()) if self.row is None else self.row
        place = self.order.index(row) + (0 if self.row is None else forward)
        self.row = self.order[min(max(place, 0), len(self.order) - 1)]
        self.policy = self.run.policy(row=self.row)

    def _move_weight(self, change: float) -> None:
        """Move one weight; the others keep their proportions and share the rest."""
        k = self.objective
        weight = min(max(float(self.preference[k]) + change, 0.0), 1.0)
        others = np.delete(self.preference, k)
        rest = others / others.sum() if others.sum() > 0.0 else np.full(len(others), 1.0 / len(others))
        self._follow(np.insert((1.0 - weight) * rest, k, weight), conditioned=self.row is None)

    def _follow(self, preference: FloatArray, conditioned: bool) -> None:
        """Let the policy act that a preference chooses."""
        self.preference = preference
        self.row = None if conditioned else self.run.best_row(preference.tolist())
        if conditioned:
            self.policy = self.run.policy(preference.tolist(), conditioned=True)
        else:
            self.policy = self.run.policy(row=self.row)


class Window(Protocol):
    """Something that shows pictures and has keys."""

    def show(self, picture: Pixels, title: str) -> None:
        """Show a picture, under a title."""
        ...

    def pressed_keys(self) -> list[str]:
        """Return the keys that were pressed since the last call, by name; closing the window is "q"."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...


class _Interrupted(Exception):
    """Somebody wants another episode, or none."""


class _Projector:
    """Lets whichever policy `Steering` has chosen act, and shows each moment for as long as it lasts."""

    def __init__(self, player: EpisodePlayer, steering: Steering, window: Window, seed: int) -> None:
        self.steering = steering
        self.window = window
        self.seed = seed
        self.spec = steering.policy.data.spec
        self.bank = PolicyBank(self.spec, torch.device("cpu"))
        self.every = max(1, round(player.steps_per_second / MOST_PICTURES_A_SECOND))
        self.seconds = self.every / player.steps_per_second

    def act(self, observations: Observations, preferences: FloatArray, _: IndexArray, **inputs: Any) -> Actions:
        """Return the actions of the policy that acts now."""
        policy = self.steering.policy
        if policy.policy_id not in self.bank.ids:
            self.bank.add(policy.policy_id, policy.data)
        conditioning = np.broadcast_to(policy.conditioning, preferences.shape)
        return self.bank.act(observations, conditioning, np.full(len(preferences), policy.policy_id), **inputs)

    def show(self, moment: Moment) -> None:
        """Show a moment until the next one is due, and do what the keys mean.

        Raises:
            _Interrupted: somebody wants another episode, or none.
        """
        steering = self.steering
        lasts = LAST_PICTURE_SECONDS if moment.over else self.seconds / steering.speed
        until = time.monotonic() + lasts
        shown = ""
        while True:
            title = f"{steering.title}, seed {self.seed}"
            if title != shown:
                self.window.show(captioned(moment, self.spec.objectives, title), steering.help)
                shown = title
            for key in self.window.pressed_keys():
                steering.press(key)
            if steering.wish:
                raise _Interrupted
            left = until - time.monotonic()
            if left <= 0.0 and not steering.paused:
                return
            self.window.wait(min(max(left, 0.01), 0.05))


def watch(player: EpisodePlayer, steering: Steering, window: Window, seed: int) -> None:
    """Show one episode after the other, until somebody quits.

    Args:
        player: plays the environment.
        steering: which policy acts.
        window: where it is shown.
        seed: of the first episode; the next ones have the next numbers.
    """
    projector = _Projector(player, steering, window, seed)
    no_preference = np.full((1, len(projector.spec.objectives)), np.nan)
    only = np.zeros(1, dtype=np.int64)
    with player.shown_by(projector.show, projector.every):
        while steering.wish != "quit":
            steering.wish = ""
            with suppress(_Interrupted):
                seed = player.first_seed(projector.seed)
                player.evaluator(projector.act, only, no_preference, 1, seed, projector.bank.act_inputs)
            if steering.wish != "restart":
                projector.seed += 1


# --- The window -------------------------------------------------------------------------------------------------------


class _PygameWindow:
    """A window of pygame, which mo-gymnasium needs anyway."""

    def __init__(self) -> None:
        import pygame

        self._pygame = pygame
        self._size = (0, 0)
        self._title = ""

    def show(self, picture: Pixels, title: str) -> None:
        size = (picture.shape[1], picture.shape[0])
        if size != self._size:
            self._pygame.display.set_mode(size)
            self._size = size
        if title != self._title:
            self._pygame.display.set_caption(title)
            self._title = title
        surface = self._pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        self._pygame.display.get_surface().blit(surface, (0, 0))
        self._pygame.display.flip()

    def pressed_keys(self) -> list[str]:
        pressed = []
        for event in self._pygame.event.get():
            if event.type == self._pygame.QUIT:
                pressed.append("q")
            elif event.type == self._pygame.KEYDOWN:
                name = event.unicode if event.unicode in ("+", "-") else self._pygame.key.name(event.key)
                pressed.append("+" if name == "=" else name)
        return pressed

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@contextmanager
def open_window() -> Iterator[Window]:
    """Yield a window, and close it in the end.

    Raises:
        ValueError: there is no display.
    """
    without = "there is no display to open a window on: --video FILE.mp4, or run.record(...), records without one"
    named = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & os.environ.keys()
    if sys.platform.startswith("linux") and not named:
        raise ValueError(without)
    with redirect_stdout(StringIO()):  # its greeting
        import pygame
    try:
        pygame.display.init()
    except pygame.error as error:
        raise ValueError(f"{without} ({error})") from error
    pygame.key.set_repeat(300, 80)
    try:
        yield _PygameWindow()
    finally:
        pygame.display.quit()


def open_and_watch(player: EpisodePlayer, steering: Steering, seed: int) -> None:
    """Open a window and show episodes in it until it is closed; arguments as for `watch`."""
    with open_window() as window:
        watch(player, steering, window, seed)
