"""Ranges of settings that a tuning searches: how a file writes them, and the shipped ones of the agents.

A search space is a table like the file that `morl train --config` takes: settings of the run by name, those of the
agent in the table `agent`. In the place of a value stands a range, `{ low = 1e-4, high = 1e-2, log = true }`, or a list
of the values to choose from, `[32, 64, 128]`. Inside this package a space is flat: "agent.learning_rate" -> range.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final, TypeAlias

from morl.experiment.toml import toml_value

AGENT = "agent."
"""How the names of the agent's settings begin in a search space."""


@dataclass(frozen=True)
class Range:
    """All numbers between two: integers where both ends are integers.

    Attributes:
        low: the smallest value.
        high: the largest value, included.
        log: whether the logarithm is searched evenly, for settings whose magnitude matters.
    """

    low: float
    high: float
    log: bool = False

    @property
    def is_integer(self) -> bool:
        """Return whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def examples(self) -> tuple[object, ...]:
        """Return the values that are tried before a tuning starts: both ends."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """Some values, each as likely as another.

    Attributes:
        values: at least two different ones, such as numbers, words, or lists of hidden sizes.
    """

    values: tuple[object, ...]

    @property
    def texts(self) -> dict[str, object]:
        """Return the values by their text in TOML: Optuna's journal keeps no lists."""
        return {toml_value(value): value for value in self.values}

    @property
    def examples(self) -> tuple[object, ...]:
        """Return the values that are tried before a tuning starts: all."""
        return self.values


SearchSpace: TypeAlias = Mapping[str, Range | Choice]
"""Setting, such as "num_envs" or "agent.learning_rate" -> its values."""


# --- Files ------------------------------------------------------------------------------------------------------------


def parse_ranges(table: Mapping[str, object]) -> dict[str, Range | Choice]:
    """Return the search space that the table `ranges` of a file describes; names are not looked up.

    Args:
        table: setting -> range or list of values; the table `agent` holds those of the agent.

    Raises:
        ValueError: one is no range; the sentence names it and says what would be right.
    """
    space: dict[str, Range | Choice] = {}
    for name, value in _flat(table):
        space[name] = _parse_range(name, value)
    return space


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the name and the range of each setting, those of the agent as "agent.<name>"."""
    for name, value in table.items():
        if name == "agent" and isinstance(value, Mapping):
            for inner, of_agent in value.items():
                yield f"{AGENT}{inner}", of_agent
        else:
            yield name, value


def _parse_range(name: str, value: object) -> Range | Choice:
    if isinstance(value, list):
        return _choice(name, value)
    if not isinstance(value, Mapping):
        raise ValueError(
            f"ranges has {name} = {value!r}, but must have a range such as {{ low = 1e-4, high = 1e-2, log = true }} or"
            " a list of values; a setting with one value belongs into config or run"
        )
    unknown = sorted(set(value) - {"low", "high", "log"})
    if unknown or not {"low", "high"} <= set(value):
        raise ValueError(
            f"ranges has {name} = {dict(value)}, but a range has low, high and, where magnitudes count, log = true"
        )
    low = value["low"]
    high = value["high"]
    log = value.get("log", False)
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float) or not isfinite(end):
            raise ValueError(f"ranges has {name} with {end!r}, but low and high must be finite numbers")
    if not isinstance(log, bool):
        raise ValueError(f"ranges has {name} with log = {log!r}, but log must be true or false")
    if not low < high:
        raise ValueError(f"ranges has {name} from {low} to {high}, but low must be less than high")
    if log and low <= 0:
        raise ValueError(f"ranges has {name} with log = true from {low}, but low must be greater than 0 then")
    both = isinstance(low, int) and isinstance(high, int)
    return Range(low, high, log) if both else Range(float(low), float(high), log)


def _choice(name: str, values: list[object]) -> Choice:
    """Return a list of values as a choice.

    Raises:
        ValueError: there are fewer than two different ones.
    """
    texts = {toml_value(value) for value in values}
    if len(texts) < 2 or len(texts) < len(values):
        raise ValueError(f"ranges has {name} = {values}, but must have at least two values, all different")
    return Choice(tuple(tuple(value) if isinstance(value, list) else value for value in values))


# --- Shipped ones -----------------------------------------------------------------------------------------------------

DEFAULT: Final = "default"
"""The name of an agent's shipped search space in a file."""


def default_space(agent_name: str, action_kind: str, total_steps: int) -> dict[str, Range | Choice]:
    """Return the shipped search space of an agent.

    Schedules depend on the length of the runs. Settings that make a step several times as expensive, such as more
    updates a step, are left out or bounded: otherwise a tuning spends its time where they are high.

    Args:
        agent_name: pd-morl, c-morl or morl-d.
        action_kind: name of the class of the action space, such as "Discrete" or "Box".
        total_steps: environment steps of each run.

    Raises:
        ValueError: there is none for this agent, or for these actions.
    """
    spaces = {
        ("pd-morl", "Discrete"): _pd_morl_discrete,
        ("pd-morl", "Box"): _pd_morl_continuous,
        ("c-morl", "Discrete"): _c_morl,
        ("c-morl", "Box"): _c_morl_continuous,
        ("morl-d", "Discrete"): _morl_d_discrete,
        ("morl-d", "Box"): _morl_d_continuous,
    }
    found = spaces.get((agent_name, action_kind))
    if found is None:
        known = ", ".join(f"{agent} with {kind} actions" for agent, kind in spaces)
        raise ValueError(
            f"space is {DEFAULT!r}, but there is none for {agent_name} with {action_kind} actions, only for {known}:"
            " write the ranges under [ranges]"
        )
    return {f"{AGENT}{name}": one for name, one in found(total_steps).items()}


def _share(total_steps: int, low: float, high: float, log: bool = False) -> Range:
    """Return a range of steps between two shares of a run."""
    first = max(1, round(low * total_steps))
    return Range(first, max(first + 1, round(high * total_steps)), log)


def _pd_morl_discrete(total_steps: int) -> dict[str, Range | Choice]:
    return {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice((32, 64, 128, 256)),
        "updates_per_step": Choice((0.25, 0.5, 1.0)),
        "hidden_sizes": Choice(((64, 64), (128, 128), (256, 256))),
        "critics": Choice((1, 2)),
        "tau": Range(1e-3, 1e-1, log=True),
        "relabeled_share": Range(0.25, 0.9),
        "relabel_from": Choice(("dirichlet-corners", "dirichlet", "absolute-normal")),
        "exploration_end": Range(0.01, 0.3, log=True),
        "exploration_steps": _share(total_steps, 0.1, 1.0),
    }


def _pd_morl_continuous(total_steps: int) -> dict[str, Range | Choice]:
    return {
        "learning_rate": Range(1e-4, 3e-3, log=True),
        "batch_size": Choice((64, 128, 256)),
        "updates_per_step": Choice((0.5, 1.0)),
        "hidden_sizes": Choice(((64, 64), (128, 128), (256, 256))),
        "tau": Range(1e-3, 5e-2, log=True),
        "policy_delay": Choice((1, 2, 4)),
        "exploration_noise": Range(0.03, 0.4, log=True),
        "target_noise": Range(0.01, 0.3, log=True),
        "relabeled_share": Range(0.25, 0.9),
        "relabel_from": Choice(("dirichlet-corners", "dirichlet", "absolute-normal")),
        "random_exploration_steps": _share(total_steps, 0.01, 0.2, log=True),
    }


def _c_morl(total_steps: int) -> dict[str, Range | Choice]:
    """Return the ranges of C-MORL; each of its first six policies must have an update in initialization."""
    least = 0.4 * total_steps
    sizes = tuple(size for size in (256, 512, 1024, 2048) if 6 * 1.2 * size <= least)  # rounded up to whole steps
    samples: dict[str, Range | Choice] = {"samples_per_update": Choice(sizes)} if len(sizes) > 1 else {}
    return samples | {
        "initial_steps": _share(total_steps, 0.4, 0.8),
        "epochs": Range(3, 15),
        "minibatches": Choice((4, 8, 16, 32)),
        "learning_rate": Range(1e-4, 3e-3, log=True),
        "extension_learning_rate": Range(1e-4, 3e-3, log=True),
        "entropy_weight": Range(1e-4, 1e-1, log=True),
        "gae_lambda": Range(0.9, 0.99),
        "clip_range": Range(0.1, 0.3),
        "extension_updates": Range(5, 40, log=True),
        "beta": Range(0.7, 0.97),
        "barrier_t": Range(5.0, 80.0, log=True),
        "hidden_sizes": Choice(((32, 32), (64, 64), (128, 128))),
    }


def _c_morl_continuous(total_steps: int) -> dict[str, Range | Choice]:
    return _c_morl(total_steps) | {"initial_std": Range(0.3, 1.2)}


def _morl_d_discrete(total_steps: int) -> dict[str, Range | Choice]:
    return _morl_d(total_steps) | {
        "critic_learning_rate": Range(1e-4, 1e-2, log=True),
        "exploration_end": Range(0.01, 0.2, log=True),
        "exploration_steps": _share(total_steps, 0.05, 0.5),
    }


def _morl_d_continuous(total_steps: int) -> dict[str, Range | Choice]:
    return _morl_d(total_steps) | {
        "actor_learning_rate": Range(1e-4, 3e-3, log=True),
        "critic_learning_rate": Range(1e-4, 3e-3, log=True),
        "policy_delay": Choice((1, 2)),
        "target_entropy_scale": Range(0.3, 2.0, log=True),
    }


def _morl_d(total_steps: int) -> dict[str, Range | Choice]:
    """Return the ranges of the off-policy solvers that MORL/D chooses by itself."""
    return {
        "population": Range(4, 10),
        "exchange_every": _share(total_steps, 0.02, 0.3, log=True),
        "replay": Choice(("own", "shared")),
        "weights": Choice(("riesz", "dirichlet")),
        "batch_size": Choice((64, 128, 256)),
        "updates_per_step": Choice((0.25, 0.5, 1.0)),
        "hidden_sizes": Choice(((64, 64), (128, 128), (256, 256))),
        "tau": Range(1e-3, 3e-2, log=True),
        "learning_starts": _share(total_steps, 0.005, 0.1, log=True),
    }
