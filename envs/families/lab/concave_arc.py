"""An arc with a concave front: every point is Pareto-optimal, and all but the ends lie inside the convex hull.

A pointer starts in the middle of a quarter circle. Eight steps turn it (`lab/concave-arc-v0` by an amount,
`lab/concave-arc-discrete-v0` by one of three); only the last one pays:

    [1 - cos(angle), 1 - sin(angle)],   angle in [0, pi / 2]

so that all returns of policies without chance are the arc (1 - x)^2 + (1 - y)^2 = 1. No linear preference has any of
its inner points as its best. A policy that tosses a coin between both ends has an expected return beyond the arc; it is
none of those that fronts are made of.
"""

import math

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Action, Array, EnvOption, Sheet, Space
from morl.envs.families.lab.convex_front import Points, steps_within

STEPS = 8
RIGHT_ANGLE = math.pi / 2
LARGEST_TURN = RIGHT_ANGLE / STEPS
"""rad; all steps together turn twice as far as from the middle to an end, so that some may go astray."""
DISCRETE_TURN = RIGHT_ANGLE / 2 / STEPS
"""rad; every step in the same direction reaches an end, so that there are 17 angles."""
POINTS = 101
"""Of the front of the continuous arc."""


@njit(cache=True, nogil=True)
def advance(turns: Array, arc: Array, observations: Array, rewards: Array, terminated: Array) -> None:
    """Turn every pointer.

    Args:
        turns: [env] in rad.
        arc: [env, 2] angle in rad, steps so far; updated.
        observations: [env, 2] angle and steps so far as shares of their largest values.
        rewards: [env, 2].
        terminated: [env] whether this was the last step.
    """
    for env in range(turns.size):
        arc[env, 0] = min(max(arc[env, 0] + turns[env], 0.0), RIGHT_ANGLE)
        arc[env, 1] += 1.0
        terminated[env] = arc[env, 1] == STEPS
        if terminated[env]:
            rewards[env, 0] = 1.0 - math.cos(arc[env, 0])
            rewards[env, 1] = 1.0 - math.sin(arc[env, 0])
        observations[env, 0] = arc[env, 0] / RIGHT_ANGLE
        observations[env, 1] = arc[env, 1] / STEPS


class _ArcKernel(KernelVectorEnv):
    """Both arcs: the pointer, which starts in the middle, and the steps so far."""

    picture_size = (480, 320)

    def __init__(self, num_envs: int, action_space: Space, max_episode_steps: int | None) -> None:
        super().__init__(
            num_envs,
            observation_space=Box(0.0, 1.0, (2,), np.float32),
            action_space=action_space,
            reward_space=Box(0.0, 1.0, (2,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self.arrays = {"arc": np.zeros((num_envs, 2))}

    def draw(self, sheet: Sheet, action: Action | None) -> None:  # noqa: ARG002 - nothing of it shows
        """Draw the pointer between the two ends of the arc of returns."""
        angle, steps = self.arrays["arc"][0].tolist()
        corner = (300.0, 40.0)  # (1, 1) in the plane of returns: the arc bends away from it
        radius = 230.0
        angles = np.linspace(0.0, RIGHT_ANGLE, 60)
        sheet.line([(corner[0] - radius * math.cos(a), corner[1] + radius * math.sin(a)) for a in angles], "faint", 3)
        tip = (corner[0] - radius * math.cos(angle), corner[1] + radius * math.sin(angle))
        sheet.line([corner, tip], "blue", 4)
        sheet.circle(tip, 9, "orange")
        sheet.text((320, 270), "east", "faint", 13)
        sheet.text((60, 22), "north", "faint", 13, "middle")
        sheet.text((320, 200), f"east {1 - math.cos(angle):.2f}", "ink", 14)
        sheet.text((320, 222), f"north {1 - math.sin(angle):.2f}", "ink", 14)
        sheet.text((320, 300), f"step {int(steps)} of {STEPS}", "faint", 12)

    def _start(self, mask: Array, observations: Array) -> None:
        self.arrays["arc"][mask] = (RIGHT_ANGLE / 2, 0.0)
        observations[mask] = (0.5, 0.0)

    def _turns(self, actions: Array) -> Array:
        """Return the turns [env] in rad of actions [env, ...]."""
        raise NotImplementedError

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(self._turns(actions), self.arrays["arc"], observations, rewards, terminated)


class ConcaveArcKernel(_ArcKernel):
    """The batch form of lab/concave-arc-v0. Action: the turn, as a share of the largest, towards pi / 2."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        super().__init__(num_envs, Box(-1.0, 1.0, (1,), np.float32), max_episode_steps)

    def _turns(self, actions: Array) -> Array:
        turns: Array = LARGEST_TURN * np.clip(actions[:, 0].astype(np.float64), -1.0, 1.0)
        return turns


class ConcaveArcDiscreteKernel(_ArcKernel):
    """The batch form of lab/concave-arc-discrete-v0. Actions: turn towards 0, stay, turn towards pi / 2."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        super().__init__(num_envs, Discrete(3), max_episode_steps)

    def _turns(self, actions: Array) -> Array:
        turns: Array = DISCRETE_TURN * (actions - 1)
        return turns


def front(discount: float, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return 101 points of the exact front of lab/concave-arc-v0, evenly spaced on the arc.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _on_arc(POINTS, discount, max_episode_steps)


def front_discrete(discount: float, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return the exact front of lab/concave-arc-discrete-v0: one point for each of the 17 angles.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _on_arc(2 * STEPS + 1, discount, max_episode_steps)


def _on_arc(number: int, discount: float, max_episode_steps: int | None) -> Points:
    """Return evenly spaced points of the arc, as the last step pays them; zero where the limit comes before it."""
    if steps_within(max_episode_steps, STEPS) < STEPS:
        return np.zeros((1, 2))
    angles = np.linspace(0.0, RIGHT_ANGLE, number)
    arc = np.stack([1.0 - np.cos(angles), 1.0 - np.sin(angles)], axis=1)
    paid: Points = discount ** (STEPS - 1) * arc
    return paid
