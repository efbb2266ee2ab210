"""The settings of MORL/D: the traits of its taxonomy, the numbers of its solvers, and presets that set several traits.

A trait that is not given is as the preset says; the preset says what is not as in `VANILLA`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Preset = Literal["vanilla", "sb", "psa", "sb-psa", "transfer", "tchebycheff", "eupg", "moea-d", "pg-morl", "gpi-ls"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of MORL/D; the numbers are by default those that its authors used on mo-halfcheetah."""

    preset: Preset = "vanilla"
    """What the traits are that are not given: a named instantiation of the framework (docs/morl_d.md has the table)."""
    population: int = 6
    """Policies, each with a weight vector of its own."""
    exchange_every: int = 50_000
    """Environment steps, of all policies together, between two exchanges."""
    evaluation_episodes: int = 5
    """Episodes of each policy in the evaluation of an exchange."""

    solver: str | None = None
    """What solves the scalar problems: sac, discrete-sac, td3, dqn, ppo, eupg, or sb3:NAME for an algorithm of
    Stable-Baselines3 (sb3:TQC of sb3-contrib); auto is sac for continuous and dqn for discrete actions."""
    criterion: Literal["ser", "esr"] | None = None
    """Utility of the expected return (SER), or expected utility of the return (ESR)."""
    utility: str | None = None
    """What a return is worth: linear, tchebycheff, augmented-tchebycheff, smooth-tchebycheff, pbi, or a function
    "module:name" of (returns, preferences, ideal) that works on tensors."""
    reference: Literal["static", "running"] | None = None
    """Where the ideal point comes from: `ideal`, or the best return seen so far in each objective."""
    ideal: tuple[float, ...] | None = None
    """The ideal point (static), in the units of discounted returns."""
    ideal_margin: float = 0.0
    """How far the ideal point lies beyond the best return, as a share of the range seen (tau)."""
    scale: Literal["none", "range"] | None = None
    """Whether the utility sees raw returns, or each objective's share of the range between worst and best."""
    condition: Literal["state", "accrued"] | None = None
    """What policies act on: the observation, or also what the episode has paid so far."""

    weights: Literal["riesz", "lattice", "dirichlet", "corners"] | None = None
    """First weight vectors: well spread for any number, a simplex lattice, random, or the corners in turn."""
    adaptation: Literal["none", "psa", "corner-weights"] | None = None
    """How weights change at an exchange: not, away from the nearest member of the archive (PSA), or to where the
    best policy of the archive changes (corner weights, as OLS and GPI-LS)."""
    psa_factor: float = 0.1
    """By how much PSA raises a weight (delta)."""
    neighbourhood: Literal["none", "nearest", "all"] | None = None
    """With whom a policy cooperates."""
    neighbours: int = 1
    """Number of nearest neighbours."""
    neighbourhood_space: Literal["weights", "objectives"] | None = None
    """Where neighbours are near: weight vectors, or returns (each objective by its range)."""
    neighbourhood_update: Literal["static", "dynamic"] | None = None
    """Whether neighbours are found once or after every exchange."""
    transfer: Literal["none", "first-sweep", "always", "soft", "best"] | None = None
    """What parameters neighbours exchange: none; trained policies replace untrained neighbours; trained ones
    replace neighbours always; neighbours drift towards trained ones; the policy that serves my weights best replaces
    mine (MOEA/D's replacement)."""
    soft_rate: float = 0.05
    """How far a soft transfer moves parameters, from 0 to 1."""
    networks: Literal["separate", "shared-layers", "conditioned"] | None = None
    """Networks of the population: one each, first layers in common, or one network that takes the weights as input."""
    shared_layers: int = 1
    """How many first layers are in common."""
    replay: Literal["own", "neighbours", "shared"] | None = None
    """Whose experience a policy learns from."""
    selection: Literal["round-robin", "random", "tournament", "most-promising"] | None = None
    """Which policies train until the next exchange, where not all do."""
    selected: int | None = None
    """Policies that train side by side; the most that divides the lanes evenly where not given."""
    archive: Literal["pareto", "bounded", "convex"] | None = None
    """What the archive keeps: all non-dominated policies, `archive_capacity` of them, or those that are the best for
    some linear preference."""
    archive_capacity: int = 50
    """Policies that a bounded archive keeps."""

    discount: float | None = None
    """Discount factor of learning; the environment's evaluation discount where not given."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    one_hot: bool = False
    """Encode integer observations as one-hot, of the joint state where there are few."""
    batch_size: int = 128
    """Transitions of each policy in an update."""
    updates_per_step: float = 1.0
    """Gradient updates of a policy per environment step that it takes."""
    offline_updates: int = 10
    """Gradient updates, at an exchange, of every policy that did not train since the last one."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for policies."""
    critic_learning_rate: float = 1e-3
    """Adam's step size for critics and temperatures."""
    tau: float = 0.005
    """Rate of the target networks' soft updates (tau)."""
    policy_delay: int = 2
    """Critic updates between two of the policy, which then makes up for them."""
    temperature: float | None = None
    """Weight of the entropy (alpha) in SAC; learnt where not given."""
    target_entropy_scale: float | None = None
    """The learnt temperature keeps the entropy at -scale x action dimensions (1 where not given) or at scale x the
    largest possible entropy of discrete actions (0.3 where not given)."""
    buffer_size: int = 1_000_000
    """Transitions kept: of each policy, or by all together where replay is shared."""
    random_exploration_steps: int = 1_000
    """Steps that a policy acts at random before it acts by itself. These and the next are counted for each policy
    on its own, or for all together where they learn from the same experience: replay shared, networks conditioned."""
    learning_starts: int = 1_000
    """Steps before a policy's first update."""
    exploration_start: float | None = None
    """Probability of a random action after the random steps; where not given, 1 for dqn and 0 for others."""
    exploration_end: float | None = None
    """Probability of a random action in the end; where not given, 0.05 for dqn and 0 for others."""
    exploration_steps: int = 100_000
    """Steps over which that probability falls linearly."""
    rollout_steps: int = 128
    """Steps of each lane between two updates of ppo and eupg."""
    epochs: int | None = None
    """Passes of ppo and eupg over their samples; as the preset says where not given (10; eupg 1, as published)."""
    minibatches: int | None = None
    """Gradient steps in each pass; as the preset says where not given (8; eupg 1, as published)."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus of ppo and eupg."""
    trace: float = 0.95
    """Lambda of the advantages of ppo and eupg."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the products between hidden layers."""
    workers: int | None = None
    """Threads that train the population, each its own part with a random stream of its own; where not given, 2 if
    the hidden layers are at least 128 wide, and 1 for small ones, which would only wait for each other, and for
    compiled updates (SAC with linear utility), which share out the processors themselves."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        limits = dict.fromkeys(_POSITIVE, "greater than 0") | dict.fromkeys(_SHARES, "between 0 and 1")
        limits |= dict.fromkeys(_COUNTS, "at least 0")
        for name, limit in limits.items():
            value = getattr(self, name)
            if value is not None and not _FITS[limit](value):
                raise ValueError(f"{name} is {value}, but must be finite and {limit}")
        if not self.hidden_sizes or not all(width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but must have widths, each greater than 0")


_POSITIVE = (
    *("population", "exchange_every", "evaluation_episodes", "psa_factor", "neighbours", "shared_layers"),
    *("archive_capacity", "batch_size", "updates_per_step", "actor_learning_rate", "critic_learning_rate"),
    *("policy_delay", "buffer_size", "learning_starts", "exploration_steps", "rollout_steps", "epochs"),
    *("minibatches", "workers", "selected", "target_entropy_scale"),
)
_SHARES = ("tau", "exploration_start", "exploration_end", "soft_rate", "trace", "discount")
_COUNTS = ("ideal_margin", "entropy_weight", "offline_updates", "random_exploration_steps", "temperature")
_FITS: dict[str, Callable[[float], bool]] = {
    "greater than 0": lambda value: 0 < value < float("inf"),
    "between 0 and 1": lambda value: 0 <= value <= 1,
    "at least 0": lambda value: 0 <= value < float("inf"),
}

VANILLA: dict[str, Any] = {
    "solver": "auto",
    "criterion": "ser",
    "utility": "linear",
    "reference": "running",
    "scale": "none",
    "condition": "state",
    "weights": "riesz",
    "adaptation": "none",
    "neighbourhood": "none",
    "neighbourhood_space": "weights",
    "neighbourhood_update": "static",
    "transfer": "none",
    "networks": "separate",
    "replay": "own",
    "selection": "round-robin",
    "archive": "pareto",
    "epochs": 10,
    "minibatches": 8,
}
"""The plainest member of the family: independent solvers with fixed weights, and an archive."""

PRESETS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "sb": {"replay": "shared"},
    "psa": {"adaptation": "psa"},
    "sb-psa": {"replay": "shared", "adaptation": "psa"},
    "transfer": {"neighbourhood": "nearest", "transfer": "first-sweep", "selected": 1},
    "tchebycheff": {"utility": "tchebycheff", "scale": "range"},
    "eupg": {
        "solver": "eupg",
        "criterion": "esr",
        "condition": "accrued",
        "utility": "tchebycheff",
        "scale": "range",
        "epochs": 1,
        "minibatches": 1,
    },
    "moea-d": {
        "utility": "tchebycheff",
        "scale": "range",
        "weights": "lattice",
        "neighbourhood": "nearest",
        "transfer": "best",
        "replay": "neighbours",
    },
    "pg-morl": {"weights": "lattice", "solver": "ppo", "selection": "most-promising", "archive": "bounded"},
    "gpi-ls": {
        "networks": "conditioned",
        "weights": "corners",
        "adaptation": "corner-weights",
        "replay": "shared",
        "archive": "convex",
    },
}
"""Preset -> what differs from `VANILLA`."""


def resolved(config: Config) -> Config:
    """Return the settings with every trait filled in: what was given, else the preset's, else `VANILLA`'s."""
    chosen = VANILLA | PRESETS[config.preset]
    return replace(config, **{name: value for name, value in chosen.items() if getattr(config, name) is None})
