"""Settings of C-MORL."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of C-MORL: the authors' for Hopper-2d, but for the solver, and smaller updates for shorter runs."""

    initial_steps: int = 64_000
    """Environment steps of Pareto initialization, of all policies together. Two thirds of all steps are a good share;
    the default fits the 100,000 of a run that says nothing else; a run that ends before never extends (authors: 8.0M of
    12.0M; they say 1.0M of 1.5M)."""
    initial_divisions: int | None = None
    """Resolution of the grid of initial preferences; as fine as 6 policies, or one per objective, allow by default.

    0 is a single policy with equal weights, that extension makes the whole front of: where one policy can be good in
    everything, it has all the steps."""
    samples_per_update: int = 1024
    """Transitions of each policy between two updates, rounded up to whole steps of its lanes (authors: 4096, 8 lanes x
    512 steps)."""
    epochs: int = 10
    """Passes over them in each update."""
    minibatches: int = 16
    """Gradient steps in each pass (authors: 32)."""
    learning_rate: float = 3e-4
    """Adam's step size at first; in initialization it falls linearly to 0."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers (tanh) of actor and critic."""
    initial_std: float = 1.0
    """Standard deviation of a fresh policy's continuous actions, in units of half their range (authors: 1 in the
    environment's units)."""
    one_hot: bool = False
    """Encode integer observations as one-hot, of the joint state where there are few (authors: raw integers)."""
    discount: float | None = None
    """Discount factor of learning; the environment's evaluation discount where not given."""
    trace: float = 0.95
    """Lambda of the generalized advantages."""
    clip: float = 0.2
    """Half width of the trust interval of probability ratios, and of values."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    solver: Literal["ipo", "cpo", "lagrangian", "compat"] = "ipo"
    """Extension: interior point (C-MORL-IPO), trust region (C-MORL-CPO), primal-dual, or the published code's."""
    selected: int | None = None
    """Members extended in each round, N; 5 of two objectives, 6 of more where not given."""
    extension_updates: int = 20
    """Updates of each task of a round, K'."""
    extension_learning_rate: float = 1e-4
    """Adam's step size in extension; in "compat" always what it was when the member was archived."""
    beta: float = 0.9
    """Share of a reference return that constraints keep, beta."""
    barrier_t: float = 20.0
    """Sharpness of the interior point barrier, t."""
    trust_radius: float = 0.01
    """Largest mean divergence of a trust region step."""
    multiplier_rate: float = 0.1
    """Step size of dual ascent, in deviations of the return."""
    constraints: dict[str, str] = field(default_factory=dict)
    """Bounds on the discounted return of objectives that need not be optimized, such as: energy ">= -50"."""
    snapshot_updates: int = 10
    """Updates between two snapshots in initialization; there is one after the first 1, 2, 4, 8, ... as well."""
    extension_snapshot_updates: int = 1
    """Updates between two snapshots in extension."""
    snapshot_episodes: int = 5
    """Episodes that evaluate a snapshot."""
    archive_capacity: int = 200
    """Most members of the archive (authors: 100 in their logs, 200 in their last code)."""
    duplicate_tolerance: float = 1e-3
    """A member must improve on every other by this share of the front's range in some objective."""
    interpolate: bool = False
    """After initialization and each round, also archive mixtures of neighbours (half-way in weight space) that are not
    dominated."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        sizes = (
            "initial_steps",
            "samples_per_update",
            "epochs",
            "minibatches",
            "learning_rate",
            "clip",
            "selected",
            "initial_std",
        )
        of_extension = ("extension_updates", "extension_learning_rate", "extension_snapshot_updates")
        of_solvers = ("barrier_t", "trust_radius", "multiplier_rate")
        of_the_archive = ("snapshot_updates", "snapshot_episodes", "archive_capacity")
        for name in (*sizes, *of_extension, *of_solvers, *of_the_archive):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, but must be finite and greater than 0")
        if self.initial_divisions is not None and self.initial_divisions < 0:
            raise ValueError(f"initial_divisions is {self.initial_divisions}, but must be at least 0")
        for name in ("beta", "trace", "entropy_weight", "duplicate_tolerance", "discount"):
            if getattr(self, name) is not None and not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must lie between 0 and 1")
        if self.minibatches > self.samples_per_update:
            raise ValueError(
                f"minibatches is {self.minibatches}, but must be at most samples_per_update, {self.samples_per_update}"
            )
        if self.constraints and self.solver == "compat":
            raise ValueError('solver is "compat", but must be another one where there are constraints: it knows none')
        if not all(width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but every width must be greater than 0")
