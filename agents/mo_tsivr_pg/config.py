"""Settings of MO-TSIVR-PG."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias, get_args

from morl.learning.config_checks import Presets, check_choices, check_positive, check_shares
from morl.learning.types import Activation

Method: TypeAlias = Literal["mo-tsivr-pg", "mo-pg"]
OptimizerName: TypeAlias = Literal["adam", "gradient"]
BaselineName: TypeAlias = Literal["time", "none"]


@dataclass(frozen=True, kw_only=True)
class Config(Presets):
    """Settings of MO-TSIVR-PG; the authors' are the presets "paper" and "mo-pg"."""

    method: Method = "mo-tsivr-pg"
    """Algorithm: with variance reduction, or the baseline MO-PG, which takes two independent batches for each step."""
    utility: str = "linear"
    """Concave utility f of the expected returns: linear, tchebycheff, augmented-tchebycheff, smooth-tchebycheff, pbi,
    desirability, nash, maximin, or "module:function" of (returns, preferences, ideal) on tensors."""
    ideal: tuple[float, ...] | None = None
    """Third argument of the utility [objective], in the environment's units: the ideal return of all but linear, nash
    and maximin; those two measure returns from the reference point if it is None."""
    population: int = 6
    """Policies trained in parallel, each for a different preference; 1: equal weights (authors: 1)."""
    initial_episodes: int = 24
    """Episodes of each policy in a large batch, N: the first of an epoch, with mo-pg every one (authors: 144)."""
    episodes: int = 6
    """Episodes of each policy in the batches between, B (authors: 12)."""
    inner_steps: int = 12
    """Gradient steps of an epoch, of which the first has a large batch (authors: 12)."""
    largest_step: float = 0.5
    """Norm that a change of a policy's parameters is truncated to, delta (authors: 2)."""
    optimizer: OptimizerName = "adam"
    """How an estimated gradient becomes a step: Adam (authors' experiments), or the gradient itself (their theory)."""
    learning_rate: float = 3e-3
    """Step size of Adam or of gradient ascent (authors: 3e-4)."""
    baseline: BaselineName = "time"
    """What is subtracted from rewards to go: the mean that earlier episodes earned from the same step on, which changes
    no expectation, or nothing (authors' value)."""
    normalize: bool = True
    """Normalize observations by mean and deviation of a first batch, used for nothing else (authors: false)."""
    hidden_sizes: tuple[int, ...] = (64,)
    """Units of the hidden layers (authors: one of 128)."""
    activation: Activation = "relu"
    """Activation of the hidden layers (authors' value)."""
    initial_std: float = 1.0
    """Standard deviation of a fresh policy's continuous actions, in units of half their range."""
    one_hot: bool = False
    """Encode integer observations one-hot, as one joint state where there are few."""
    discount: float | None = None
    """Discount factor of training; None: the environment's discount of evaluation."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "population": 1,
            "initial_episodes": 144,
            "episodes": 12,
            "largest_step": 2.0,
            "learning_rate": 3e-4,
            "baseline": "none",
            "normalize": False,
            "hidden_sizes": (128,),
        },
        "mo-pg": {
            "method": "mo-pg",
            "population": 1,
            "initial_episodes": 144,
            "learning_rate": 3e-4,
            "baseline": "none",
            "normalize": False,
            "hidden_sizes": (128,),
        },
    }
    """Published settings: name -> the fields that differ from the defaults."""

    RAW_REWARD_PRESETS: ClassVar[tuple[str, ...]] = ("paper", "mo-pg")
    """Presets that learn from rewards in the environment's units, as their authors do."""

    @classmethod
    def paper(cls) -> Self:
        """Return the authors' settings of MO-TSIVR-PG."""
        return cls.preset("paper")

    def __post_init__(self) -> None:
        """Check every value, and that every changed setting has an effect.

        Raises:
            ValueError: a value is out of range, or a setting has no effect.
        """
        check_choices(self, _CHOICES)
        check_positive(self, _POSITIVE)
        check_shares(self, ("discount",))
        if not self.hidden_sizes or not all(width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but must have widths, each greater than 0")
        if self.method == "mo-pg":
            for name in ("episodes", "inner_steps", "largest_step"):
                known = (getattr(Config, name), self.PRESETS["paper"].get(name))
                if getattr(self, name) not in known:
                    raise ValueError(
                        f"{name} is {getattr(self, name)}, which has no effect: method must be 'mo-tsivr-pg'"
                    )


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "method": get_args(Method),
    "optimizer": get_args(OptimizerName),
    "baseline": get_args(BaselineName),
    "activation": get_args(Activation),
}
"""Fields that must be one of several names."""
_POSITIVE = (
    "population",
    "initial_episodes",
    "episodes",
    "inner_steps",
    "largest_step",
    "learning_rate",
    "initial_std",
)
"""Fields that must be finite and greater than 0."""
