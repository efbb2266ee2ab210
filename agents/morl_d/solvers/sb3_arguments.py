"""The arguments of an algorithm of Stable-Baselines3 or sb3-contrib, from the settings of MORL/D.

A number that Stable-Baselines3 lets depend on progress can be a schedule, spelled as a text: "linear:3e-4" falls to 0
over a policy's share of the run. Stable-Baselines3 measures progress in each call of `learn`, of which a run makes
many; these schedules measure it in the steps of the policy.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.solvers.sb3_policies import ACTIVATIONS

OPTIONS: Final[Mapping[str, str]] = {
    "actor_learning_rate": "learning_rate",
    "batch_size": "batch_size",
    "buffer_size": "buffer_size",
    "learning_starts": "learning_starts",
}
"""Field of `Config` -> argument of an algorithm's constructor, for every algorithm that takes it."""
OFF_POLICY_OPTIONS: Final[Mapping[str, str]] = {"updates_per_step": "gradient_steps"}
ON_POLICY_OPTIONS: Final[Mapping[str, str]] = {"rollout_steps": "n_steps"}
"""For on-policy algorithms only: off policy the same argument means returns of that many steps."""
EXPLORATION: Final = frozenset({"exploration_start", "exploration_end", "exploration_steps"})
SET_HERE: Final = frozenset(
    {"policy", "env", "seed", "device", "verbose", "gamma", "train_freq", "policy_kwargs"}
    | set(OPTIONS.values())
    | set(OFF_POLICY_OPTIONS.values())
)
"""Arguments that other settings of MORL/D determine, besides n_steps on policy."""
POLICY_PREFIX: Final = "policy_kwargs."
MODULES: Final[Mapping[object, type[nn.Module]]] = {name: module for module, name in ACTIVATIONS.items()}
"""Name of an activation -> its module."""
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 * (1.0 + math.cos(math.pi * share)),
}
"""Name -> what is left of the way from the last value to the first, by the share of the steps that are done."""


@dataclass
class Schedule:
    """A number that falls (or rises) with the steps of a policy; called as Stable-Baselines3 calls a schedule.

    Attributes:
        shape: name of `SHAPES`.
        start: first value.
        end: last value.
        done: returns the share of the policy's steps that are done.
    """

    shape: str
    start: float
    end: float
    done: Callable[[], float] = lambda: 0.0

    def __call__(self, _: float) -> float:
        """Return the number now; the argument, progress in a call of `learn`, is not read."""
        return self.end + (self.start - self.end) * SHAPES[self.shape](min(1.0, self.done()))


def parse_schedule(name: str, text: object) -> Schedule | None:
    """Return the schedule that a value of `solver_kwargs` spells, or None where it spells none.

    Args:
        name: of the argument.
        text: "linear:START", "linear:START:END", and the same with cosine; END is 0 by default.

    Raises:
        ValueError: it begins as a schedule and is none.
    """
    if not isinstance(text, str) or text.partition(":")[0] not in SHAPES or ":" not in text:
        return None
    shape, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 2 or not all(math.isfinite(value) for value in values):
        raise ValueError(
            f"solver_kwargs has {name} {text!r}, but a schedule is '{shape}:START' or '{shape}:START:END' with numbers"
        )
    return Schedule(shape, values[0], values[1] if len(values) == 2 else 0.0)


def find_algorithm(name: str) -> type[BaseAlgorithm]:
    """Return the class of an algorithm of stable_baselines3 or sb3_contrib.

    Args:
        name: of the class.

    Raises:
        ValueError: there is none of that name, or sb3_contrib would be needed and is not installed.
    """
    found: object = getattr(stable_baselines3, name, None)
    if found is None:
        try:
            found = getattr(import_module("sb3_contrib"), name, None)
        except ImportError:
            raise ValueError(
                f"solver is 'sb3:{name}', but stable_baselines3 has no {name} and sb3_contrib is not installed: add it"
                " by pip install 'morl-suite[sb3-contrib]'"
            ) from None
    if not (inspect.isclass(found) and issubclass(found, BaseAlgorithm)):
        raise ValueError(f"solver is 'sb3:{name}', but neither stable_baselines3 nor sb3_contrib has {name}")
    return found


def takes_masks(name: str) -> bool:
    """Return whether an algorithm honours action masks, as sb3-contrib's MaskablePPO does.

    Args:
        name: of the algorithm's class.

    Raises:
        ValueError: there is no such algorithm.
    """
    return "action_masks" in inspect.signature(find_algorithm(name).predict).parameters


def settings_read(name: str) -> frozenset[str]:
    """Return the fields of `Config` that an algorithm reads, of those that depend on the solver.

    Args:
        name: of the algorithm's class.

    Raises:
        ValueError: there is no such algorithm.
    """
    algorithm = find_algorithm(name)
    explores = EXPLORATION if "exploration_fraction" in _parameters_of_constructor(algorithm) else frozenset()
    return frozenset({"solver_kwargs", *_options(algorithm)}) | explores


def _options(algorithm: type[BaseAlgorithm]) -> dict[str, str]:
    """Return field of `Config` -> constructor argument, of an algorithm."""
    off_policy = issubclass(algorithm, OffPolicyAlgorithm)
    options = {**OPTIONS, **(OFF_POLICY_OPTIONS if off_policy else ON_POLICY_OPTIONS)}
    known = _parameters_of_constructor(algorithm)
    return {field: argument for field, argument in options.items() if argument in known}


def _parameters_of_constructor(algorithm: type[BaseAlgorithm]) -> frozenset[str]:
    return frozenset(inspect.signature(algorithm.__init__).parameters)


def constructor_arguments(
    name: str, config: Config, discount: float, num_envs: int, device: torch.device
) -> dict[str, Any]:
    """Return the arguments of an algorithm's constructor that follow from the settings.

    Args:
        name: of the algorithm's class.
        config: settings.
        discount: of learning.
        num_envs: number of sub-environments.
        device: where the model lives.

    Raises:
        ValueError: `solver_kwargs` has an argument that the constructor does not take, or that another setting sets.
    """
    algorithm = find_algorithm(name)
    known = _parameters_of_constructor(algorithm)
    arguments: dict[str, Any] = {argument: getattr(config, field) for field, argument in _options(algorithm).items()}
    if "gradient_steps" in arguments:
        arguments["gradient_steps"] = max(1, round(config.updates_per_step * num_envs))
    if "train_freq" in known:
        arguments["train_freq"] = 1
    policy_kwargs: dict[str, Any] = {"net_arch": list(config.hidden_sizes)}
    if config.activation is not None:
        policy_kwargs["activation_fn"] = MODULES[config.activation]
    for key, value in config.solver_kwargs.items():
        if key.startswith(POLICY_PREFIX):
            option = key.removeprefix(POLICY_PREFIX)
            if option == "activation_fn" and config.activation is not None:
                raise ValueError(f"solver_kwargs has {key}, but activation is {config.activation!r}: set only one")
            policy_kwargs[option] = MODULES.get(value, value) if option == "activation_fn" else value
        elif (schedule := _schedule(algorithm, config, key, value)) is not None:
            arguments[key] = schedule
        elif key in SET_HERE or key in arguments:
            raise ValueError(f"solver_kwargs has {key}, but another setting of MORL/D determines it")
        elif key not in known:
            raise ValueError(f"solver_kwargs has {key}, but the constructor of {name} does not take it")
        else:
            arguments[key] = value
    return {**arguments, "gamma": discount, "device": device, "verbose": 0, "policy_kwargs": policy_kwargs}


def _schedule(algorithm: type[BaseAlgorithm], config: Config, argument: str, value: object) -> Schedule | None:
    """Return the schedule that a value of `solver_kwargs` spells, for an argument that may be one; else None."""
    parameter = inspect.signature(algorithm.__init__).parameters.get(argument)
    annotation = "" if parameter is None else str(parameter.annotation)
    schedule = parse_schedule(argument, value)
    if schedule is None or not ("Schedule" in annotation or "Callable" in annotation):
        return None
    rate = config.actor_learning_rate
    if argument == "learning_rate" and rate != Config.actor_learning_rate:
        raise ValueError(f"solver_kwargs has learning_rate, but actor_learning_rate is {rate}: set only one")
    return schedule
