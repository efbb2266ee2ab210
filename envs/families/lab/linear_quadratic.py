"""Linear-quadratic control with 2 and 4 objectives (`lab/linear-quadratic-2-v0`, `lab/linear-quadratic-4-v0`).

    x' = A x + B u,   reward_k = -(|C_k x' - c_k|^2 + u' R_k u)

over a fixed number of steps, from random starts; the observation ends with the share of steps that are left. Costs are
convex in the actions and the dynamics linear, so that the front is convex and linear preferences find all of it. The
best policy for weights w is linear in the state: dynamic programming over quadratic functions (the Riccati equation)
finds it, and the expected return of each objective, exactly. Actions are forces as shares of the largest, and none of
these policies needs more than that.

- 2 objectives: a cart on a rail; keep it in the middle, spend little effort.
- 4 objectives: a puck in the plane; be near each of three targets, spend little effort.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.envs.families.lab.convex_front import Points, convex_front, steps_within

STEPS = 20


class LinearQuadratic(NamedTuple):
    """A task. Matrices hold a last row and column for the constant 1 that is appended to the state."""

    dynamics: Array
    """A [state + 1, state + 1]."""
    control: Array
    """B [state + 1, action]: effect of the largest force."""
    outputs: Array
    """C_k and -c_k [objective, output, state + 1]."""
    effort: Array
    """Diagonals of R_k [objective, action], for forces as shares of the largest."""
    start: Array
    """[state] starts are uniform within these distances from zero."""


def _cart() -> LinearQuadratic:
    """Return the cart: position in m and speed in m/s, half a second a step, a force of at most 2 m/s^2."""
    largest = 2.0
    return LinearQuadratic(
        dynamics=np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]),
        control=largest * np.array([[0.125], [0.5], [0.0]]),
        outputs=np.array([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]),
        effort=np.array([[0.8], [largest**2]]),
        start=np.array([1.0, 0.1]),
    )


def _puck() -> LinearQuadratic:
    """Return the puck: position in m and speed in m/s in the plane, targets on a circle of 1 m."""
    largest = 2.0
    axis = np.array([[1.0, 0.5], [0.0, 0.5]])
    dynamics = np.eye(5)
    dynamics[:2, :2] = axis
    dynamics[2:4, 2:4] = axis
    control = np.zeros((5, 2))
    control[:2, 0] = control[2:4, 1] = largest * np.array([0.125, 0.5])
    outputs = np.zeros((4, 2, 5))
    angles = 2 * np.pi * np.arange(3) / 3
    outputs[:3, 0, 0] = outputs[:3, 1, 2] = 1.0
    outputs[:3, 0, 4] = -np.cos(angles)
    outputs[:3, 1, 4] = -np.sin(angles)
    effort = np.full((4, 2), 0.8)
    effort[3] = largest**2
    return LinearQuadratic(dynamics, control, outputs, effort, start=np.array([0.3, 0.0, 0.3, 0.0]))


CART = _cart()
PUCK = _puck()


@njit(cache=True, nogil=True)
def advance(
    actions: Array, state: Array, task: LinearQuadratic, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Step every environment.

    Args:
        actions: [env, action] forces as shares of the largest.
        state: [env, state + 2] state, the constant 1, steps so far; updated.
        task: the matrices.
        observations: [env, state + 1] state, share of steps left.
        rewards: [env, objective].
        terminated: [env] whether this was the last step.
    """
    size = task.dynamics.shape[0]
    after = np.empty(size)
    for env in range(actions.shape[0]):
        for row in range(size):
            after[row] = 0.0
            for column in range(size):
                after[row] += task.dynamics[row, column] * state[env, column]
            for column in range(actions.shape[1]):
                force = min(max(np.float64(actions[env, column]), -1.0), 1.0)
                after[row] += task.control[row, column] * force
        for objective in range(rewards.shape[1]):
            cost = 0.0
            for output in range(task.outputs.shape[1]):
                distance = 0.0
                for column in range(size):
                    distance += task.outputs[objective, output, column] * after[column]
                cost += distance * distance
            for column in range(actions.shape[1]):
                force = min(max(np.float64(actions[env, column]), -1.0), 1.0)
                cost += task.effort[objective, column] * force * force
            rewards[env, objective] = -cost
        state[env, size] += 1.0
        for row in range(size - 1):
            state[env, row] = after[row]
            observations[env, row] = after[row]
        observations[env, size - 1] = 1.0 - state[env, size] / STEPS
        terminated[env] = state[env, size] == STEPS


@njit(cache=True, nogil=True)
def start(
    mask: Array, state: Array, task: LinearQuadratic, draws: Array, positions: Array, observations: Array
) -> None:
    """Draw the start of the environments of `mask` [env]: uniform in a box around zero."""
    size = task.start.size
    for env in range(mask.size):
        if mask[env]:
            for row in range(size):
                state[env, row] = task.start[row] * (2.0 * draws[env, positions[env] + row] - 1.0)
                observations[env, row] = state[env, row]
            positions[env] += size
            state[env, size] = 1.0
            state[env, size + 1] = 0.0
            observations[env, size] = 1.0


class _LinearQuadraticKernel(KernelVectorEnv):
    """Both tasks: state, constant and clock of each environment."""

    def __init__(self, num_envs: int, task: LinearQuadratic, max_episode_steps: int | None) -> None:
        size = task.start.size
        super().__init__(
            num_envs,
            observation_space=Box(-np.inf, np.inf, (size + 1,), np.float32),
            action_space=Box(-1.0, 1.0, (task.control.shape[1],), np.float32),
            reward_space=Box(-np.inf, 0.0, (len(task.outputs),), np.float32),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=size, num_envs=num_envs),
        )
        self.task = task
        self.arrays = {"state": np.zeros((num_envs, size + 2))}

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        start(mask, self.arrays["state"], self.task, self.streams.draws, self.streams.position, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, self.arrays["state"], self.task, observations, rewards, terminated)

    def _draw_force(self, sheet: Sheet, place: tuple[float, float], action: Action | None) -> None:
        """Draw the force of the last step, to the right and upwards from a place, and the step."""
        forces = np.zeros(2)
        if action is not None:
            forces[: len(action)] = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        tip = (place[0] + 60 * float(forces[0]), place[1] - 60 * float(forces[1]))
        sheet.line([place, tip], "orange", 5)
        steps = int(self.arrays["state"][0, -1])
        sheet.text((20, 20), f"step {steps} of {STEPS}; orange: the force", "faint", 12)


class LinearQuadratic2Kernel(_LinearQuadraticKernel):
    """The batch form of lab/linear-quadratic-2-v0. Observation: position, speed, share of steps left."""

    picture_size = (480, 320)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        super().__init__(num_envs, CART, max_episode_steps)

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the cart on its rail and the force of the last step."""
        left = 240 + 180 * float(self.arrays["state"][0, 0])
        sheet.line([(20, 206), (460, 206)], "faint", 2)
        sheet.line([(240, 196), (240, 216)], "green", 3)
        sheet.rectangle((left - 24, 168), (left + 24, 200), "blue")
        self._draw_force(sheet, (left, 184), action)


class LinearQuadratic4Kernel(_LinearQuadraticKernel):
    """The batch form of lab/linear-quadratic-4-v0. Observation: x, its speed, y, its speed, share of steps left."""

    picture_size = (480, 320)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        super().__init__(num_envs, PUCK, max_episode_steps)

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the puck between its three targets and the force of the last step."""
        x, _, y = self.arrays["state"][0, :3].tolist()
        for target, color in enumerate(("blue", "orange", "green")):
            angle = 2 * np.pi * target / 3
            center = (240 + 110 * float(np.cos(angle)), 160 - 110 * float(np.sin(angle)))
            sheet.circle(center, 16, "light", color)
            sheet.text(center, f"{target + 1}", size=15, anchor="middle")
        place = (240 + 110 * x, 160 - 110 * y)
        sheet.circle(place, 12, "blue")
        self._draw_force(sheet, place, action)


class Controllers(NamedTuple):
    """The best policy for each of several weights, u = -gain (x, 1)."""

    gains: Points
    """[step, preference, action, state + 1]"""
    returns: Points
    """[preference, objective] expected discounted return."""


def best_controllers(task: LinearQuadratic, discount: float, weights: Points, steps: int = STEPS) -> Controllers:
    """Return the best policy for each of several weights, by backward induction over quadratic costs to go.

    With Q = C'C and P the cost to go after a step, M = Q + discount P is the cost of where the step leads, so that
    gain = (R + B'MB)^-1 B'MA, and P before the step is gain' R gain + (A - B gain)' M (A - B gain).

    Args:
        task: the matrices.
        discount: of returns.
        weights: [preference, objective], positive.
        steps: length of the episode.
    """
    state_costs = np.einsum("kos,kot->kst", task.outputs, task.outputs)
    efforts = np.einsum("ka,ab->kab", task.effort, np.eye(task.effort.shape[1]))
    effort = np.einsum("pk,kab->pab", weights, efforts)
    size = len(task.dynamics)
    to_go = np.zeros((len(weights), len(task.outputs), size, size))  # of each objective under the policy
    gains = np.zeros((steps, len(weights), task.control.shape[1], size))
    for step in range(steps - 1, -1, -1):
        costs = state_costs + discount * to_go  # [preference, objective, state, state]
        cost = np.einsum("pk,pkst->pst", weights, costs)
        curvature = effort + task.control.T @ cost @ task.control
        gain = np.linalg.solve(curvature, task.control.T @ cost @ task.dynamics)
        closed = (task.dynamics - task.control @ gain)[:, None]
        paid = gain.swapaxes(1, 2)[:, None] @ efforts @ gain[:, None]
        to_go = paid + closed.swapaxes(2, 3) @ costs @ closed
        gains[step] = gain
    second_moments = np.diag(np.append(task.start**2 / 3.0, 1.0))  # of a uniform start
    return Controllers(gains, -np.einsum("pkst,st->pk", to_go, second_moments))


@cache
def _front(objectives: int, discount: float, steps: int) -> Points:
    task = CART if objectives == 2 else PUCK
    divisions = 100 if objectives == 2 else 9
    return convex_front(
        lambda weights: best_controllers(task, discount, weights, steps).returns, objectives, divisions=divisions
    )


def front_2(discount: float, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return the exact returns [accuracy, effort] that are best for one of 101 preferences.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(2, discount, steps_within(max_episode_steps, STEPS)).copy()


def front_4(discount: float, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return the exact returns [first, second, third target, effort] that are best for one of 220 preferences.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(4, discount, steps_within(max_episode_steps, STEPS)).copy()
