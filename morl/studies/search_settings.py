"""The table `[tune]` of a tune.toml: how settings are searched, and what is maximized."""

from dataclasses import dataclass
from typing import Literal

from morl.studies.executors import ObjectiveName


@dataclass(frozen=True, kw_only=True)
class Search:
    """The table `[tune]`: how settings are searched."""

    trials: int = 50
    """Trials in all, over all processes and restarts; the first has the settings of the file itself."""
    minutes: float | None = None
    """No trial begins later than this many minutes after a start; those that have begun are finished."""
    objective: ObjectiveName = "hypervolume"
    """Indicator that is maximized, on fresh episodes."""
    episodes: int = 10
    """Fresh episodes of each policy of a run's front."""
    prune: bool = True
    """Whether a trial ends where it is worse than the median of the complete ones after as many evaluations."""
    space: Literal["none", "default"] = "none"
    """The agent's shipped search space below the table `[ranges]`, or that table alone."""
    seed: int = 0
    """Of the sampler."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in ("trials", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes}, but must be greater than 0")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, but must be an integer >= 0")
