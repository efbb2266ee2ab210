"""Settings of MOGFN-PC, and the published values as presets."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt
from typing import ClassVar, Literal, Self, TypeAlias, get_args

from morl.learning.config_checks import Presets, check_choices, check_positive, check_shares
from morl.learning.types import Activation

Loss: TypeAlias = Literal["trajectory-balance", "order-preserving"]
"""trajectory-balance: objects in proportion to a reward, for every preference (MOGFN-PC). order-preserving: the
non-dominated objects of each batch, without preferences (OP-GFN)."""

Scalarization: TypeAlias = Literal["weighted-sum", "weighted-log-sum"]
"""How a preference makes one reward of the returns: sum_k w_k r_k, or prod_k r_k^w_k, which also likes dents."""

ExponentSource: TypeAlias = Literal["constant", "gamma", "uniform", "log-uniform"]
"""Where the reward exponents of episodes come from; the numbers of `exponent` are the exponent itself, shape and scale,
or the smallest and the largest."""


@dataclass(frozen=True, kw_only=True)
class Config(Presets):
    """Settings of MOGFN-PC; those of the papers' grids are the presets "paper" and "order-preserving"."""

    loss: Loss = "trajectory-balance"
    """What is learned (`Loss`)."""
    parents: str = "grid"
    """How many states lead to a state in one step. grid: observations are integers, action k adds 1 to number k, the
    last action stops. tree: there is one way to each state. "module:function": your own function of a batch of
    observations; only a stop may end an episode."""
    scalarization: Scalarization = "weighted-sum"
    """How a preference makes one reward of the returns (`Scalarization`; paper: weighted-sum)."""
    concentration: float = 1.5
    """Concentration of the Dirichlet distribution that preferences are drawn from for every episode (paper's value)."""
    exponent_source: ExponentSource = "log-uniform"
    """Where the reward exponents beta come from, one for each episode (`ExponentSource`; paper, for grids: gamma)."""
    exponent: tuple[float, ...] = (4.0, 512.0)
    """Numbers of that distribution (paper: shape 16, scale 1). The papers call beta a temperature."""
    acting_exponent: float = 512.0
    """Reward exponent that policies act and are evaluated with; the larger, the closer samples are to the best."""
    log_reward_range: float = 50.0
    """How far below that of the ideal point log R counts, exponent included; what pays nothing counts as this."""
    preference_bins: int = 16
    """Bins of the thermometer code of each weight and of the exponent (the OP-GFN authors' grid: plain numbers)."""
    batch_size: int = 128
    """Episodes of an update (paper's value)."""
    random_share: float = 0.01
    """Share of actions in training that are random (paper's value)."""
    learning_rate: float = 3e-3
    """Adam's step size of the policy (paper: 1e-2)."""
    learning_rate_z: float = 1e-2
    """Adam's step size of log Z (paper's value)."""
    learning_rate_half_life: float | None = None
    """Updates after which both step sizes are half, and after three times as many a quarter; None: constant (paper)."""
    weight_decay: float = 0.0
    """Multiple of the parameters that is added to their gradients (paper: 1e-4)."""
    max_grad_norm: float | None = 10.0
    """Largest norm of a gradient; None: it is not clipped (paper)."""
    hidden_sizes: tuple[int, ...] = (64, 64, 64)
    """Units of the hidden layers of the policy (paper's value)."""
    hidden_sizes_z: tuple[int, ...] = (32, 32, 32)
    """Units of the hidden layers of log Z (paper's value)."""
    activation: Activation = "leaky-relu"
    """Activation of the hidden layers (paper's value)."""
    one_hot: bool = True
    """Encode integer observations one-hot (paper's value)."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "exponent_source": "gamma",
            "exponent": (16.0, 1.0),
            "acting_exponent": 16.0,
            "learning_rate": 1e-2,
            "weight_decay": 1e-4,
            "max_grad_norm": None,
        },
        "order-preserving": {"loss": "order-preserving"},
    }
    """Published settings: name -> the fields that differ from the defaults."""

    RAW_REWARD_PRESETS: ClassVar[tuple[str, ...]] = ("paper", "order-preserving")
    """Presets that learn from rewards in the environment's units, as their authors do."""

    @property
    def largest_exponent(self) -> float:
        """Return the reward exponent that fills its thermometer; of a gamma distribution, mean and four deviations."""
        match self.exponent_source:
            case "gamma":
                shape, scale = self.exponent
                return scale * (shape + 4.0 * sqrt(shape))
            case _:
                return self.exponent[-1]

    @classmethod
    def paper(cls) -> Self:
        """Return the settings of the grids of the papers."""
        return cls.preset("paper")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, and settings that have no effect.

        Raises:
            ValueError: names the setting, its value and what would be right.
        """
        check_choices(self, _CHOICES)
        check_positive(self, _POSITIVE)
        check_shares(self, ("random_share",))
        if self.parents not in ("grid", "tree") and ":" not in self.parents:
            raise ValueError(f"parents is {self.parents!r}, but must be grid, tree or your own 'module:function'")
        if not 0.0 <= self.weight_decay < inf:
            raise ValueError(f"weight_decay is {self.weight_decay}, but must be finite and not negative")
        for name in ("hidden_sizes", "hidden_sizes_z"):
            sizes = getattr(self, name)
            if not sizes or not all(size > 0 for size in sizes):
                raise ValueError(f"{name} is {sizes}, but must have sizes, each greater than 0")
        self._check_exponents()
        if self.loss == "order-preserving":
            for name in _OF_BALANCE:
                if getattr(self, name) != getattr(Config, name):
                    raise ValueError(
                        f"{name} is {getattr(self, name)}, which has no effect: loss must be 'trajectory-balance'"
                    )

    def _check_exponents(self) -> None:
        """Raise ValueError where the numbers of the distribution of exponents do not fit it."""
        expected = 1 if self.exponent_source == "constant" else 2
        if len(self.exponent) != expected or not all(0.0 < number < inf for number in self.exponent):
            raise ValueError(
                f"exponent is {self.exponent}, but must be {expected} finite numbers greater than 0 for"
                f" exponent_source {self.exponent_source!r}"
            )
        if self.exponent_source in ("uniform", "log-uniform") and self.exponent[0] >= self.exponent[1]:
            raise ValueError(f"exponent is {self.exponent}, but the first number must be smaller than the second")
        if self.exponent_source == "constant" and self.acting_exponent != self.exponent[0]:
            raise ValueError(
                f"acting_exponent is {self.acting_exponent}, but must be {self.exponent[0]}, the only one learned"
            )
        if self.acting_exponent > self.largest_exponent:
            raise ValueError(
                f"acting_exponent is {self.acting_exponent}, but must be at most {self.largest_exponent}, the largest"
                " that is learned"
            )


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "loss": get_args(Loss),
    "scalarization": get_args(Scalarization),
    "exponent_source": get_args(ExponentSource),
    "activation": get_args(Activation),
}
"""Fields that must be one of several names."""
_POSITIVE = (
    "concentration",
    "acting_exponent",
    "log_reward_range",
    "preference_bins",
    "batch_size",
    "learning_rate",
    "learning_rate_z",
    "learning_rate_half_life",
    "max_grad_norm",
)
"""Fields that must be finite and greater than 0; None is allowed where the type allows it."""
_OF_BALANCE = (
    "scalarization",
    "concentration",
    "exponent_source",
    "exponent",
    "acting_exponent",
    "log_reward_range",
    "preference_bins",
    "learning_rate_z",
    "hidden_sizes_z",
)
"""Fields without effect on the order-preserving loss."""
