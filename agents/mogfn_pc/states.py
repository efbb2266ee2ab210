"""What MOGFN-PC must know of the states of an environment: how many parents each has, and that it moves as promised."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from gymnasium import spaces

from morl.plugins import imported
from morl.protocols import BoolArray, FloatArray, IndexArray, Observations, Problem

Parents: TypeAlias = Callable[[Observations], FloatArray]
"""A batch of observations -> the number of states [n] from which one action leads to each; at the start 0."""


def find_parents(name: str, problem: Problem) -> Parents:
    """Return the function that counts parents.

    Args:
        name: "grid", "tree" or "module:function".
        problem: the environment.

    Raises:
        ValueError: there is no such function, or the environment is no grid.
    """
    if ":" in name:
        return imported("parents", name)
    if name == "tree":
        return one_parent
    if not is_grid(problem):
        raise ValueError(
            f"parents is 'grid', but must be your own 'module:function' on {problem.id}, or 'tree' where each state can"
            " be reached in one way only: a grid has observations of k integers and k + 1 actions, not"
            f" {problem.observation_space} and {problem.action_space}"
        )
    assert isinstance(problem.observation_space, spaces.Box)
    lowest = problem.observation_space.low
    return lambda observations: (np.asarray(observations) > lowest).sum(axis=1).astype(np.float64)


def one_parent(observations: Observations) -> FloatArray:
    """Return 1 for every observation: there is one way to each state."""
    return np.ones(batch_length(observations))


def batch_length(observations: Observations) -> int:
    """Return the number of observations in a batch of any space."""
    match observations:
        case dict():
            return batch_length(next(iter(observations.values())))
        case tuple():
            return batch_length(observations[0])
        case _:
            return len(observations)


def is_grid(problem: Problem) -> bool:
    """Return whether observations are k integers and there are k + 1 actions: one along each axis, and to stop."""
    space = problem.observation_space
    actions = problem.action_space
    if not isinstance(space, spaces.Box) or not isinstance(actions, spaces.Discrete):
        return False
    return len(space.shape) == 1 and space.dtype.kind in "iu" and int(actions.n) == space.shape[0] + 1


def check_grid_step(
    before: IndexArray, actions: IndexArray, after: IndexArray, rewards: FloatArray, ended: BoolArray
) -> None:
    """Check that moves lead one step along their axis and pay nothing.

    Args:
        before: [env, axis] cells.
        actions: [env] counted from 0.
        after: [env, axis] cells after them.
        rewards: [env, objective].
        ended: [env] whether the episode ended; such steps are not checked.

    Raises:
        ValueError: an environment moves otherwise.
    """
    moved = after - before
    expected = np.eye(moved.shape[1] + 1, moved.shape[1], dtype=np.int64)[actions]
    wrong = ~ended & ((moved != expected).any(axis=1) | (rewards != 0.0).any(axis=1))
    if wrong.any():
        env = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"parents is 'grid', but action {actions[env]} led from {before[env].tolist()} to"
            f" {after[env].tolist()} and paid {rewards[env].tolist()}: in a grid action k adds 1 to number"
            " k and pays nothing; for other environments set parents to 'tree' or your own 'module:function'"
        )


def count_parents(count: Parents, name: str, observations: Observations, num_envs: int) -> FloatArray:
    """Return the number of parents [env] of each observation.

    Args:
        count: the function.
        name: its name, for the message.
        observations: a batch of the environment's observations.
        num_envs: number of observations.

    Raises:
        ValueError: it failed, or returned anything but a whole number, not negative, for each observation.
    """
    try:
        found = np.asarray(count(observations))
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(f"parents is {name!r}, which raised {type(error).__name__}: {error}") from error
    numbers = found.shape == (num_envs,) and found.dtype.kind in "fiu"
    if not numbers or not (np.isfinite(found) & (found >= 0) & (found == np.floor(found))).all():
        excerpt = " ".join(repr(found).split())
        raise ValueError(
            f"parents is {name!r}, which returned {excerpt:.100}, but must return the number of parents of each of"
            f" {num_envs} observations"
        )
    return found.astype(np.float64)
