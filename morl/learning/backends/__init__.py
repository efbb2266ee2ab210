"""How updates are executed: `make_update` is the one door from an agent to a backend."""

import logging
from typing import Literal

from morl.learning.backends.eager import EagerGradientStep
from morl.learning.ppo import PPO, GradientStep

BackendName = Literal["auto", "eager", "numba"]
"""What a setting may ask for; "auto" is the compiled backend where it supports all settings, else eager PyTorch."""

_LOG = logging.getLogger("morl")


def make_update(algorithm: PPO, backend: BackendName = "auto") -> GradientStep:
    """Return the update of an algorithm, executed by a backend.

    Args:
        algorithm: whose parameters change.
        backend: "eager", "numba", or "auto", which falls back to eager with a logged line.

    Raises:
        ValueError: the backend is "numba" and does not support a setting of the algorithm.
    """
    if backend == "eager":
        return EagerGradientStep(algorithm)
    from morl.learning.backends.numba import ppo  # Numba is imported by those who use it

    reason = ppo.unsupported(algorithm)
    if reason is None:
        return ppo.NumbaGradientStep(algorithm)
    if backend == "numba":
        raise ValueError(f"backend is 'numba', but {reason}: use 'eager' or 'auto'")
    _LOG.info("Updates are executed by eager PyTorch: %s.", reason)
    return EagerGradientStep(algorithm)
