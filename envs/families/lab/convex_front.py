"""Convex fronts of small problems, by solving the scalar problem of each of many preferences exactly.

The convex front (convex coverage set) holds the expected returns that are best for some linear preference. No policy of
any kind, with or without memory or chance, is better for any of these preferences.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.pareto import non_dominated
from morl.preferences import simplex_lattice

Points = NDArray[np.float64]
Solve = Callable[[Points], Points]
"""Weights [preference, objective] -> the best expected return for each [preference, objective]."""

ENDLESS = 400
"""Steps that stand for no time limit; what later ones add to a discounted return is next to nothing."""
SMALLEST_WEIGHT = 1e-6
"""Weights are at least this, so that ties in one objective are decided by the others."""


def steps_within(max_episode_steps: int | None, longest: int = ENDLESS) -> int:
    """Return how many steps an episode has: its time limit, or `longest`; None and -1 mean that there is no limit."""
    return longest if max_episode_steps in (None, -1) else min(int(max_episode_steps or 0), longest)


class TabularProblem(NamedTuple):
    """A Markov decision process with few states; one of them may absorb and pay nothing: the end of the episode."""

    following: NDArray[np.int64]
    """[state, action, outcome] next state."""
    chances: Points
    """[state, action, outcome] probability of each outcome; they sum to one."""
    rewards: Points
    """[state, action, objective] expected reward; -inf forbids an action."""
    start: Points
    """[state] probability that an episode starts there."""


class Plans(NamedTuple):
    """The best policy for each preference."""

    actions: NDArray[np.int64]
    """[step, preference, state] action of each step of the episode."""
    returns: Points
    """[preference, objective] expected discounted return from the start distribution."""


def best_plans(problem: TabularProblem, discount: float, horizon: int, weights: Points) -> Plans:
    """Return the policies of the highest expected w.J within `horizon` steps, by backward induction.

    They may depend on the step, so that they bound every policy, with and without memory.

    Args:
        problem: the decision process.
        discount: of returns, in (0, 1].
        horizon: steps after which the episode is over.
        weights: [preference, objective], non-negative.
    """
    num_preferences = len(weights)
    num_states = len(problem.start)
    allowed: NDArray[np.bool_] = np.all(np.isfinite(problem.rewards), axis=2)
    rewards = np.where(allowed[:, :, None], problem.rewards, 0.0)
    pay = np.where(allowed, np.einsum("pm,sam->psa", weights, rewards), -np.inf)
    values = np.zeros((num_preferences, num_states))
    vectors = np.zeros((num_preferences, num_states, weights.shape[1]))
    actions = np.zeros((horizon, num_preferences, num_states), dtype=np.int64)
    rows = np.arange(num_preferences)[:, None, None]
    states = np.arange(num_states)
    for step in range(horizon - 1, -1, -1):
        quality = pay + discount * (values[:, problem.following] * problem.chances).sum(axis=3)
        chosen = quality.argmax(axis=2)
        following = problem.following[states, chosen]  # [preference, state, outcome]
        chances = problem.chances[states, chosen]
        onwards = np.einsum("pso,psom->psm", chances, vectors[rows, following])
        vectors = rewards[states, chosen] + discount * onwards
        values = quality.max(axis=2)
        actions[step] = chosen
    return Plans(actions, np.einsum("s,psm->pm", problem.start, vectors))


def scaled_lattice(solve: Solve, num_objectives: int, divisions: int) -> Points:
    """Return the weights [preference, objective] of an even lattice, in units of the range of each objective.

    Ranges are those of the returns that are best for one objective alone.

    Args:
        solve: returns the best point for each of several weights.
        num_objectives: length of a point.
        divisions: steps of the lattice on each edge of the simplex.
    """
    lattice = np.maximum(simplex_lattice(num_objectives, divisions), SMALLEST_WEIGHT)
    spans = np.ptp(solve(np.maximum(np.eye(num_objectives), SMALLEST_WEIGHT)), axis=0)
    scaled: Points = lattice / np.where(spans > 0.0, spans, 1.0)
    return scaled


def convex_front(solve: Solve, num_objectives: int, divisions: int) -> Points:
    """Return the distinct points [point, objective] that are best for some weights of a lattice.

    Args:
        solve: returns the best point for each of several weights.
        num_objectives: length of a point.
        divisions: steps of the lattice on each edge of the simplex.
    """
    points = solve(scaled_lattice(solve, num_objectives, divisions))
    return distinct_front(points)


def tabular_front(problem: TabularProblem, discount: float, horizon: int, divisions: int) -> Points:
    """Return the convex front [point, objective] of expected discounted returns within `horizon` steps.

    Args:
        problem: the decision process.
        discount: of returns, in (0, 1].
        horizon: steps after which the episode is over.
        divisions: of the lattice of preferences.
    """

    def solve(weights: Points) -> Points:
        return best_plans(problem, discount, horizon, weights).returns

    return convex_front(solve, problem.rewards.shape[2], divisions)


def distinct_front(points: Points) -> Points:
    """Return the distinct non-dominated points [point, objective], sorted by the first objective."""
    distinct = np.unique(np.round(points, 9), axis=0)
    return distinct[non_dominated(distinct)]
