"""The settings that have an effect under a solver and the other settings; others are refused.

So nobody varies a setting in vain: a field that differs from its default and is never read raises ValueError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from morl.agents.morl_d.config import Config

SOFT: Final = frozenset({"sac", "discrete-sac"})
OFF_POLICY: Final = SOFT | {"td3", "dqn"}
ON_POLICY: Final = frozenset({"ppo", "eupg"})
BUILT_IN: Final = OFF_POLICY | ON_POLICY

SOLVERS: Final[Mapping[str, frozenset[str]]] = {
    "one_hot": BUILT_IN,
    "memory": frozenset({"ppo"}),
    "memory_size": frozenset({"ppo"}),
    "memory_steps": frozenset({"ppo"}),
    "batch_size": OFF_POLICY,
    "updates_per_step": OFF_POLICY,
    "offline_updates": OFF_POLICY,
    "actor_learning_rate": BUILT_IN - {"dqn"},
    "critic_learning_rate": SOFT | {"dqn"},
    "tau": OFF_POLICY,
    "policy_delay": SOFT | {"td3"},
    "combiner": SOFT | {"td3", "ppo"},
    "novelty": frozenset({"ppo"}),
    "weighting": frozenset({"ppo"}),
    "temperature": SOFT,
    "target_entropy_scale": SOFT,
    "buffer_size": OFF_POLICY,
    "random_exploration_steps": OFF_POLICY,
    "learning_starts": OFF_POLICY,
    "exploration_start": OFF_POLICY,
    "exploration_end": OFF_POLICY,
    "exploration_steps": OFF_POLICY,
    "rollout_steps": ON_POLICY,
    "epochs": ON_POLICY,
    "minibatches": ON_POLICY,
    "entropy_weight": ON_POLICY,
    "gae_lambda": ON_POLICY,
    "precision": OFF_POLICY,
    "backend": BUILT_IN,
    "normalization": BUILT_IN,
    "network": BUILT_IN,
    "workers": OFF_POLICY,
    "solver_kwargs": frozenset(),
}
"""Field -> the solvers of this package that read it; every solver reads a field that is not listed.

An algorithm of Stable-Baselines3 reads, of these, the ones that its constructor takes: `solvers.sb3.settings_read`.
"""


@dataclass(frozen=True)
class Solver:
    """A solver by name, and the settings that it reads.

    Attributes:
        name: sac, discrete-sac, td3, dqn, ppo, eupg or sb3:NAME.
        settings: the fields of `SOLVERS` that it reads.
    """

    name: str
    settings: frozenset[str]

    @staticmethod
    def built_in(name: str) -> "Solver":
        """Return a solver of this package."""
        return Solver(name, frozenset(setting for setting, solvers in SOLVERS.items() if name in solvers))


@dataclass(frozen=True)
class Requirement:
    """A condition on the other settings under which a field has an effect.

    Attributes:
        text: the condition in words, which follow "needs".
        holds: whether settings and the solver fulfil it.
    """

    text: str
    holds: Callable[[Config, str], bool]


def needs(field: str, value: object) -> Requirement:
    """Return the requirement that another field has a value."""
    return Requirement(f"{field} {value!r}", lambda config, solver: getattr(config, field) == value)  # noqa: ARG005


def _uses_bounds(config: Config, solver: str) -> bool:  # noqa: ARG001
    return config.utility != "linear" or config.scale == "range"


def _cooperates(config: Config, solver: str) -> bool:  # noqa: ARG001
    return config.transfer != "none" or config.replay == "neighbours"


def _neighbours_change(config: Config, solver: str) -> bool:  # noqa: ARG001
    return config.neighbourhood_space == "objectives" or config.adaptation != "none"


def _some_wait(config: Config, solver: str) -> bool:  # noqa: ARG001
    return config.selected != config.population


def _is_learned(config: Config, solver: str) -> bool:  # noqa: ARG001
    return config.temperature is None


def _decays(config: Config, solver: str) -> bool:
    if solver == "dqn" or solver.startswith("sb3:"):
        return True
    return bool(config.exploration_start) or bool(config.exploration_end)


def _several_networks(config: Config, solver: str) -> bool:  # noqa: ARG001
    return not config.conditioned


BOUNDS: Final = Requirement("a utility other than 'linear', or scale 'range'", _uses_bounds)
WAITING: Final = Requirement("selected below population", _some_wait)

OTHERS: Final[Mapping[str, tuple[Requirement, ...]]] = {
    "reference": (BOUNDS,),
    "ideal": (BOUNDS,),
    "ideal_margin": (BOUNDS,),
    "psa_factor": (needs("adaptation", "psa"),),
    "memory_size": (needs("memory", "gru"),),
    "memory_steps": (needs("memory", "gru"),),
    "neighbourhood": (Requirement("a transfer, or replay 'neighbours'", _cooperates),),
    "neighbours": (needs("neighbourhood", "nearest"),),
    "neighbourhood_space": (needs("neighbourhood", "nearest"),),
    "neighbourhood_update": (
        needs("neighbourhood", "nearest"),
        Requirement("an adaptation, or neighbourhood_space 'objectives'", _neighbours_change),
    ),
    "soft_rate": (needs("transfer", "soft"),),
    "shared_layers": (needs("networks", "shared-layers"),),
    "hyper_features": (needs("networks", "hyper"),),
    "selection": (WAITING,),
    "archive_capacity": (needs("archive", "bounded"),),
    "offline_updates": (needs("networks", "separate"), WAITING),
    "target_entropy_scale": (Requirement("a learned temperature, none given", _is_learned),),
    "exploration_steps": (Requirement("an exploration_start or exploration_end above 0", _decays),),
    "workers": (Requirement("networks 'separate' or 'shared-layers'", _several_networks),),
}
"""Field -> what the other settings must fulfil; a field that is not listed has an effect with any."""


def ineffective(config: Config, solver: Solver, field: str) -> str:
    """Return why a field has no effect, to follow "but"; empty where it has one.

    Args:
        config: settings.
        solver: the solver that they choose.
        field: name of a field of `Config`.
    """
    if field in SOLVERS and field not in solver.settings:
        readers = sorted(SOLVERS[field])
        return f"solver {solver.name!r} does not read it" + (f": it counts for {', '.join(readers)}" if readers else "")
    for requirement in OTHERS.get(field, ()):
        if not requirement.holds(config, solver.name):
            return f"it has no effect: it needs {requirement.text}"
    return ""


def refuse_ineffective(config: Config, solver: Solver) -> None:
    """Check that every field that differs from its default has an effect.

    Args:
        config: settings.
        solver: the solver that they choose.

    Raises:
        ValueError: a field has none; the message says with which settings it would.
    """
    defaults = Config()
    for field in fields(Config):
        value = getattr(config, field.name)
        if value == getattr(defaults, field.name):
            continue
        reason = ineffective(config, solver, field.name)
        if reason:
            raise ValueError(f"{field.name} is {value!r}, but {reason}")
