"""Settings of PD-MORL for discrete and for continuous actions, and the published values as presets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

from morl.agents.pd_morl.hindsight import RelabelFrom
from morl.learning.config_checks import Presets
from morl.learning.types import Activation, BackendSetting, EagerOrGraph, Normalization, PolicySetForm
from morl.learning.values import CriticLoss

Networks: TypeAlias = Literal["conditioned", PolicySetForm]
"""How the network that acts depends on the preference."""


@dataclass(frozen=True)
class Range:
    """Allowed values of a number.

    Attributes:
        contains: returns whether a value is allowed.
        words: the rule, as the end of a sentence after "must".
    """

    contains: Callable[[float], bool]
    words: str


SHARE = Range(lambda value: 0.0 <= value <= 1.0, "lie between 0 and 1")
POSITIVE = Range(lambda value: 0.0 < value < inf, "be finite and greater than 0")
NOT_NEGATIVE = Range(lambda value: 0.0 <= value < inf, "be finite and not negative")
FEW_STEPS = Range(lambda value: 1 <= value <= 100, "lie between 1 and 100: of more steps, most are of older policies")
CORRELATION = Range(
    lambda value: 0.0 <= value < 1.0, "be at least 0 and less than 1: noise that never changes explores nothing"
)


@dataclass(frozen=True)
class Requirement:
    """Condition on the other settings under which a setting has an effect.

    Attributes:
        holds: returns whether the condition holds, for all settings.
        words: the condition, as the end of a sentence after "it needs".
    """

    holds: Callable[[Any], bool]
    words: str


HYPERNETWORK = Requirement(lambda config: config.networks == "hyper", "networks 'hyper'")
RELABELING = Requirement(lambda config: config.relabeled_share > 0, "relabeled_share greater than 0")


class PresetConfig(Presets):
    """Settings with published values by name; refuses values that cannot work and settings without effect.

    Attributes:
        RANGES: setting -> its allowed values; None is always allowed where the type has it.
        REQUIREMENTS: setting -> the condition under which it has an effect, for settings that others can disable.
        RAW_REWARD_PRESETS: presets that learn from rewards in the environment's units, as their authors do.
    """

    RANGES: ClassVar[Mapping[str, Range]]
    REQUIREMENTS: ClassVar[Mapping[str, Requirement]]
    RAW_REWARD_PRESETS: ClassVar[tuple[str, ...]] = ("paper",)
    hidden_sizes: tuple[int, ...]
    activation: Activation
    normalization: Normalization
    image_size: int
    network: str
    networks: Networks
    hyper_features: int
    batch_size: int
    buffer_size: int
    preferences_per_transition: int
    one_hot: bool = False

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the authors' settings with some changes.

        Args:
            changes: settings by name, which win over the authors'.
        """
        return cls.preset("paper", **changes)

    def __post_init__(self) -> None:
        """Refuse values that cannot work, and settings that have no effect.

        Raises:
            ValueError: names the setting, its value and what would be right.
        """
        for name, allowed in self.RANGES.items():
            value = getattr(self, name)
            if value is not None and not allowed.contains(value):
                raise ValueError(f"{name} is {value}, but must {allowed.words}")
        if not all(size > 0 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but every size must be greater than 0")
        if self.networks not in get_args(Networks):
            raise ValueError(f"networks is {self.networks!r}, but must be one of {', '.join(get_args(Networks))}")
        if self.batch_size % self.preferences_per_transition:
            raise ValueError(
                f"batch_size is {self.batch_size}, but must be a multiple of preferences_per_transition,"
                f" {self.preferences_per_transition}"
            )
        if self.batch_size > self.buffer_size:
            raise ValueError(f"batch_size is {self.batch_size}, but must be at most buffer_size, {self.buffer_size}")
        for name, requirement in self.REQUIREMENTS.items():
            value = getattr(self, name)
            if value not in self._known_values(name) and not requirement.holds(self):
                raise ValueError(f"{name} is {value}, but has no effect: it needs {requirement.words}")

    def _known_values(self, name: str) -> list[object]:
        """Return the values of a setting that are nobody's choice: the default and those of the presets."""
        return [getattr(type(self), name), *(preset[name] for preset in self.PRESETS.values() if name in preset)]


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig(PresetConfig):
    """Settings of MO-DDQN-HER.

    The defaults were chosen on the tasks of the lab (docs/results/lab.md); the authors' settings for Deep Sea Treasure
    are the preset "paper".
    """

    target_action: Literal["paper", "aligned", "utility"] = "aligned"
    """Score by which the target chooses its action: S_c w.Q as published (paper, eq. 6), the same measured from the
    reference point, which works for negative objectives too, or w.Q alone."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    learning_rate_half_life: float | None = None
    """Updates after which the step size is half, and after three times as many a quarter; None: constant (authors)."""
    discount: float | None = None
    """Discount factor of learning; None: the environment's own."""
    batch_size: int = 64
    """Transitions per update (authors: 32)."""
    updates_per_step: float = 1.0
    """Gradient updates per environment step."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Units of each hidden layer (authors: 4 x 256, fruit tree 4 x 512)."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""
    normalization: Normalization = "none"
    """Normalization of the hidden layers before their activation."""
    image_size: int = 84
    """Largest side, in pixels, of images that policies observe (boxes of uint8): larger ones are reduced by an integer
    factor. Convolutions encode them; 0: images are treated as plain numbers."""
    network: str = ""
    """Your own network, "module:factory" (docs/guide/networks_and_spaces.md); empty: the layers above."""
    networks: Networks = "conditioned"
    """How the network depends on the preference: as an input; or through its parameters, which a hypernetwork ("hyper")
    or a convex combination of one set for each objective ("combination") computes (docs/agents/policy_sets.md)."""
    hyper_features: int = 16
    """Outputs of the perceptron of a hypernetwork: how many directions its parameters can move in."""
    critics: int = 1
    """Number of critics (authors: 1). With more, the target takes for each action the vector of the one
    with the lowest utility, as in MO-TD3-HER; this prevents overestimation where steps cost nothing."""
    one_hot: bool = False
    """Encode integer observations as one-hot: the joint state, if it has few values (authors: raw integers)."""
    buffer_size: int = 20_000
    """Environment transitions kept (authors: 2,500, in 10,000 entries, three quarters of them relabeled copies)."""
    relabeled_share: float = 0.75
    """Share of a batch whose preference is redrawn: N_w / (1 + N_w) with the authors' N_w = 3."""
    relabel_from: RelabelFrom = "dirichlet-corners"
    """Distribution of redrawn preferences: `morl.agents.pd_morl.hindsight.RelabelFrom` (authors: absolute-normal)."""
    preferences_per_transition: int = 1
    """Rows of a batch that each sampled transition is in, each under a preference of its own; batch_size is a multiple.
    More learn a transition for more preferences at once, from fewer transitions."""
    utility_loss: float = 10.0
    """Weight of the loss of utilities w.Q beside that of the vectors Q: utilities decide between actions, and between
    two of them often differ far less than vectors do (`morl.learning.values.critic_losses`; authors: 0)."""
    tau: float = 0.005
    """Rate of the target network's soft update, after every gradient update."""
    random_exploration_steps: int = 640
    """Environment steps with uniformly random actions at the start (authors: 64 for each of 10 workers)."""
    learning_starts: int = 192
    """Environment steps before the first update (authors: 2 x batch x N_w)."""
    exploration_start: float = 0.8
    """Probability of a random action after the random steps."""
    exploration_end: float = 0.05
    """Probability of a random action at the end."""
    exploration_steps: int = 750_000
    """Environment steps over which the probability falls linearly (authors: 75,000 for each of 10 workers)."""
    exploration_spread: float = 0.0
    """How differently the environments explore: each takes a random action with the probability to the power of a
    number of its own between 1 and 1 + this, as in Ape-X (Horgan et al. 2018, whose spread is 7); 0: all the same."""
    preference_divisions: int | None = None
    """Divisions of the lattice that preferences for acting are drawn from (authors: 100, fruit tree 20); None: 100, or
    as fine as 5,000 preferences allow."""
    oracle_keys: bool = False
    """Take the key returns from the known front, as the authors do, instead of measuring them in training."""
    key_update_steps: int = 5_000
    """Environment steps between two evaluations of the key preferences."""
    key_episodes: int = 1
    """Episodes for each key preference in an evaluation."""
    backend: EagerOrGraph = "auto"
    """Backend that executes the updates; auto: eager; cuda-graph: captured once and replayed, on a GPU."""

    PRESETS = {  # noqa: RUF012  (a ClassVar of the base class)
        "improved": {},
        "paper": {
            "target_action": "paper",
            "utility_loss": 0.0,
            "batch_size": 32,
            "hidden_sizes": (256, 256, 256, 256),
            "buffer_size": 2_500,
            "relabel_from": "absolute-normal",
            "oracle_keys": True,
        },
        "massive": {
            "batch_size": 8_192,
            "updates_per_step": 1 / 32,
            "learning_rate": 1e-3,
            "tau": 0.01,
            "critics": 2,
            "buffer_size": 500_000,
            "preferences_per_transition": 4,
            "random_exploration_steps": 5_000,
            "learning_starts": 5_000,
            "exploration_end": 0.4,
            "exploration_spread": 6.0,
        },
    }
    RANGES = {  # noqa: RUF012
        "learning_rate": POSITIVE,
        "learning_rate_half_life": POSITIVE,
        "discount": SHARE,
        "batch_size": POSITIVE,
        "updates_per_step": POSITIVE,
        "critics": POSITIVE,
        "buffer_size": POSITIVE,
        "image_size": NOT_NEGATIVE,
        "relabeled_share": SHARE,
        "preferences_per_transition": POSITIVE,
        "utility_loss": NOT_NEGATIVE,
        "tau": SHARE,
        "random_exploration_steps": NOT_NEGATIVE,
        "learning_starts": POSITIVE,
        "exploration_start": SHARE,
        "exploration_end": SHARE,
        "exploration_spread": NOT_NEGATIVE,
        "exploration_steps": POSITIVE,
        "preference_divisions": POSITIVE,
        "hyper_features": POSITIVE,
        "key_update_steps": POSITIVE,
        "key_episodes": POSITIVE,
    }
    REQUIREMENTS = {  # noqa: RUF012
        "relabel_from": RELABELING,
        "hyper_features": HYPERNETWORK,
        "preferences_per_transition": RELABELING,
        "exploration_steps": Requirement(
            lambda config: config.exploration_start != config.exploration_end,
            "exploration_end different from exploration_start",
        ),
        "key_update_steps": Requirement(lambda config: not config.oracle_keys, "oracle_keys False"),
        "key_episodes": Requirement(lambda config: not config.oracle_keys, "oracle_keys False"),
    }

    def __post_init__(self) -> None:
        """Refuse values that cannot work, settings that have no effect, and those that a graph cannot hold.

        Raises:
            ValueError: names the setting, its value and what would be right.
        """
        super().__post_init__()
        if self.backend == "cuda-graph" and self.learning_rate_half_life is not None:
            raise ValueError(
                f"backend is 'cuda-graph', but learning_rate_half_life is {self.learning_rate_half_life}, which changes"
                " every update: use 'eager'"
            )


def _has_angle(config: "ContinuousConfig") -> bool:
    return config.actor_angle > 0 or config.critic_angle > 0


@dataclass(frozen=True, kw_only=True)
class ContinuousConfig(PresetConfig):
    """Settings of MO-TD3-HER.

    The defaults are the preset "improved" (docs/agents/pd_morl.md has reasons and measurements).
    """

    time_limits: Literal["bootstrap", "end"] = "bootstrap"
    """Whether values are bootstrapped through time limits, or time limits count as terminal."""
    loss: CriticLoss = "huber"
    """Loss of the critics."""
    utility_loss: float = 0.0
    """Weight of the loss of utilities w.Q beside that of the vectors Q (`morl.learning.values.critic_losses`): both
    critics then agree on utilities, and taking the lower one is less pessimistic; it cost robots a fifth of their
    hypervolume (docs/agents/pd_morl.md)."""
    actor_angle: float = 0.0
    """Weight alpha of the angle between I(w) and Q_1 in the actor's loss, per degree."""
    critic_angle: float = 0.0
    """Weight of the angle between I(w) and Q_i in the critics' loss, per degree."""
    angle_start_step: int = 0
    """Environment steps before which no angle is in a loss: the directions of keys that are still poor mislead."""
    reward_scale: Literal["median", "rms", "none"] = "median"
    """Unit of each objective's values, from the rewards in the replay at the first update, so that the scale of rewards
    does not matter; angles are then measured from the reference point. median: of the sizes that are not zero, or the
    root mean square where that is less: a few large costs of random actions do not hide how good actions differ. rms:
    the root mean square. none: the reward's own unit, and angles measured from zero."""
    hidden_norm: Literal["layer", "none"] = "layer"
    """Layer normalization of the critics' hidden layers."""
    action_gradient: Literal["leaky", "tanh"] = "leaky"
    """Derivative of the actor's output layer: that of tanh, or that with a lower bound for gradients that lead back
    from the ends of the action range, so that a saturated actor recovers."""
    actor_search: Literal["gradient", "secants"] = "gradient"
    """What the actor climbs: the gradient of the utility at its actions; or also the secants to random actions that
    both critics rate higher, for rewards that are a staircase in the action. The latter needs the eager backend."""
    actor_start: Literal["after-random-exploration", "at-once"] = "after-random-exploration"
    """When the actor's updates start: with those of the critics, or only once random exploration is over, so that the
    actor does not follow untrained critics."""
    evaluation_actor: Literal["target", "average", "latest"] = "target"
    """Actor that is evaluated and reported: the target network, an average of the latest few hundred actors, which
    varies less between evaluations; an average over the latest twentieth of all updates (5,000 at most), which varies
    least where robots fall; or the actor that learns and explores."""
    policy_delay: int = 2
    """Critic updates per update of the actor and the target networks (authors: 10, Hopper 20; TD3: 2)."""
    target_noise: float = 0.05
    """Standard deviation of the noise on target actions, in units of half the action range. Q-values then describe the
    perturbed policy; large noise favors inefficient gaits."""
    target_noise_clip: float = 0.1
    """Largest noise on target actions, in units of half the action range."""
    relabel_from: RelabelFrom = "dirichlet-corners"
    """Distribution of redrawn preferences: `morl.agents.pd_morl.hindsight.RelabelFrom`."""
    relabeling_starts: int = 0
    """Environment steps before which no transition is relabeled."""
    random_exploration_steps: int = 5_000
    """Environment steps with uniformly random actions at the start."""
    key_pretraining_steps: int = 0
    """Environment steps for which each key preference trains a policy of its own before training proper. They are
    counted as `pretraining_steps` (authors: not counted)."""
    learning_rate: float = 1e-3
    """Adam's step size, of actor and critics."""
    discount: float | None = None
    """Discount factor of learning; None: the environment's own, or the authors' 0.995 if that is 1."""
    batch_size: int = 128
    """Transitions per update."""
    n_steps: int = 1
    """Rewards that a target sums before values. Three let what leads to a fall be learned sooner: they helped on a
    hopper, and cost tasks without falls some of their front (docs/agents/pd_morl.md)."""
    updates_per_step: float = 1.0
    """Critic updates per environment step."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Units of each hidden layer, of actor and critics."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""
    normalization: Normalization = "none"
    """Normalization of the hidden layers of actor and critics before their activation; `hidden_norm` is about critics
    alone."""
    image_size: int = 84
    """Largest side, in pixels, of images that policies observe (boxes of uint8): larger ones are reduced by an integer
    factor. Convolutions encode them; 0: images are treated as plain numbers."""
    network: str = ""
    """Your own network, "module:factory" (docs/guide/networks_and_spaces.md); empty: the layers above."""
    networks: Networks = "conditioned"
    """How the actor depends on the preference: as an input; or through its parameters, which a hypernetwork ("hyper")
    or a convex combination of one set for each objective ("combination") computes (docs/agents/policy_sets.md). Critics
    have it as an input in any case."""
    hyper_features: int = 16
    """Outputs of the perceptron of a hypernetwork: how many directions its parameters can move in."""
    buffer_size: int = 500_000
    """Environment transitions kept (authors: 2,000,000 entries, three quarters of them relabeled copies)."""
    relabeled_share: float = 0.75
    """Share of a batch whose preference is redrawn: N_w / (1 + N_w) with the authors' N_w = 3."""
    preferences_per_transition: int = 1
    """Rows of a batch that each sampled transition is in, each under a preference of its own; batch_size is a multiple.
    More learn a transition for more preferences at once, from fewer transitions."""
    tau: float = 0.005
    """Rate of the target networks' soft update."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on actions in training, in units of half the action range."""
    exploration_noise_min: float | None = None
    """Smallest standard deviation of that noise: every environment has one of its own, evenly spread from here up to
    exploration_noise, as in FastTD3 (Seo et al. 2025); None: all have exploration_noise."""
    noise_correlation: float = 0.0
    """Correlation m of the exploration noise from one step to the next: n <- m n + sqrt(1 - m^2) z, an AR(1) process
    of unit variance. Uniformly random actions are correlated in the same way."""
    max_grad_norm: float = 100.0
    """Largest norm of the gradient of the actor, and of both critics together."""
    learning_starts: int = 1_000
    """Environment steps before the first update (authors: 2 x batch x N_w)."""
    preference_divisions: int | None = None
    """Divisions of the lattice that preferences for acting are drawn from (authors: 1,000); None: 100, or as fine as
    5,000 preferences allow."""
    key_divisions: int | None = None
    """Divisions of the lattice of key preferences; None: one key for each objective, and their mean."""
    key_update_steps: int = 50_000
    """Environment steps between two evaluations of the key preferences. Without an angle they only detect collapse."""
    key_episodes: int = 1
    """Episodes for each key preference in an evaluation."""
    precision: Literal["float32", "bfloat16", "tf32"] = "float32"
    """Precision of products; neither other value works with the numba backend. bfloat16: those between hidden layers,
    which pays for wide networks; tf32: all of them, on a GPU only."""
    backend: BackendSetting = "auto"
    """Backend that executes the updates; auto: numba where it supports the settings and the device, else eager;
    cuda-graph: captured once and replayed, on a GPU."""

    PRESETS = {  # noqa: RUF012  (a ClassVar of the base class)
        "improved": {},
        "paper": {
            "time_limits": "end",
            "actor_angle": 10.0,
            "critic_angle": 1.0,
            "reward_scale": "none",
            "hidden_norm": "none",
            "action_gradient": "tanh",
            "evaluation_actor": "latest",
            "actor_start": "at-once",
            "policy_delay": 10,
            "target_noise": 0.2,
            "target_noise_clip": 0.5,
            "relabel_from": "absolute-normal",
            "relabeling_starts": 100_000,
            "hidden_sizes": (400, 400),
            "batch_size": 256,
            "learning_rate": 3e-4,
            "learning_starts": 1_536,
            "random_exploration_steps": 100_000,
            "key_pretraining_steps": 2_000_000,
            "key_update_steps": 5_000,
            "key_episodes": 3,
        },
        "massive": {
            "batch_size": 8_192,
            "updates_per_step": 1 / 32,
            "utility_loss": 1.0,
            "tau": 0.05,
            "buffer_size": 1_000_000,
            "preferences_per_transition": 4,
            "learning_starts": 5_000,
            "exploration_noise": 0.4,
            "exploration_noise_min": 0.05,
        },
    }
    RANGES = {  # noqa: RUF012
        "actor_angle": NOT_NEGATIVE,
        "critic_angle": NOT_NEGATIVE,
        "angle_start_step": NOT_NEGATIVE,
        "policy_delay": POSITIVE,
        "target_noise": NOT_NEGATIVE,
        "target_noise_clip": NOT_NEGATIVE,
        "relabeling_starts": NOT_NEGATIVE,
        "random_exploration_steps": NOT_NEGATIVE,
        "key_pretraining_steps": NOT_NEGATIVE,
        "learning_rate": POSITIVE,
        "discount": SHARE,
        "batch_size": POSITIVE,
        "n_steps": FEW_STEPS,
        "updates_per_step": POSITIVE,
        "buffer_size": POSITIVE,
        "image_size": NOT_NEGATIVE,
        "relabeled_share": SHARE,
        "preferences_per_transition": POSITIVE,
        "utility_loss": NOT_NEGATIVE,
        "tau": SHARE,
        "exploration_noise": NOT_NEGATIVE,
        "exploration_noise_min": NOT_NEGATIVE,
        "noise_correlation": CORRELATION,
        "max_grad_norm": POSITIVE,
        "learning_starts": POSITIVE,
        "preference_divisions": POSITIVE,
        "hyper_features": POSITIVE,
        "key_divisions": POSITIVE,
        "key_update_steps": POSITIVE,
        "key_episodes": POSITIVE,
    }
    REQUIREMENTS = {  # noqa: RUF012
        "angle_start_step": Requirement(_has_angle, "actor_angle or critic_angle greater than 0"),
        "target_noise_clip": Requirement(lambda config: config.target_noise > 0, "target_noise greater than 0"),
        "relabel_from": RELABELING,
        "hyper_features": HYPERNETWORK,
        "preferences_per_transition": RELABELING,
        "relabeling_starts": RELABELING,
        "exploration_noise_min": Requirement(
            lambda config: config.exploration_noise_min < config.exploration_noise, "a larger exploration_noise"
        ),
        "noise_correlation": Requirement(
            lambda config: config.exploration_noise > 0 or config.random_exploration_steps > 0,
            "exploration_noise or random_exploration_steps greater than 0",
        ),
        "precision": Requirement(
            lambda config: config.precision == "tf32" or len(config.hidden_sizes) > 1, "at least two hidden layers"
        ),
    }
