"""The settings of MORL/D: the traits of its taxonomy, the numbers of its solvers, and the published instantiations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, Self, TypeAlias

from morl.learning.types import (
    Activation,
    BackendSetting,
    CombinerName,
    Normalization,
    PolicySet,
    PolicySetForm,
    WeightingName,
)

SolverOption: TypeAlias = int | float | bool | str


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of MORL/D; the defaults are its plainest member: independent solvers, fixed weights and an archive.

    The numbers suit the tasks of the lab (docs/results/lab.md); those that its authors used on mo-halfcheetah differ in
    the widths, which are in the tuned file of mo-halfcheetah-v4. A setting that has no effect under the others is
    refused when the agent is built (`morl.agents.morl_d.validation`).
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "vanilla": {},
        "sb": {"replay": "shared"},
        "psa": {"adaptation": "psa"},
        "sb-psa": {"replay": "shared", "adaptation": "psa"},
        "transfer": {"neighbourhood": "nearest", "transfer": "first-sweep", "selected": 1},
        "tchebycheff": {"utility": "tchebycheff", "scale": "range"},
        "eupg": {
            "solver": "eupg",
            "criterion": "esr",
            "augmented_state": True,
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
    """Name of a published instantiation -> the fields that differ from the defaults (docs/agents/morl_d.md)."""

    population: int = 6
    """Number of policies, each with a weight vector of its own."""
    exchange_every: int = 50_000
    """Environment steps, of all policies together, between two exchanges."""
    evaluation_episodes: int = 5
    """Episodes of each policy in the evaluation of an exchange."""

    solver: str = "auto"
    """Algorithm that solves the scalar problems: sac, discrete-sac, td3, dqn, ppo, eupg, or sb3:NAME for one of
    Stable-Baselines3 (sb3:TQC of sb3-contrib); auto is sac for continuous and dqn for discrete actions."""
    solver_kwargs: dict[str, SolverOption] = field(default_factory=dict)
    """Further arguments of the constructor of an sb3:NAME solver, such as: ent_coef 0.01; those of its policy are
    spelled policy_kwargs.NAME."""
    criterion: Literal["ser", "esr"] = "ser"
    """Optimality criterion: utility of the expected return (SER), or expected utility of the return (ESR)."""
    utility: str = "linear"
    """Scalarization: linear, tchebycheff, augmented-tchebycheff, smooth-tchebycheff, pbi, desirability, or a function
    "module:name" of (returns, preferences, ideal) that computes on NumPy arrays and on tensors."""
    reference: Literal["static", "running"] = "running"
    """Source of the ideal point: `ideal`, or the best return seen so far in each objective."""
    ideal: tuple[float, ...] | None = None
    """The static ideal point [objective], in units of discounted returns; none with reference running."""
    ideal_margin: float = 0.0
    """Distance of the running ideal point beyond the best return, as a share of the range of returns (tau)."""
    scale: Literal["none", "range"] = "none"
    """Returns as the utility sees them: raw, or each objective's share of the range between worst and best."""
    augmented_state: bool = False
    """Whether policies observe the accrued reward of the episode and the discount of the next reward too."""

    weights: Literal["riesz", "lattice", "dirichlet", "corners"] = "riesz"
    """First weight vectors: Riesz s-energy (any number), a simplex lattice, random, or the corners in turn."""
    adaptation: Literal["none", "psa", "corner-weights"] = "none"
    """Adaptation of the weights at an exchange: none, away from the nearest member of the archive (PSA), or to where
    the best policy of the archive changes (corner weights, as OLS and GPI-LS)."""
    psa_factor: float = 0.1
    """Relative change of a weight by PSA (delta)."""
    neighbourhood: Literal["none", "nearest", "all"] = "none"
    """Policies that a policy cooperates with."""
    neighbours: int = 1
    """Number of nearest neighbours."""
    neighbourhood_space: Literal["weights", "objectives"] = "weights"
    """Space in which neighbours are near: weight vectors, or returns (each objective by its range)."""
    neighbourhood_update: Literal["static", "dynamic"] = "static"
    """Whether neighbours are computed once or after every exchange."""
    transfer: Literal["none", "first-sweep", "always", "soft", "best"] = "none"
    """Exchange of parameters between neighbours: none; trained policies replace neighbours that never trained; they
    replace neighbours always; neighbours move towards trained ones; the neighbour with the highest utility for a
    policy's weights replaces it (MOEA/D's replacement)."""
    soft_rate: float = 0.05
    """Share of the distance that a soft transfer moves parameters, from 0 to 1."""
    networks: Literal["separate", "shared-layers", "conditioned", PolicySetForm] = "separate"
    """Networks of the population: one each, first layers in common, one network that takes the weights as input, or one
    whose parameters depend on them, through a hypernetwork ("hyper") or as a convex combination of one set for each
    objective ("combination"; docs/agents/policy_sets.md)."""
    hyper_features: int = 16
    """Outputs of the perceptron of a hypernetwork: how many directions its parameters can move in."""
    shared_layers: int = 1
    """Number of first layers in common."""
    replay: Literal["own", "neighbours", "shared"] = "own"
    """Experience that a policy learns from: its own, its neighbours' too, or everybody's."""
    selection: Literal["round-robin", "random", "tournament", "most-promising"] = "round-robin"
    """Rule that selects the policies that train until the next exchange, where not all do."""
    selected: int | None = None
    """Number of policies that train side by side; None: the largest that divides num_envs evenly."""
    archive: Literal["pareto", "bounded", "convex"] = "pareto"
    """Contents of the archive: all non-dominated policies, `archive_capacity` of them, or those that are the best for
    some linear preference."""
    archive_capacity: int = 50
    """Policies that a bounded archive keeps."""

    discount: float | None = None
    """Discount factor of learning; None: the environment's evaluation discount."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Units of each hidden layer (authors: 256, 256)."""
    activation: Activation | None = None
    """Activation of the hidden layers; None: the solver's own, tanh for ppo and eupg, relu for the others of this
    package."""
    normalization: Normalization = "none"
    """Normalization of the hidden layers before their activation."""
    image_size: int = 84
    """Largest side, in pixels, of images that policies observe (boxes of uint8): larger ones are reduced by an integer
    factor. Convolutions encode them; 0: images are treated as plain numbers."""
    network: str = ""
    """Your own network, "module:factory" (docs/guide/networks_and_spaces.md); empty: the layers above."""
    one_hot: bool = False
    """Encode integer observations as one-hot, of the joint state where there are few."""
    memory: Literal["none", "gru"] = "none"
    """Memory of ppo's policies and their critics, for partially observable environments: none, or a
    layer of gated recurrent units (GRU) before the hidden layers."""
    memory_size: int = 64
    """Units of the memory."""
    memory_steps: int = 32
    """Steps that gradients flow back through the memory: choose at least the time over which policies must remember."""
    batch_size: int = 128
    """Transitions of each policy in an update."""
    updates_per_step: float = 1.0
    """Gradient updates of a policy per environment step that it takes (update-to-data ratio)."""
    offline_updates: int = 10
    """Gradient updates, at an exchange, of every policy that did not train since the last one."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam for policies, and of an sb3:NAME solver."""
    critic_learning_rate: float = 1e-3
    """Step size of Adam for critics and temperatures."""
    tau: float = 0.005
    """Rate of the target networks' soft updates (tau)."""
    policy_delay: int = 2
    """Critic updates between two of the policy, which is then updated as many times."""
    temperature: float | None = None
    """Weight of the entropy in SAC (alpha); None: learned."""
    combiner: CombinerName = "weighted-sum"
    """How the objectives' gradients of a policy are combined under its weights: their weighted sum, UPGrad, MGDA,
    PCGrad, CAGrad, Nash-MTL or Aligned-MTL (docs/agents/combiners.md); all but the first need the eager backend."""
    novelty: Literal["none", "ctnb"] = "none"
    """What ppo does about novelty_references beside the end of episodes: nothing, or it follows the bisector of the
    gradients of the task and of novelty while a policy's actions are not novel enough (CTNB); then set novelty_response
    report (docs/guide/diverse_policies.md)."""
    weighting: WeightingName = "preference"
    """How ppo weighs the objectives under a policy's weights: by the gradient of its utility, by that of Nash welfare,
    maximin or desirability, by the weights after each objective's advantages are normalized, or by what each objective
    adds to the population's hypervolume (docs/agents/return_weights.md)."""
    target_entropy_scale: float | None = None
    """Target of a learned temperature: entropy -scale x action dimensions, or scale x log(actions) for discrete ones;
    None: the usual one of the solver, 1 for sac and 0.3 for discrete-sac."""
    buffer_size: int = 1_000_000
    """Transitions in replay: of each policy, or of all together where replay is shared."""
    random_exploration_steps: int = 1_000
    """Steps with uniformly random actions before a policy acts itself. These and `learning_starts` count the steps of
    each policy, or of all together where they learn from the same experience: replay shared, networks conditioned."""
    learning_starts: int = 1_000
    """Steps before a policy's first update."""
    exploration_start: float | None = None
    """First probability of a random action after the random steps; None: the solver's own, 1 for dqn, 0 for others."""
    exploration_end: float | None = None
    """Last probability of a random action; None: the solver's own, 0.05 for dqn, 0 for others."""
    exploration_steps: int = 100_000
    """Steps over which that probability falls linearly."""
    rollout_steps: int = 128
    """Steps of each environment between two updates of an on-policy solver."""
    epochs: int = 10
    """Passes of ppo and eupg over their samples."""
    minibatches: int = 8
    """Gradient steps in each pass."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus of ppo and eupg."""
    gae_lambda: float = 0.95
    """Lambda of the advantages of ppo and eupg (GAE)."""
    precision: Literal["float32", "bfloat16", "tf32"] = "float32"
    """Precision of products; neither other value works with the numba backend. bfloat16: those between hidden layers;
    tf32: all of them, on a GPU only."""
    backend: BackendSetting = "auto"
    """Backend that executes the updates; auto: numba where it supports the settings and the device, else eager;
    cuda-graph: captured once and replayed, on a GPU."""
    workers: int | None = None
    """Threads that train the population on a CPU, each a part of it with a random stream of its own; None: 2 where
    hidden layers have 128 units or more and updates are eager, else 1 (compiled updates have threads of their own)."""

    def __post_init__(self) -> None:
        """Refuse values that are out of range."""
        for name, (limit, fits) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not fits(value):
                raise ValueError(f"{name} is {value}, but must be finite and {limit}")
        if not self.hidden_sizes or not all(width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but must have widths, each greater than 0")

    @property
    def conditioned(self) -> bool:
        """Return whether one network serves the weights of all policies."""
        return self.networks not in ("separate", "shared-layers")

    def policy_set(self, objectives: int) -> PolicySet | None:
        """Return how the parameters of the networks that act depend on the weights; None: they do not.

        Args:
            objectives: length of a weight vector.
        """
        if self.networks == "hyper":
            return PolicySet("hyper", objectives, self.hyper_features)
        return PolicySet("combination", objectives) if self.networks == "combination" else None

    @classmethod
    def preset(cls, name: str, **changes: object) -> Self:
        """Return a published instantiation of the framework.

        Args:
            name: one of `PRESETS`.
            changes: fields that differ from the preset.

        Raises:
            ValueError: there is no such preset, or a value is out of range.
        """
        if name not in cls.PRESETS:
            raise ValueError(f"preset is {name!r}, but must be one of {', '.join(cls.PRESETS)}")
        fields: dict[str, object] = {**cls.PRESETS[name], **changes}
        return cls(**fields)  # type: ignore[arg-type]


Limit: TypeAlias = tuple[str, Callable[[float], bool]]

_POSITIVE: Final[Limit] = ("greater than 0", lambda value: 0 < value < float("inf"))
_SHARE: Final[Limit] = ("between 0 and 1", lambda value: 0 <= value <= 1)
_NOT_NEGATIVE: Final[Limit] = ("at least 0", lambda value: 0 <= value < float("inf"))
_LIMITS: Final[Mapping[str, Limit]] = {
    "population": _POSITIVE,
    "exchange_every": _POSITIVE,
    "evaluation_episodes": _POSITIVE,
    "ideal_margin": _NOT_NEGATIVE,
    "psa_factor": _POSITIVE,
    "neighbours": _POSITIVE,
    "soft_rate": _SHARE,
    "shared_layers": _POSITIVE,
    "hyper_features": _POSITIVE,
    "selected": _POSITIVE,
    "archive_capacity": _POSITIVE,
    "discount": _SHARE,
    "memory_size": _POSITIVE,
    "memory_steps": _POSITIVE,
    "batch_size": _POSITIVE,
    "updates_per_step": _POSITIVE,
    "offline_updates": _NOT_NEGATIVE,
    "actor_learning_rate": _POSITIVE,
    "critic_learning_rate": _POSITIVE,
    "tau": _SHARE,
    "policy_delay": _POSITIVE,
    "temperature": _NOT_NEGATIVE,
    "target_entropy_scale": _POSITIVE,
    "buffer_size": _POSITIVE,
    "image_size": _NOT_NEGATIVE,
    "random_exploration_steps": _NOT_NEGATIVE,
    "learning_starts": _POSITIVE,
    "exploration_start": _SHARE,
    "exploration_end": _SHARE,
    "exploration_steps": _POSITIVE,
    "rollout_steps": _POSITIVE,
    "epochs": _POSITIVE,
    "minibatches": _POSITIVE,
    "entropy_weight": _NOT_NEGATIVE,
    "gae_lambda": _SHARE,
    "workers": _POSITIVE,
}
