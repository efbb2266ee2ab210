"""The known front as a check: where nothing is left to chance, returns that are better contradict it.

Whether there is chance is told by the environments' generators, and by episodes from different seeds that pay the same.
"""

from collections.abc import Iterable

import numpy as np
from gymnasium.utils import seeding

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.single import SingleKernelEnv
from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.core.contract import OutcomeGuard
from morl.protocols import FloatArray, IndexArray, VectorEnvironment

ROUNDING = 1e-5
"""Share of a return, or of 1, that rounding may change: environments may pay in float32."""
MARGIN = 1e-3
"""Share of the front's range in an objective by which a return must exceed the front there."""


def rows_beyond(points: FloatArray, front: FloatArray) -> IndexArray:
    """Return the rows of returns that dominate a point of the front by more than rounding.

    A return between two points of a front that is only sampled dominates neither of them.

    Args:
        points: [n, objective] returns.
        front: [k, objective] the known front.
    """
    rounding = ROUNDING * np.maximum(1.0, np.abs(front))
    margin = np.maximum(rounding, MARGIN * np.ptp(front, axis=0))
    gains = points[:, None] - front
    beyond = (gains >= -rounding).all(axis=2) & (gains > margin).any(axis=2)
    return np.flatnonzero(beyond.any(axis=1))


def draws_nothing(envs: VectorEnvironment) -> bool:
    """Return whether environments are known to have drawn no random number since they were seeded.

    Args:
        envs: after some episodes.
    """
    if isinstance(envs, KernelVectorEnv):
        return envs.streams is None
    if isinstance(envs, SynchronousVectorEnv):
        return all(_is_untouched(env) for env in envs.envs if isinstance(env, OutcomeGuard))
    return False


def _is_untouched(guard: OutcomeGuard) -> bool:
    """Return whether the generator of an environment is as its latest seed made it."""
    inner = guard.unwrapped
    if isinstance(inner, SingleKernelEnv):
        return inner.kernel.streams is None
    if guard.last_seed is None:
        return False
    fresh, _ = seeding.np_random(guard.last_seed)
    return bool(inner.np_random.bit_generator.state == fresh.bit_generator.state)


def contradiction(points: FloatArray, front: FloatArray, envs: Iterable[VectorEnvironment]) -> str:
    """Return the sentence that says by which return the environment contradicts its known front; empty if it does not.

    Args:
        points: [n, objective] mean returns.
        front: [k, objective] the known front, under the same discount.
        envs: the environments that paid the returns; a mean over random episodes may exceed the front by luck.
    """
    rows = rows_beyond(points, front)
    drew_nothing = [draws_nothing(each) for each in envs]
    if not rows.size or not drew_nothing or not all(drew_nothing):
        return ""
    better = points[rows[0]]
    nearest = front[np.linalg.norm((front - better) / np.maximum(np.ptp(front, axis=0), ROUNDING), axis=1).argmin()]
    return (
        f"the environment pays more than its known front: {np.round(better, 6).tolist()} was returned, and the nearest"
        f" point of the front is {np.round(nearest, 6).tolist()}; known_front is wrong, or the environment is"
    )
