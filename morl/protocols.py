"""Protocols and plain records that the packages share: problem, agent and its optional abilities, saved policy."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium
    import torch
    from gymnasium.vector import VectorEnv

FloatArray: TypeAlias = NDArray[np.float64]
IndexArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Observations: TypeAlias = Any
"""A batch of observations as a vector environment gives it: an array [env, ...], or a dict or tuple of such arrays."""
Actions: TypeAlias = NDArray[Any]
"""A batch of actions [env, ...] of the environment's action space."""
MemoryArray: TypeAlias = NDArray[np.float32]
"""What policies with a memory remember [env, memory_size]; zeros at the start of an episode."""
Infos: TypeAlias = Mapping[str, Any]
"""The infos of a vector environment's step."""
StateDict: TypeAlias = Mapping[str, Any]
"""Plain data that a checkpoint holds: tensors, arrays, numbers, strings, None, and lists and dicts of them."""
UtilityChoice: TypeAlias = Callable[[Any, Any, Any], Any] | str | None
"""A utility of (returns, preferences, ideal) as in `morl.utilities`, its name, or None for the one that a policy file
names."""
VectorEnvironment: TypeAlias = "VectorEnv[Any, Any, Any]"
"""A Gymnasium vector environment with rewards [env, objective]."""

KnownFront = Callable[[float], NDArray[np.float64]]
"""Discount -> the true Pareto front [n, objective]."""

LONG_DISCOUNT: Final = 0.995
"""Discount factor of learning where long episodes are evaluated without one (the authors of PG-MORL and PD-MORL)."""


class Evaluate(Protocol):
    """Evaluation callback passed to `Agent.learn`; its environment steps are counted."""

    def __call__(self, preferences: FloatArray, episodes: int, policies: IndexArray | None = None) -> FloatArray:
        """Return mean discounted returns [n, objective].

        Args:
            preferences: [n, objective] the preference each row acts for.
            episodes: episodes of each row.
            policies: [n] ids of the policies; default: policy 0 in all rows.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An environment as agents see it: its spaces, and what its rewards mean."""

    id: str
    """The environment's id."""
    observation_space: "gymnasium.Space[Any]"
    """Of a single environment."""
    action_space: "gymnasium.Space[Any]"
    """Of a single environment."""
    objectives: tuple[str, ...]
    """Names of the objectives, in the order of the reward vector."""
    discount: float
    """Discount factor of evaluation."""
    reference_point: tuple[float, ...] | None = None
    """[objective] worst return that still counts in the hypervolume, in discounted returns; None: not known."""
    known_front: KnownFront | None = None
    """The true front; None: not known."""
    action_masks: bool = False
    """Whether infos of the environment hold masks of its actions (`morl.action_masks`)."""
    units: tuple[float, ...] | None = None
    """[objective] what the agent sees as 1: its rewards, returns, reference point and known front are the environment's
    divided by these units; None: they are not divided."""
    scales: tuple[float, ...] | None = None
    """[objective] equally valuable amounts of the objectives; None: not stated."""

    @property
    def num_objectives(self) -> int:
        """Return the length of the reward vector."""
        return len(self.objectives)

    @property
    def long_discount(self) -> float:
        """Return the discount factor of learning for long episodes: that of evaluation, or `LONG_DISCOUNT` if it is 1.

        Undiscounted values depend on the time that is left, which robots do not observe, and vary by all of it.
        """
        return self.discount if self.discount < 1.0 else LONG_DISCOUNT


class SavedPolicy(Protocol):
    """A policy as plain data, sufficient to act; implemented by `morl.policy_files.PolicyData`."""

    @property
    def preference(self) -> FloatArray:
        """Return the preference [objective] that the policy acts for; NaN where it has none."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the policy as plain data for a file."""
        ...


class Agent(Protocol):
    """The interface between runner and agent. Agents satisfy this protocol; they do not inherit from it.

    An agent class has the attribute `config_class`, a frozen dataclass of its settings, and the constructor of
    `AgentClass`. All state is in attributes, so that a new `learn` generator continues a restored state bit for bit.
    Optional abilities are separate protocols: `Constrained`, `UsesAccruedReward`, `UsesActionMasks`, `HasMemory`,
    `SeveralLearners`, `ReturnsParameters`, `ExecutesUpdates`. `morl.agents.check_agent` checks all of them.
    """

    steps: int
    """Environment steps taken in training so far."""
    pretraining_steps: int
    """Environment steps taken before training proper."""
    updates: int
    """Gradient updates so far."""

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Train until `steps` reaches `total_steps`; yield whenever the state is consistent and can be saved.

        Args:
            envs: `num_envs` environments that reset in the step that ends an episode.
            total_steps: environment steps of training, including earlier ones.
            evaluate: evaluates policies of this agent; its environment steps are counted.
        """
        ...

    def act(self, observations: Observations, preferences: FloatArray, policies: IndexArray) -> Actions:
        """Return the deterministic actions [env, ...].

        Args:
            observations: a batch of the environment's observation space.
            preferences: [env, objective] the preference each row acts for; NaN for a policy without one.
            policies: [env] the id of the policy of each row.
        """
        ...

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return the candidates for the front: policy ids [n] and the preference each acts for [n, objective].

        Args:
            preferences: [k, objective] the evaluation grid. A conditioned agent returns policy 0 once for each of
                them; a population returns each member once, with its preference (NaN if it has none).
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Return training metrics by name; called at logging time only."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs, as plain data."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same problem, settings and number of environments."""
        ...

    def reset_episodes(self) -> None:
        """Start new episodes at the next step: called where the environment's state could not be saved."""
        ...

    def export_policies(self) -> Mapping[int, SavedPolicy]:
        """Return copies of the policies by id: small, without replay or optimizer."""
        ...


class AgentClass(Protocol):
    """How an agent is constructed."""

    config_class: type[Any]
    """Frozen dataclass of the agent's settings, a docstring under each field."""

    def __call__(self, problem: Problem, config: Any, seed: int, num_envs: int, device: "torch.device") -> Agent:
        """Return an untrained agent.

        Args:
            problem: spaces, objectives, discount and reference point of the environment.
            config: an instance of `config_class`.
            seed: the integer that all random streams of the agent are derived from (`morl.seeding`).
            num_envs: number of environments that `learn` is given.
            device: where networks live.
        """
        ...


@runtime_checkable
class Constrained(Protocol):
    """An agent that keeps bounds on some objectives and optimizes the others."""

    free_objectives: list[int]
    """Objectives without a bound, ascending."""

    def violations(self, points: FloatArray) -> FloatArray:
        """Return the largest violation of a bound [n] of each point [n, objective]; 0 where all bounds hold."""
        ...

    def front_metadata(self, points: FloatArray) -> dict[str, Any]:
        """Return the entries of front.json about the bounds and their violations by its points [n, objective]."""
        ...


@runtime_checkable
class UsesAccruedReward(Protocol):
    """An agent whose `act` takes `accrued`: [env, objective + 1], discounted rewards so far and the next discount."""

    uses_accrued_reward: bool
    """Whether it does with these settings."""


@runtime_checkable
class UsesActionMasks(Protocol):
    """An agent whose `act` takes `masks`: [env, choice], true where the environment allows a choice.

    Other agents are refused where the environment gives masks.
    """

    uses_action_masks: bool
    """Whether it does with these settings."""


@runtime_checkable
class HasMemory(Protocol):
    """An agent whose `act` takes `memory`: [env, memory_size], which it replaces in place by that after the step."""

    memory_size: int
    """Elements of what its policies remember; 0: they have no memory with these settings."""


@runtime_checkable
class SeveralLearners(Protocol):
    """An agent that trains several seeds as one batch: `seed` may be a tuple, and methods take a learner's number."""

    several_learners: bool
    """Whether it does."""


@runtime_checkable
class DescribesMetrics(Protocol):
    """An agent that says what its `metrics` mean; TensorBoard shows it beside their charts."""

    metric_descriptions: Mapping[str, str]
    """Name of a metric -> a sentence; a name that ends in a star is the beginning of several names."""


@runtime_checkable
class ReturnsParameters(Protocol):
    """An agent that returns all parameters it learns, so that a run ends where one of them is no longer finite.

    Of other agents the exported policies are checked, at evaluations.
    """

    def all_parameters(self) -> "Iterable[torch.Tensor]":
        """Return the parameters that are learned at present, in whatever phase: of actors and critics, not copied."""
        ...


@runtime_checkable
class OptimizesUtility(Protocol):
    """An agent that says which utility of returns and preferences it optimizes; others optimize weighted sums."""

    utility_name: str
    """One of `morl.utilities.UTILITIES`, or "module:name"."""


@runtime_checkable
class HasSchedules(Protocol):
    """An agent's class that says which of its settings last for a part of the run."""

    def schedules(self, config: Any, problem: Problem, total_steps: int) -> Mapping[str, int]:
        """Return the most environment steps that leave room for what follows, by setting.

        Args:
            config: an instance of `config_class`.
            problem: the environment.
            total_steps: environment steps of the run.
        """
        ...


class MemoryNeed(NamedTuple):
    """The memory of an agent's transitions."""

    what: str
    """What holds them, such as "the replay"."""
    setting: str
    """The setting that limits their number."""
    value: int
    """Value of that setting."""
    transitions: int
    """Number of transitions that a run will hold at most."""
    bytes_each: int
    """Bytes of one of them."""
    copies: int
    """Transitions per unit of the setting, such as the number of policies that have a buffer of their own."""


@runtime_checkable
class StatesMemory(Protocol):
    """An agent's class that says how much memory its transitions take, before any is allocated."""

    def memory(self, config: Any, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:
        """Return the memory of the transitions of one learner.

        Args:
            config: an instance of `config_class`.
            problem: the environment.
            num_envs: number of environments that `learn` is given.
            total_steps: environment steps of the run.
        """
        ...


@runtime_checkable
class ExecutesUpdates(Protocol):
    """An agent whose updates are executed by a backend (`morl.learning.backends`)."""

    backend: str
    """Name of the backend that executes the updates."""
