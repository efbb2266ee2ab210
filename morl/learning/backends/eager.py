"""Updates by PyTorch's automatic differentiation: the reference for every other backend."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from morl.learning.off_policy import OffPolicyAlgorithm
    from morl.learning.ppo import PPO, PolicyLoss
    from morl.learning.sampled_batches import SampledBatches


class EagerUpdate:
    """Updates of an off-policy algorithm, one after the other; satisfies `morl.learning.backends.Update`."""

    backend = "eager"

    def __init__(self, algorithm: "OffPolicyAlgorithm") -> None:
        self.algorithm = algorithm

    def __call__(self, batches: "SampledBatches") -> dict[str, Tensor]:
        """Run the update of every batch; return the latest value of each metric."""
        metrics: dict[str, Tensor] = {}
        for batch in batches:
            metrics |= self.algorithm.update(batch)
        return metrics


class EagerGradientStep:
    """The gradient step of a `PPO`; satisfies `morl.learning.ppo.GradientStep`."""

    backend = "eager"

    def __init__(self, ppo: "PPO") -> None:
        self.ppo = ppo

    def __call__(
        self, batch: Mapping[str, Tensor], learning_rates: Tensor, policy_loss: "PolicyLoss | None" = None
    ) -> Tensor:
        """Run one gradient step in place; return the probability ratios [policy, batch] before it."""
        return self.ppo.step(batch, learning_rates, policy_loss)


class EagerWork:
    """Runs any work as it is; satisfies `morl.learning.backends.RunWork`."""

    backend = "eager"

    def __call__(
        self,
        key: Hashable,  # noqa: ARG002
        work: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
        inputs: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Run work and return its results.

        Args:
            key: not read.
            work: inputs -> results.
            inputs: tensors by name.
        """
        return work(inputs)


@contextmanager
def tf32_products() -> Iterator[None]:
    """Let GPUs multiply matrices of float32 in TF32, until the block ends.

    It is a setting of the process: callers have one of their own, which is restored.
    """
    matmul = torch.backends.cuda.matmul
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)
