"""Running mean and variance of a stream of vectors, for normalizing observations and rewards."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RunningMeanStd:
    """Mean and variance of every element seen so far; elements are independent of each other.

    With shape (policy, feature) it is one normalizer per policy. Counts are kept per element, so that rows can be
    copied, replaced and continued on their own.

    Args:
        shape: the shape of one sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = np.zeros(shape)
        self.mean = np.zeros(shape)
        self.variance = np.ones(shape)  # population variance (divided by n); 1 while nothing has been seen

    def update(self, samples: NDArray[Any]) -> None:
        """Take in samples [n, *shape] at once; equal to taking them in one by one (Chan, Golub, LeVeque, 1979)."""
        if len(samples) == 0:
            return
        mean, variance = samples.mean(axis=0, dtype=np.float64), samples.var(axis=0, dtype=np.float64)
        total = self.count + len(samples)
        difference = mean - self.mean
        squares = self.variance * self.count + variance * len(samples)
        squares += difference**2 * self.count * len(samples) / total
        self.mean = self.mean + difference * len(samples) / total
        self.variance, self.count = squares / total, total

    def normalize(self, samples: NDArray[Any], clip: float = 10.0) -> NDArray[np.float64]:
        """Return (samples - mean) / sqrt(variance + 1e-8), clipped to +- `clip`; samples are [..., *shape]."""
        normalized: NDArray[np.float64] = (samples - self.mean) / np.sqrt(self.variance + 1e-8)
        return np.clip(normalized, -clip, clip)

    def state_dict(self) -> dict[str, Any]:
        """Return count, mean and variance."""
        return {"count": self.count.copy(), "mean": self.mean.copy(), "variance": self.variance.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.count, self.mean, self.variance = (np.array(state[name]) for name in ("count", "mean", "variance"))
