"""Running mean and variance of a stream of vectors, for normalizing observations and rewards."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.protocols import FloatArray


class MeanStdState(TypedDict):
    """State of a `RunningMeanStd`, or of one row of it: counts, means and variances."""

    count: FloatArray
    mean: FloatArray
    variance: FloatArray


class RunningMeanStd:
    """Mean and variance of every element seen so far; elements are independent of each other.

    With shape (policy, feature) it is one normalizer per policy. Counts are kept per element, so that rows can be
    copied, replaced and continued on their own.

    Args:
        shape: the shape of one sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count: FloatArray = np.zeros(shape)
        self.mean: FloatArray = np.zeros(shape)
        self.variance: FloatArray = np.ones(shape)  # population variance (divided by n); 1 before the first sample

    def update(self, samples: NDArray[np.floating]) -> None:
        """Include samples [n, *shape]; equal to including them one by one (Chan, Golub and LeVeque 1979)."""
        if len(samples) == 0:
            return
        mean = samples.mean(axis=0, dtype=np.float64)
        variance = samples.var(axis=0, dtype=np.float64)
        total = self.count + len(samples)
        difference = mean - self.mean
        squares = self.variance * self.count + variance * len(samples)
        squares += difference**2 * self.count * len(samples) / total
        self.mean = self.mean + difference * len(samples) / total
        self.variance = squares / total
        self.count = total

    def normalize(self, samples: NDArray[np.floating], clip: float = 10.0) -> FloatArray:
        """Return (samples - mean) / sqrt(variance + 1e-8), clipped to +-clip.

        Args:
            samples: [..., *shape].
            clip: largest absolute value returned, in standard deviations.
        """
        normalized: FloatArray = (samples - self.mean) / np.sqrt(self.variance + 1e-8)
        return np.clip(normalized, -clip, clip)

    def row(self, index: int) -> MeanStdState:
        """Return a copy of the statistics of one row, such as one policy's."""
        return {
            "count": self.count[index].copy(),
            "mean": self.mean[index].copy(),
            "variance": self.variance[index].copy(),
        }

    def set_row(self, index: int, state: MeanStdState) -> None:
        """Replace the statistics of one row.

        Args:
            index: of the row.
            state: statistics that `row` returned.
        """
        self.count[index] = state["count"]
        self.mean[index] = state["mean"]
        self.variance[index] = state["variance"]

    def state_dict(self) -> MeanStdState:
        """Return copies of count, mean and variance."""
        return {"count": self.count.copy(), "mean": self.mean.copy(), "variance": self.variance.copy()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Restore a state that `state_dict` returned."""
        self.count = np.array(state["count"])
        self.mean = np.array(state["mean"])
        self.variance = np.array(state["variance"])
