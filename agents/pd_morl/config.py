"""Settings of PD-MORL for continuous actions, and the two modes that decide those that are not given."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from morl.agents.pd_morl.hindsight import RelabelFrom

PAPER: dict[str, Any] = {
    "time_limits": "end",
    "loss": "huber",
    "actor_angle": 10.0,
    "critic_angle": 1.0,
    "angle_start_step": 0,
    "units": "raw",
    "hidden_norm": "none",
    "action_gradient": "tanh",
    "evaluation_actor": "latest",
    "actor_start": "at-once",
    "policy_delay": 10,
    "target_noise": 0.2,
    "target_noise_clip": 0.5,
    "noise_correlation": 0.0,
    "relabel_from": "absolute-normal",
    "relabelling_starts": 100_000,
    "hidden_sizes": (400, 400),
    "batch_size": 256,
    "learning_rate": 3e-4,
    "learning_starts": 1_536,
    "random_exploration_steps": 100_000,
    "key_pretraining_steps": 2_000_000,
    "key_update_steps": 5_000,
    "key_episodes": 3,
}
"""The authors' settings."""
IMPROVED: dict[str, Any] = {
    "time_limits": "bootstrap",
    "loss": "huber",
    "actor_angle": 0.0,
    "critic_angle": 0.0,
    "angle_start_step": 0,
    "units": "typical-reward",
    "hidden_norm": "layer",
    "action_gradient": "leaky",
    "evaluation_actor": "target",
    "actor_start": "after-random-exploration",
    "policy_delay": 2,
    "target_noise": 0.05,
    "target_noise_clip": 0.1,
    "noise_correlation": 0.0,
    "relabel_from": "dirichlet-corners",
    "relabelling_starts": 0,
    "hidden_sizes": (128, 128),
    "batch_size": 128,
    "learning_rate": 1e-3,
    "learning_starts": 1_000,
    "random_exploration_steps": 5_000,
    "key_pretraining_steps": 0,
    "key_update_steps": 50_000,
    "key_episodes": 1,
}
"""What is better, and runs on a laptop: docs/pd_morl.md says why, and what was measured."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of MO-TD3-HER; those that are not given are set by `mode`, and stand resolved in config.toml."""

    mode: Literal["improved", "paper"] = "improved"
    """Which settings fill in for those that are not given: `IMPROVED` or `PAPER`."""
    time_limits: Literal["bootstrap", "end"] | None = None
    """Whether values are bootstrapped through time limits, or these end an episode. Improved: bootstrap, paper: end."""
    loss: Literal["huber", "squared"] | None = None
    """Of the critics. Both modes: huber."""
    actor_angle: float | None = None
    """Weight alpha of the angle between I(w) and Q_1 in the actor's loss, per degree. Improved: 0, paper: 10."""
    critic_angle: float | None = None
    """Weight of the angle in the critics' loss, per degree. Improved: 0, paper: 1."""
    angle_start_step: int | None = None
    """Environment steps before which no angle is in a loss: while keys are poor it points astray. Both modes: 0."""
    units: Literal["typical-reward", "raw"] | None = None
    """Measure each objective in units of its typical reward, found in the random phase, and angles from the reference
    point, so that the scale of rewards does not matter; or all as it is. Improved: typical-reward, paper: raw."""
    hidden_norm: Literal["layer", "none"] | None = None
    """Layer normalization of the critics' hidden layers. Improved: layer, paper: none."""
    action_gradient: Literal["leaky", "tanh"] | None = None
    """How the slope of a utility at an action passes the actor's tanh: by the derivative, or by that but never lost on
    the way back from the end of the range, so that a saturated actor can turn round. Improved: leaky, paper: tanh."""
    actor_start: Literal["after-random-exploration", "at-once"] | None = None
    """When the actor begins to learn: with the critics, or later, so that it does not follow some that know nothing
    yet. Improved: after-random-exploration, paper: at-once."""
    evaluation_actor: Literal["target", "latest"] | None = None
    """Which actor is evaluated and published: the target network, an average of the latest few hundred that trembles
    less than any single one; or the one that learns and explores. Improved: target, paper: latest."""
    policy_delay: int | None = None
    """Critic updates per update of the actor and the target networks. Improved: 2, paper: 10 (Hopper 20)."""
    target_noise: float | None = None
    """Standard deviation of the noise on target actions, in units of half the action range. Values are those of a
    policy that trembles by as much: much of it teaches gaits that waste effort. Improved: 0.05, paper: 0.2."""
    target_noise_clip: float | None = None
    """Largest noise on target actions, in the same units. Improved: 0.1, paper: 0.5."""
    relabel_from: RelabelFrom | None = None
    """Where redrawn preferences come from. Improved: dirichlet-corners, paper: absolute-normal."""
    relabelling_starts: int | None = None
    """Environment steps before which no preference is redrawn. Improved: 0, paper: 100,000."""
    random_exploration_steps: int | None = None
    """Environment steps with uniformly random actions. Improved: 5,000, paper: 100,000."""
    key_pretraining_steps: int | None = None
    """Environment steps that each key trains a policy of its own before training proper, counted as `pretraining_steps`
    and never part of the authors' count. Improved: 0, paper: 2,000,000."""
    learning_rate: float | None = None
    """Adam's step size, of actor and critics. Improved: 1e-3, paper: 3e-4."""
    discount: float | None = None
    """Discount factor of learning; where not given the environment's, or 0.995 where that is 1."""
    batch_size: int | None = None
    """Transitions per update. Improved: 128, paper: 256."""
    updates_per_step: float = 1.0
    """Critic updates per environment step."""
    hidden_sizes: tuple[int, ...] | None = None
    """Widths of the hidden layers of actor and critics. Improved: 128 128, paper: 400 400."""
    buffer_size: int = 500_000
    """Raw transitions kept (authors: 2,000,000 entries, three quarters of them relabelled copies)."""
    relabelled_share: float = 0.75
    """Share of a batch whose preference is redrawn: N_w / (1 + N_w) with the authors' N_w = 3."""
    tau: float = 0.005
    """Rate of the target networks' soft update (tau)."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on actions in training, in the same units."""
    noise_correlation: float | None = None
    """Share of the noise on actions that stays from one step to the next (its variance is kept); of random actions as
    well. Both modes: 0."""
    max_grad_norm: float = 100.0
    """Largest norm of the gradient of the actor, and of both critics together."""
    learning_starts: int | None = None
    """Environment steps before the first update. Improved: 1,000, paper: 1,536 (2 x batch x N_w)."""
    preference_divisions: int | None = None
    """Resolution of the grid that acting preferences are drawn from; as fine as 5,000 preferences allow where not given
    (authors: 1,000)."""
    key_divisions: int | None = None
    """Resolution of the lattice of keys; one per objective and their mean where not given."""
    key_update_steps: int | None = None
    """Environment steps between two evaluations of the keys. Improved: 50,000, only to watch, paper: 5,000."""
    key_episodes: int | None = None
    """Episodes of each key evaluation. Improved: 1, paper: 3."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the products between hidden layers; bfloat16 takes the eager update, and pays for wide networks only."""

    def __post_init__(self) -> None:
        """Fill in what the mode decides, and refuse values that cannot work."""
        for name, value in (PAPER if self.mode == "paper" else IMPROVED).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self._validate()

    def _validate(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        for name in {"relabelled_share", "tau", "discount", "noise_correlation"} & given.keys():
            if not 0.0 <= given[name] <= 1.0:
                raise ValueError(f"{name} is {given[name]}, but must lie between 0 and 1")
        if given["noise_correlation"] == 1.0:
            raise ValueError("noise_correlation is 1.0, but must be less: noise that never changes explores nothing")
        positive = {"policy_delay", "learning_rate", "batch_size", "updates_per_step", "buffer_size"}
        positive |= {"max_grad_norm", "learning_starts", "preference_divisions"}
        positive |= {"key_divisions", "key_update_steps", "key_episodes"}
        for name in sorted(positive & given.keys()):
            if not 0 < given[name] < float("inf"):
                raise ValueError(f"{name} is {given[name]}, but must be finite and greater than 0")
        not_negative = {
            "actor_angle",
            "critic_angle",
            "angle_start_step",
            "random_exploration_steps",
            "key_pretraining_steps",
        }
        not_negative |= {"relabelling_starts", "target_noise", "target_noise_clip", "exploration_noise"}
        for name in sorted(not_negative):
            if not 0 <= given[name] < float("inf"):
                raise ValueError(f"{name} is {given[name]}, but must be finite and not negative")
        if not all(width > 0 for width in given["hidden_sizes"]):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but every width must be greater than 0")


Value = TypeVar("Value")


def decided(value: Value | None) -> Value:
    """Return a setting that the mode has filled in where it was not given."""
    assert value is not None
    return value
