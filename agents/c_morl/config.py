"""Settings of C-MORL."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from morl.learning.config_checks import Presets, check_choices, check_positive, check_shares
from morl.learning.types import Activation, BackendSetting, CombinerName, Normalization, WeightingName

SolverName: TypeAlias = Literal["ipo", "cpo", "lagrangian", "reference-code"]
MemoryName: TypeAlias = Literal["none", "gru"]


INITIAL_STEPS: Final = 64_000
"""Environment steps of initialization in runs of 128,000 to 192,000 steps, and of an agent that is built by hand."""


@dataclass(frozen=True, kw_only=True)
class Config(Presets):
    """Settings of C-MORL, chosen on the tasks of the lab (docs/results/lab.md); the authors' are the preset "paper"."""

    initial_steps: int | None = None
    """Environment steps of Pareto initialization, of all policies together; None: half of a short run, but ten updates
    of one policy at least, and a third of a run of 192,000 steps and more (authors: 8.0M of 12.0M true steps, which
    their count puts at 1.0M of 1.5M)."""
    initial_divisions: int | None = None
    """Divisions of the simplex lattice of initial preferences; None: the finest lattice of at most 6 policies, or one
    policy per objective where there are more objectives (authors: 6 policies, on Ant-2d 3).

    0 is a single policy with equal weights, from which extension makes the whole front: where one policy can be good in
    every objective, it has all the steps."""
    samples_per_update: int = 512
    """Transitions of each policy between two updates, rounded up to whole steps of its environments, with a memory to
    whole sequences of `memory_steps` (authors: 4096, 8 environments x 512 steps)."""
    epochs: int = 10
    """Passes over the samples in each update (authors' value)."""
    minibatches: int = 16
    """Gradient steps in each pass (authors: 32)."""
    learning_rate: float = 3e-4
    """Adam's initial step size; it falls linearly to 0 in initialization (authors' value)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of actor and critic (authors' value)."""
    activation: Activation = "tanh"
    """Activation of the hidden layers (authors' value)."""
    normalization: Normalization = "none"
    """Normalization of the hidden layers before their activation (authors' value)."""
    image_size: int = 84
    """Largest side, in pixels, of images that policies observe (boxes of uint8): larger ones are reduced by an integer
    factor. Convolutions encode them; 0: images are treated as plain numbers."""
    network: str = ""
    """Your own network, "module:factory" (docs/guide/networks_and_spaces.md); empty: the layers above."""
    memory: MemoryName = "none"
    """Memory of the policies and their critics, for partially observable environments: none, or a
    layer of gated recurrent units (GRU) before the hidden layers (not in the authors' code)."""
    memory_size: int = 64
    """Units of the memory."""
    memory_steps: int = 32
    """Steps that gradients flow back through the memory: choose at least the time over which policies must remember."""
    initial_std: float = 1.0
    """Standard deviation of a fresh policy's continuous actions, in units of half their range (authors: 1 in the
    environment's units)."""
    one_hot: bool = False
    """Encode integer observations one-hot, as one joint state where there are few (authors: raw integers)."""
    discount: float | None = None
    """Discount factor of training; None: the environment's discount of evaluation, or 0.995 if that is 1, actions are
    continuous and there are no bounds."""
    gae_lambda: float = 0.95
    """Lambda of the generalized advantages (authors' value)."""
    clip_range: float = 0.2
    """Half width of the interval around 1 that probability ratios are clipped to, and of the interval around the old
    value for values (authors' value)."""
    entropy_weight: float = 0.01
    """Weight of the entropy bonus (authors: 0)."""
    combiner: CombinerName = "weighted-sum"
    """How the objectives' gradients of a policy are combined in initialization, and in extension by "lagrangian": their
    weighted sum, UPGrad, MGDA, PCGrad, CAGrad, Nash-MTL or Aligned-MTL (docs/agents/combiners.md; not in the paper);
    all but the first need the eager backend."""
    weighting: WeightingName = "preference"
    """How objectives are weighed in initialization: by a policy's preference, by the gradient of Nash welfare, maximin
    or desirability under it, by the preference after each objective's advantages are normalized, or by what each adds
    to the population's hypervolume (docs/agents/return_weights.md; not in the paper)."""
    solver: SolverName = "ipo"
    """Solver of extension: interior point (C-MORL-IPO), trust region (C-MORL-CPO), primal-dual, or what the authors'
    published code does (docs/agents/c_morl.md)."""
    selected: int | None = None
    """Policies extended in each round, N; None: 5 with two objectives, 6 with more (authors' values)."""
    extension_updates: int = 20
    """Updates of each task of a round, K' (authors' value)."""
    extension_learning_rate: float = 3e-4
    """Adam's step size in extension (authors: what was left when the policy was archived, as in "reference-code";
    1e-4 in the preset "paper")."""
    beta: float = 0.9
    """Share of a reference return that constraints keep, beta (authors' value)."""
    barrier_t: float = 20.0
    """t of the interior point barrier, whose weight is 1 / t (authors' value)."""
    trust_radius: float = 0.01
    """Largest mean Kullback-Leibler divergence of a trust region step, delta."""
    multiplier_rate: float = 0.1
    """Step size of dual ascent, per standard deviation of the return."""
    constraints: dict[str, str] = field(default_factory=dict)
    """Bounds on the discounted return of objectives that need not be optimized, such as: energy ">= -50"."""
    snapshot_updates: int = 10
    """Updates between two snapshots in initialization; there is one after 1, 2, 4, 8, ... updates as well (authors: 10
    for continuous actions, 1 for discrete ones)."""
    extension_snapshot_updates: int = 1
    """Updates between two snapshots in extension (authors' value)."""
    snapshot_episodes: int = 5
    """Episodes that evaluate a snapshot (authors: 5 on Hopper-2d, else 10)."""
    archive_capacity: int = 200
    """Largest number of policies in the archive (authors: 100 in their logs, 200 in their last code)."""
    duplicate_tolerance: float = 1e-3
    """A policy must improve on every other by this share of the front's range in some objective (authors: duplicates
    are kept)."""
    interpolate: bool = False
    """After initialization and after each round, also archive non-dominated policies half-way between neighbours in
    parameter space."""
    backend: BackendSetting = "auto"
    """Backend that executes PPO's gradient steps; "auto": "numba" where it supports the settings, else "eager"."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "initial_steps": 8_000_000,
            "samples_per_update": 4096,
            "minibatches": 32,
            "entropy_weight": 0.0,
            "extension_learning_rate": 1e-4,
            "snapshot_episodes": 10,
        },
        "reference-code": {
            "initial_steps": 8_000_000,
            "samples_per_update": 4096,
            "minibatches": 32,
            "entropy_weight": 0.0,
            "snapshot_episodes": 10,
            "archive_capacity": 100,
            "solver": "reference-code",
        },
    }
    """Published settings: name -> the fields that differ from the defaults. "paper": the authors' sizes at the true
    number of environment steps, with the paper's solver; "reference-code": their logged runs, with their code's."""

    RAW_REWARD_PRESETS: ClassVar[tuple[str, ...]] = ("paper", "reference-code")
    """Presets that learn from rewards in the environment's units, as their authors do."""

    @classmethod
    def paper(cls) -> Self:
        """Return the authors' sizes with the paper's solver, C-MORL-IPO."""
        return cls.preset("paper")

    @classmethod
    def reference_code(cls) -> Self:
        """Return the settings of the authors' logged runs with the solver of their published code."""
        return cls.preset("reference-code")

    def __post_init__(self) -> None:
        """Check every value, and that every changed setting has an effect.

        Raises:
            ValueError: a value is out of range, settings exclude each other, or a setting has no effect.
        """
        check_choices(self, _CHOICES)
        _check_ranges(self)
        self._check_minibatches()
        if not all(width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but every width must be greater than 0")
        refuse_without_effect(self)

    def _check_minibatches(self) -> None:
        if self.minibatches > self.samples_per_update:
            raise ValueError(
                f"minibatches is {self.minibatches}, but must be at most samples_per_update, {self.samples_per_update}"
            )
        sequences = self.samples_per_update // self.memory_steps
        if self.memory != "none" and self.minibatches > sequences:
            raise ValueError(
                f"minibatches is {self.minibatches}, but must be at most samples_per_update / memory_steps, which is"
                f" {sequences}: sequences stay whole"
            )


def _check_ranges(config: Config) -> None:
    """Raise ValueError where a number is out of its range."""
    check_positive(config, _POSITIVE)
    for name in _NOT_NEGATIVE:
        value = getattr(config, name)
        if value is not None and value < 0:
            raise ValueError(f"{name} is {value}, but must be at least 0")
    check_shares(config, _SHARES)


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "combiner": get_args(CombinerName),
    "weighting": get_args(WeightingName),
    "solver": get_args(SolverName),
    "memory": get_args(MemoryName),
    "backend": get_args(BackendSetting),
    "activation": get_args(Activation),
    "normalization": get_args(Normalization),
}
"""Fields that must be one of several names."""
_POSITIVE = (
    "initial_steps",
    "samples_per_update",
    "epochs",
    "minibatches",
    "learning_rate",
    "memory_size",
    "memory_steps",
    "clip_range",
    "selected",
    "initial_std",
    "extension_updates",
    "extension_learning_rate",
    "extension_snapshot_updates",
    "barrier_t",
    "trust_radius",
    "multiplier_rate",
    "snapshot_updates",
    "snapshot_episodes",
    "archive_capacity",
)
"""Fields that must be finite and greater than 0; None is allowed where the type allows it."""
_NOT_NEGATIVE = ("initial_divisions", "image_size")
"""Fields that must be at least 0; None is allowed where the type allows it."""
_SHARES = ("beta", "gae_lambda", "entropy_weight", "duplicate_tolerance", "discount")
"""Fields that must lie between 0 and 1; None is allowed where the type allows it."""


class Condition(NamedTuple):
    """When a setting has an effect.

    Attributes:
        holds: whether the setting is read under these settings.
        requirement: the condition in words, for the message.
    """

    holds: Callable[[Config], bool]
    requirement: str


EFFECTIVE: Mapping[str, Condition] = {
    "memory_size": Condition(lambda config: config.memory != "none", 'memory must be "gru"'),
    "memory_steps": Condition(lambda config: config.memory != "none", 'memory must be "gru"'),
    "barrier_t": Condition(
        lambda config: config.solver in ("ipo", "reference-code"), 'solver must be "ipo" or "reference-code"'
    ),
    "trust_radius": Condition(lambda config: config.solver == "cpo", 'solver must be "cpo"'),
    "multiplier_rate": Condition(lambda config: config.solver == "lagrangian", 'solver must be "lagrangian"'),
    "extension_learning_rate": Condition(
        lambda config: config.solver != "reference-code" or config.interpolate,
        'solver must be another one than "reference-code", or interpolate true',
    ),
    "constraints": Condition(
        lambda config: config.solver != "reference-code", 'solver must be another one than "reference-code"'
    ),
}
"""Field -> when it has an effect; fields that are not listed always have one."""


def refuse_without_effect(config: Config) -> None:
    """Check that every setting is read that somebody chose: that is neither the default nor of a preset.

    Args:
        config: the settings.

    Raises:
        ValueError: such a setting has no effect with the others.
    """
    defaults: dict[str, object] = {each.name: each.default for each in fields(config)} | {"constraints": {}}
    for name, (holds, requirement) in EFFECTIVE.items():
        value = getattr(config, name)
        known = [defaults[name], *(preset[name] for preset in config.PRESETS.values() if name in preset)]
        if value not in known and not holds(config):
            raise ValueError(f"{name} is {value!r}, which has no effect: {requirement}")
