"""The protocols that every solver of MORL/D satisfies.

A solver trains the active policies on their scalar problems and holds the state of the whole population. Most solvers
learn from transitions that the agent collects (`TransitionSolver`); those of Stable-Baselines3 step the environments
themselves (`SelfSteppingSolver`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from morl.protocols import BoolArray, IndexArray, StateDict, VectorEnvironment

Following: TypeAlias = Callable[[], Mapping[str, Tensor]]
"""Returns the arguments of the next call of `explore`, by name."""


class Solver(Protocol):
    """The part of the interface that all solvers have in common."""

    members: dict[str, Tensor]
    """State of the whole population by name, each [policy, ...]: "actor" is the part that acts; optimizers included."""

    @property
    def backend(self) -> str:
        """Return the backend that executes the updates: "eager" or "numba"."""
        ...

    def load(self, active: IndexArray, preferences: Tensor, bounds: Tensor, returns: Tensor) -> None:
        """Start to train policies, from their state in `members`.

        Args:
            active: indices of the policies that train [active].
            preferences: their weight vectors [active, objective], on the CPU.
            bounds: lowest and ideal returns [2, objective].
            returns: mean discounted returns of their last evaluation [active, objective]; zeros before the first.
        """
        ...

    def store(self, rows: int | None = None) -> None:
        """Write the active policies, or the first `rows` of them, back to `members`."""
        ...

    def replace(self, sources: IndexArray) -> None:
        """Replace every member by a copy of the member that it continues from.

        Args:
            sources: index of the member to copy for each policy [policy]; its own index where it stays.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Return training metrics; called at logging time only."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state for a checkpoint: parameters, optimizers, replay, random streams."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned; `load` was called before."""
        ...


@runtime_checkable
class TransitionSolver(Solver, Protocol):
    """A solver that learns from transitions which the agent collects."""

    def explore(self, observations: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return exploring actions [active, env, action].

        Args:
            observations: [active, env, size], on the CPU.
            masks: [active, env, choice] 1 where a choice is allowed, on the CPU; None: all are.
        """
        ...

    def observe(self, transitions: Mapping[str, Tensor], following: Following) -> None:
        """Store transitions of the active policies.

        Args:
            transitions: columns [active, env, width] on the CPU by name: observation, action, reward, next_observation,
                terminated, ended (terminated or truncated) and total (the discounted return of the episode so far);
                where the environment gives action masks, also mask and next_mask, 1 where a choice is allowed.
            following: returns "observations" and, where there are, "masks" that `explore` is given next, on the CPU.
        """
        ...

    def ready(self, sources: IndexArray) -> BoolArray:
        """Return which policies can learn without acting [policy].

        Args:
            sources: replay buffers that each policy may sample from [policy, k].
        """
        ...

    def learn(self, updates: int, sources: IndexArray) -> int:
        """Update the active policies and return the number of gradient steps taken, of all policies together.

        Args:
            updates: gradient steps of each policy; on-policy solvers learn whenever their rollout is full instead.
            sources: replay buffers that each active policy samples from [active, k].
        """
        ...


@runtime_checkable
class FollowsEpisodes(Protocol):
    """A solver whose state depends on the episodes under way."""

    def reset_episodes(self) -> None:
        """Start anew at the next step, where the environments' state could not be restored."""
        ...


@runtime_checkable
class SelfSteppingSolver(Solver, FollowsEpisodes, Protocol):
    """A solver that steps the environments itself, for one active policy at a time."""

    horizon: int
    """Environment steps that each policy takes in the whole run, over which schedules fall."""

    def run(self, envs: VectorEnvironment, max_steps: int) -> tuple[int, int]:
        """Train the active policy; return the environment steps taken and the gradient steps.

        Args:
            envs: the vector environment.
            max_steps: environment steps, of all sub-environments together; exceeded by less than one rollout.
        """
        ...

    def model_parameters(self) -> list[Tensor]:
        """Return all parameters of all policies, critics and target networks included."""
        ...


AnySolver: TypeAlias = TransitionSolver | SelfSteppingSolver
