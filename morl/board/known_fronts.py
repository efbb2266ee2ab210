"""Known fronts of problems: looked up by the environment's id, or as the run folders hold them."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def registered_front(env: str, env_options: Mapping[str, object], discount: float, objectives: int) -> Array | None:
    """Return the true front [k, objective] that `morl.envs.specs` has of an environment; None where it has none.

    The id is only looked up there: no environment is built, and nothing that a run folder names is imported.

    Args:
        env: the environment's id.
        env_options: arguments of its constructor.
        discount: evaluation discount.
        objectives: how many the run has.
    """
    from morl.envs import specs

    function = specs[env].known_front if env in specs else None
    if function is None:
        return None
    try:
        points = np.asarray(function(discount, **env_options), dtype=np.float64)
    except Exception:  # options of a run folder that mean nothing to this version of the environment
        return None
    return points if points.ndim == 2 and points.shape[1] == objectives else None


def agreed_front(stated: Iterable[Array | None]) -> Array | None:
    """Return the front [k, objective] that most runs of one problem state, the first of equally many; None for none.

    One damaged run folder must not draw a wrong front behind the others.
    """
    fronts: dict[bytes, Array] = {}
    votes: dict[bytes, int] = {}
    for points in stated:
        if points is not None:
            key = points.tobytes()
            fronts.setdefault(key, points)
            votes[key] = votes.get(key, 0) + 1
    return fronts[max(votes, key=lambda key: votes[key])] if votes else None
