"""Distributions over actions: plain values that hold tensors [policy, batch, ...], for a whole population at once.

Actions are [policy, batch, width] of floats everywhere; a category is one number, width 1.
"""

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normal distributions.

    Attributes:
        mean: [policy, batch, action].
        log_std: log of the standard deviation, broadcast against `mean`.
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return random actions [policy, batch, action]."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """Return the most likely actions [policy, batch, action]."""
        return self.mean

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return log p(a) [policy, batch], summed over actions: -((a - mu) / sigma)^2 / 2 - log(sigma sqrt(2 pi))."""
        standard = (actions - self.mean) * (-self.log_std).exp()
        constant = 0.5 * log(2.0 * pi) * self.mean.shape[-1]
        return -0.5 * standard.square().sum(dim=-1) - self.log_std.sum(dim=-1) - constant

    def entropy(self) -> Tensor:
        """Return the differential entropy, broadcastable to [policy, batch]."""
        return self.log_std.sum(dim=-1) + 0.5 * (1.0 + log(2.0 * pi)) * self.mean.shape[-1]

    def divergence(self, other: "DiagonalGaussian") -> Tensor:
        """Return KL(self || other) [policy, batch]."""
        variance = (2.0 * self.log_std).exp()
        other_variance = (2.0 * other.log_std).exp()
        squares = (variance + (self.mean - other.mean).square()) / (2.0 * other_variance)
        return (other.log_std - self.log_std + squares - 0.5).sum(dim=-1)


@dataclass(frozen=True)
class Categorical:
    """One choice out of several.

    Attributes:
        log_probabilities: [policy, batch, choice], normalized.
    """

    log_probabilities: Tensor

    @staticmethod
    def masked(logits: Tensor, mask: Tensor | None) -> "Categorical":
        """Return the distribution of logits [policy, batch, choice] over the choices that `mask` allows.

        A forbidden choice has probability zero (and no gradient). In a row that allows nothing, as padding of a batch
        does, everything counts as allowed: masks of environments are checked where they are read.

        Args:
            logits: [policy, batch, choice].
            mask: [policy, batch, choice] allowed choices; None: all are.
        """
        if mask is not None:
            mask = mask.bool()
            allowed = mask | ~mask.any(dim=-1, keepdim=True)
            logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)
        return Categorical(logits.log_softmax(dim=-1))

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return random choices [policy, batch, 1] by the Gumbel-max rule: argmax_i log p_i - log E_i, E_i ~ Exp(1)."""
        exponential = torch.empty_like(self.log_probabilities).exponential_(generator=generator)
        return self._choice(self.log_probabilities - exponential.log())

    def mode(self) -> Tensor:
        """Return the most likely choices [policy, batch, 1]."""
        return self._choice(self.log_probabilities)

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return log p(a) [policy, batch]."""
        return self.log_probabilities.gather(-1, actions.long()).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [policy, batch]."""
        return -self._expectation(self.log_probabilities)

    def divergence(self, other: "Categorical") -> Tensor:
        """Return KL(self || other) [policy, batch]."""
        return self._expectation(self.log_probabilities - other.log_probabilities)

    def _expectation(self, values: Tensor) -> Tensor:
        probabilities = self.log_probabilities.exp()
        return (probabilities * values.masked_fill(probabilities == 0.0, 0.0)).sum(dim=-1)  # 0 log 0 = 0

    def _choice(self, scores: Tensor) -> Tensor:
        return scores.argmax(dim=-1, keepdim=True).to(self.log_probabilities.dtype)


LOG_STD_RANGE = (-5.0, 2.0)
"""Range of the logarithm of a squashed Gaussian's standard deviation."""


@dataclass(frozen=True)
class SquashedGaussian:
    """tanh of independent normal variables: actions in (-1, 1) (Haarnoja et al. 2018).

    Attributes:
        mean: [policy, batch, action] before the tanh.
        log_std: [policy, batch, action] log of the standard deviation before the tanh.
    """

    mean: Tensor
    log_std: Tensor

    @staticmethod
    def of(outputs: Tensor) -> "SquashedGaussian":
        """Return the distribution of a network's outputs [policy, batch, 2 action].

        The first half are means, the second half unbounded numbers that a tanh maps into `LOG_STD_RANGE`.
        """
        mean, raw = outputs.chunk(2, dim=-1)
        low, high = LOG_STD_RANGE
        return SquashedGaussian(mean, low + 0.5 * (high - low) * (raw.tanh() + 1.0))

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return random actions [policy, batch, action]."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return (self.mean + self.log_std.exp() * noise).tanh()

    def mode(self) -> Tensor:
        """Return tanh(mean) [policy, batch, action], the action that SAC evaluates."""
        return self.mean.tanh()


Distribution = DiagonalGaussian | Categorical
