"""How updates are executed: `make_update` is the one door from an agent to a backend."""

import logging
from typing import Literal, Protocol, TypeAlias, overload

from torch import Tensor

from morl.learning.backends import numba
from morl.learning.backends.eager import EagerGradientStep, EagerUpdate
from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.ppo import PPO, GradientStep
from morl.learning.sampled_batches import SampledBatches

Backend: TypeAlias = Literal["eager", "numba"]
"""A backend that executes updates."""

BackendSetting: TypeAlias = Literal["auto", "eager", "numba"]
"""A setting that chooses one; auto: numba where it supports all settings and the device, else eager."""

_LOG = logging.getLogger("morl")


class Update(Protocol):
    """The updates of an off-policy algorithm, executed by a backend."""

    @property
    def backend(self) -> str:
        """Return the name of the backend that executes the updates."""
        ...

    def __call__(self, batches: SampledBatches) -> dict[str, Tensor]:
        """Run the update of every batch, of the whole population; return the latest value of each metric."""
        ...


@overload
def make_update(algorithm: PPO, backend: BackendSetting = "auto") -> GradientStep: ...
@overload
def make_update(
    algorithm: OffPolicyAlgorithm, backend: BackendSetting = "auto", *, linear_utility: bool = True
) -> Update: ...
def make_update(
    algorithm: PPO | OffPolicyAlgorithm, backend: BackendSetting = "auto", *, linear_utility: bool = True
) -> GradientStep | Update:
    """Return the update of an algorithm, executed by a backend.

    Args:
        algorithm: whose parameters change.
        backend: "eager", "numba", or "auto", which falls back to eager with one logged line that names the reason.
        linear_utility: whether the batches will hold the weights of a linear utility.

    Raises:
        ValueError: the backend is "numba" and does not support a setting; the message names it.
    """
    chosen = choose_backend(algorithm, backend, linear_utility=linear_utility)
    if chosen == "eager":
        return EagerGradientStep(algorithm) if isinstance(algorithm, PPO) else EagerUpdate(algorithm)
    return numba.make_update(algorithm)


def choose_backend(
    algorithm: PPO | OffPolicyAlgorithm, backend: BackendSetting = "auto", *, linear_utility: bool = True
) -> Backend:
    """Return the backend that `make_update` chooses.

    Args:
        algorithm: whose parameters change.
        backend: "eager", "numba", or "auto", which falls back to eager with one logged line that names the reason.
        linear_utility: whether the batches will hold the weights of a linear utility.

    Raises:
        ValueError: the backend is "numba" and does not support a setting; the message names it.
    """
    if backend == "eager":
        return "eager"
    reason = numba.unsupported(algorithm, linear_utility)
    if reason is None and backend == "auto":
        reason = numba.slower(algorithm)
    if reason is None:
        return "numba"
    if backend == "numba":
        raise ValueError(f"backend is 'numba', but {reason}: use 'eager' or 'auto'")
    _LOG.info("Updates are executed by eager PyTorch: %s.", reason)
    return "eager"
