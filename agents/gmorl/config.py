"""Settings of GMORL, and the published values as a preset."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal, Self, TypeAlias, get_args

from morl.learning.config_checks import Presets, check_choices, check_positive, check_shares
from morl.learning.types import Activation, Normalization

PreferenceSource: TypeAlias = Literal["dirichlet", "even"]
"""Where the preferences of the environments come from: a new one from a Dirichlet distribution for every episode, or
evenly spaced ones, of which environment i keeps the i-th."""

Sharing: TypeAlias = Literal["auto", "rows", "none"]
"""What networks share their weights over: the rows of observations that have one row of numbers for each choice, or
nothing; auto: rows where observations have such rows."""


@dataclass(frozen=True, kw_only=True)
class Config(Presets):
    """Settings of GMORL; those of the paper are the preset "paper"."""

    sharing: Sharing = "auto"
    """What networks share their weights over (`Sharing`); the paper's share those of their first half over servers."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, with shared weights for each row (authors: 512 for each server, 1024 behind)."""
    activation: Activation = "relu"
    """Activation of the hidden layers (authors: leaky-relu)."""
    normalization: Normalization = "none"
    """Normalization of the hidden layers before their activation."""
    image_size: int = 84
    """Largest side, in pixels, of images that policies observe (boxes of uint8): larger ones are reduced by an integer
    factor. Convolutions encode them; 0: images are treated as plain numbers."""
    network: str = ""
    """Your own network, "module:factory" (docs/guide/networks_and_spaces.md); empty: the layers above."""
    one_hot: bool = False
    """Encode integer observations as one-hot: the joint state, if it has few values."""
    preferences: PreferenceSource = "dirichlet"
    """Where the preferences of the environments come from (`PreferenceSource`; paper: even)."""
    concentration: float = 1.0
    """Concentration of the Dirichlet distribution; 1 is uniform on the simplex, below 1 prefers its corners."""
    relabeled_share: float = 0.75
    """Share of a batch that is learned from under newly drawn preferences (paper: none; rewards are vectors, so that a
    transition is valid for all)."""
    temperature: float = 0.05
    """Weight of the entropy, alpha, in units of the utility of one reward; fixed as in the paper."""
    discount: float | None = None
    """Discount factor of learning; None: the environment's own, or the paper's 0.95 if that is 1."""
    learning_rate: float = 1e-3
    """Adam's step size, of actor and critics (paper: 1e-6)."""
    learning_rate_half_life: float | None = None
    """Updates after which the step size is half, and after three times as many a quarter; None: constant (paper)."""
    batch_size: int = 128
    """Transitions of an update (paper: 4,096)."""
    updates_per_step: float = 0.25
    """Gradient updates per environment step (paper: 10 after every 64 episodes of 100 steps)."""
    random_exploration_steps: int = 1_000
    """Environment steps with random allowed actions at the start, before the first update."""
    buffer_size: int = 100_000
    """Transitions kept (paper's value)."""
    tau: float = 0.005
    """Rate of the target critics' soft update."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "hidden_sizes": (512, 512, 512, 512),
            "activation": "leaky-relu",
            "preferences": "even",
            "relabeled_share": 0.0,
            "discount": 0.95,
            "learning_rate": 1e-6,
            "batch_size": 4_096,
            "updates_per_step": 10 / 6_400,
        },
    }
    """Published settings: name -> the fields that differ from the defaults."""

    @classmethod
    def paper(cls) -> Self:
        """Return the settings of the paper."""
        return cls.preset("paper")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, and settings that have no effect.

        Raises:
            ValueError: names the setting, its value and what would be right.
        """
        check_choices(self, _CHOICES)
        _check_ranges(self)
        if not all(size > 0 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but every size must be greater than 0")
        if self.batch_size > self.buffer_size:
            raise ValueError(f"batch_size is {self.batch_size}, but must be at most buffer_size, {self.buffer_size}")
        if self.preferences == "even" and self.concentration != type(self).concentration:
            raise ValueError(
                f"concentration is {self.concentration}, but has no effect: it needs preferences 'dirichlet'"
            )
        if self.sharing == "rows" and self.network:
            raise ValueError(f"sharing is 'rows', but must be 'auto' or 'none' where network is {self.network!r}")


def _check_ranges(config: Config) -> None:
    """Raise ValueError where a number is out of its range."""
    check_positive(config, _POSITIVE)
    for name in _NOT_NEGATIVE:
        value = getattr(config, name)
        if not 0.0 <= value < inf:
            raise ValueError(f"{name} is {value}, but must be finite and not negative")
    check_shares(config, _SHARES)


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sharing": get_args(Sharing),
    "preferences": get_args(PreferenceSource),
    "activation": get_args(Activation),
    "normalization": get_args(Normalization),
}
"""Fields that must be one of several names."""
_POSITIVE = (
    "concentration",
    "learning_rate",
    "learning_rate_half_life",
    "batch_size",
    "updates_per_step",
    "buffer_size",
)
"""Fields that must be finite and greater than 0; None is allowed where the type allows it."""
_NOT_NEGATIVE = ("temperature", "image_size", "random_exploration_steps")
"""Fields that must be finite and at least 0."""
_SHARES = ("relabeled_share", "discount", "tau")
"""Fields that must lie between 0 and 1; None is allowed where the type allows it."""
