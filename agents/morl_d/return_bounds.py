"""The reference points of utilities: the ideal return above, the worst return of the archive below."""

from collections.abc import Mapping

import numpy as np

from morl.agents.morl_d.config import Config
from morl.protocols import FloatArray, Problem


class ReturnBounds:
    """The range of returns in each objective: from the worst of the archive to the ideal point.

    Args:
        objectives: number of objectives.
        ideal: static ideal point [objective]; None: the best return seen so far in each objective, in training
            episodes too. With an ideal that only evaluations move, no policy gains by exceeding the best evaluation.
        margin: distance of the running ideal beyond the best return, as a share of the range.
        lowest: lower end of the range [objective] with a static ideal; None: one below the ideal.
    """

    def __init__(self, objectives: int, ideal: FloatArray | None, margin: float, lowest: FloatArray | None) -> None:
        self.static = ideal is not None
        self.margin = margin
        self.ideal = np.zeros(objectives) if ideal is None else np.array(ideal, dtype=np.float64)
        self.lowest = self.ideal - 1.0 if lowest is None else np.array(lowest, dtype=np.float64)
        self.best = np.full(objectives, -np.inf)
        self.worst = np.full(objectives, np.inf)

    @staticmethod
    def of(config: Config, problem: Problem) -> "ReturnBounds":
        """Return the bounds for the settings and the reference point of an environment."""
        ideal = None if config.reference == "running" or config.ideal is None else np.array(config.ideal)
        if ideal is not None and problem.units is not None:
            ideal = ideal / np.array(problem.units)
        lowest = None if problem.reference_point is None else np.array(problem.reference_point)
        return ReturnBounds(problem.num_objectives, ideal, config.ideal_margin, lowest)

    def observe(self, returns: FloatArray) -> None:
        """Record the best of the returns of training episodes; the next `update` moves the ideal there.

        Args:
            returns: [episode, objective], discounted.
        """
        self.best = np.maximum(self.best, returns.max(axis=0, initial=-np.inf))

    def update(self, returns: FloatArray, front: FloatArray) -> None:
        """Move a running ideal and the lower end after an evaluation.

        Where the archive holds a single value of an objective, the range starts at the worst return ever seen, or one
        below the best: an empty range would make every difference infinitely large.

        Args:
            returns: mean returns of the policies [policy, objective].
            front: points of the archive [point, objective].
        """
        if self.static:
            return
        self.best = np.maximum(self.best, returns.max(axis=0))
        self.worst = np.minimum(self.worst, returns.min(axis=0))
        self.lowest = front.min(axis=0)
        self.lowest = np.where(self.lowest < self.best, self.lowest, self.worst)
        self.lowest = np.where(self.lowest < self.best, self.lowest, self.best - 1.0)
        self.ideal = self.best + self.margin * (self.best - self.lowest)

    def as_array(self) -> FloatArray:
        """Return lowest and ideal returns [2, objective]."""
        return np.stack([self.lowest, self.ideal])

    def state_dict(self) -> dict[str, FloatArray]:
        """Return the state for a checkpoint."""
        return {"best": self.best, "worst": self.worst, "lowest": self.lowest, "ideal": self.ideal}

    def load_state_dict(self, state: Mapping[str, FloatArray]) -> None:
        """Restore a state that `state_dict` returned."""
        self.best = state["best"]
        self.worst = state["worst"]
        self.lowest = state["lowest"]
        self.ideal = state["ideal"]
