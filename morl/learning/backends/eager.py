"""Updates by PyTorch's automatic differentiation: the reference for every other backend."""

from collections.abc import Mapping

from torch import Tensor

from morl.learning.ppo import PPO, PolicyLoss


class EagerGradientStep:
    """The gradient step of a `PPO`; satisfies `morl.learning.ppo.GradientStep`."""

    backend = "eager"

    def __init__(self, ppo: PPO) -> None:
        self.ppo = ppo

    def __call__(
        self, batch: Mapping[str, Tensor], learning_rates: Tensor, policy_loss: PolicyLoss | None = None
    ) -> Tensor:
        """Take one gradient step in place; return the probability ratios [policy, batch] before it."""
        return self.ppo.step(batch, learning_rates, policy_loss)
