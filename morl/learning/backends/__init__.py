"""How updates are executed: `make_update` is the one door from an agent to a backend.

An agent whose update is no algorithm of `morl.learning` has the door `make_runner`.
"""

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Protocol, overload

import torch
from torch import Tensor

from morl.learning.backends import cuda_graph, numba
from morl.learning.backends.cuda_graph import MAX_UPDATES as MAX_UPDATES
from morl.learning.backends.cuda_graph import CapturedWork, GraphGradientStep, GraphUpdate
from morl.learning.backends.eager import EagerGradientStep, EagerUpdate, EagerWork, tf32_products
from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.ppo import PPO, GradientStep
from morl.learning.sampled_batches import SampledBatches
from morl.learning.types import Backend, BackendSetting, EagerOrGraph

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


class Tf32Update:
    """Updates whose products a GPU computes in TF32; satisfies `Update`.

    Args:
        update: what executes them.
    """

    def __init__(self, update: Update) -> None:
        self.update = update
        self.backend = update.backend

    def __call__(self, batches: SampledBatches) -> dict[str, Tensor]:
        """Run the update of every batch; return the latest value of each metric."""
        with tf32_products():
            return self.update(batches)


class RunWork(Protocol):
    """Runs work that depends on nothing but its key, its inputs, and tensors that stay where they are."""

    @property
    def backend(self) -> str:
        """Return the name of the backend that executes the work."""
        ...

    def __call__(
        self, key: Hashable, work: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Run work and return its results by name, which the next run may overwrite.

        Args:
            key: everything that the work depends on beside tensors.
            work: inputs -> results; other tensors it changes in place.
            inputs: tensors by name.
        """
        ...


def make_runner(device: torch.device, backend: EagerOrGraph = "auto") -> RunWork:
    """Return what runs the updates of an agent that are no algorithm of `morl.learning`.

    Args:
        device: where tensors live.
        backend: "eager", "cuda-graph", or "auto", which is eager.

    Raises:
        ValueError: the backend is "cuda-graph" and the device no GPU.
    """
    if backend != "cuda-graph":
        return EagerWork()
    _refuse(backend, cuda_graph.unsupported(device))
    return CapturedWork()


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
        backend: "eager", "numba", "cuda-graph", or "auto", which is numba, or falls back to eager with one logged line
            that names the reason.
        linear_utility: whether the batches will hold the weights of a linear utility.

    Raises:
        ValueError: the backend is "numba" or "cuda-graph" and does not support a setting, or the precision is "tf32"
            and the device no GPU; the message names it.
    """
    chosen = choose_backend(algorithm, backend, linear_utility=linear_utility)
    if chosen == "numba":
        return numba.make_update(algorithm)
    if isinstance(algorithm, PPO):
        return EagerGradientStep(algorithm) if chosen == "eager" else GraphGradientStep(algorithm)
    update = EagerUpdate(algorithm) if chosen == "eager" else GraphUpdate(algorithm)
    return Tf32Update(update) if _precision(algorithm) == "tf32" else update


def choose_backend(
    algorithm: PPO | OffPolicyAlgorithm, backend: BackendSetting = "auto", *, linear_utility: bool = True
) -> Backend:
    """Return the backend that `make_update` chooses.

    Args:
        algorithm: whose parameters change.
        backend: "eager", "numba", "cuda-graph", or "auto", which is numba, or falls back to eager with one logged line
            that names the reason.
        linear_utility: whether the batches will hold the weights of a linear utility.

    Raises:
        ValueError: the backend is "numba" or "cuda-graph" and does not support a setting, or the precision is "tf32"
            and the device no GPU; the message names it.
    """
    parameters = algorithm.parameters if isinstance(algorithm, PPO) else algorithm.tensors()["actor"]
    if _precision(algorithm) == "tf32" and parameters.device.type == "cpu":
        raise ValueError("precision is 'tf32', but device is 'cpu', and only GPUs have TF32: use 'float32'")
    if backend == "eager":
        return "eager"
    if backend == "cuda-graph":
        combiner = getattr(getattr(algorithm, "settings", None), "combiner", "weighted-sum")
        _refuse(backend, cuda_graph.unsupported(parameters.device, combiner))
        return "cuda-graph"
    reason = numba.unsupported(algorithm, linear_utility)
    if reason is None and backend == "auto":
        reason = numba.slower(algorithm)
    if reason is None:
        return "numba"
    if backend == "numba":
        _refuse(backend, reason)
    _LOG.info("Updates are executed by eager PyTorch: %s.", reason)
    return "eager"


def _precision(algorithm: PPO | OffPolicyAlgorithm) -> str:
    """Return the setting of that name; algorithms without it compute in float32."""
    precision: str = getattr(getattr(algorithm, "settings", None), "precision", "float32")
    return precision


def _refuse(backend: str, reason: str | None) -> None:
    """Raise ValueError where there is a reason against a backend."""
    if reason is not None:
        raise ValueError(f"backend is {backend!r}, but {reason}: use 'eager' or 'auto'")
