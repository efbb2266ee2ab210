"""Updates by PyTorch's automatic differentiation: the reference for every other backend."""

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING

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
