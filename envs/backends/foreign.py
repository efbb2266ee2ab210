"""A user's own vector environment behind the contract."""

from collections.abc import Iterator

import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import NDArray

from morl.action_masks import MaskReader, num_choices
from morl.envs.core import state
from morl.envs.core.contract import MultiObjectiveVectorEnv, copied
from morl.envs.core.outcomes import InvalidOutcome, excerpt, is_finite, reward_fault
from morl.envs.core.registry import objective_names, vector_reward_length
from morl.envs.core.types import (
    ActionBatch,
    Array,
    Info,
    ObservationBatch,
    Options,
    SavedState,
    Seed,
    VectorStep,
)
from morl.protocols import StateDict, VectorEnvironment


class ForeignVectorEnv(VectorWrapper, MultiObjectiveVectorEnv):
    """A user's own vector environment: what it returns is checked and copied, its state is saved object by object.

    Args:
        env_id: id, for messages.
        env: with same-step autoreset and a `reward_space` of shape (objectives,).
    """

    def __init__(self, env_id: str, env: VectorEnvironment) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{env_id}: metadata['autoreset_mode'] of its batch form must be AutoresetMode.SAME_STEP, "
                f"got {env.metadata.get('autoreset_mode')!r}"
            )
        self.env_id = env_id
        self.num_objectives = vector_reward_length(env_id, env)
        self.objectives = objective_names(env_id, self.num_objectives)
        self.metadata = {"backend": "registered", **env.metadata}
        self.first_seed = None
        self.steps = 0
        self.masks = MaskReader(env_id, env.single_action_space) if num_choices(env.single_action_space) else None

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments; the first reset without a seed takes the constructor's."""
        given = self.first_seed if seed is None else seed
        self.first_seed = None
        observations, infos = self.env.reset(seed=given, options=options)  # type: ignore[arg-type] # it takes lists too
        self._check_observations(observations)
        if self.masks is not None and "reset_mask" not in (options or {}):
            self.masks.reset(infos)
        return copied(observations), copied(infos)

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments and check what they return."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self.steps += 1
        rewards = np.array(rewards, dtype=np.float64)
        self._check_rewards(rewards)
        self._check_observations(observations)
        if self.masks is not None:
            self.masks.step(infos, np.asarray(terminated), np.asarray(truncated))
        return copied(observations), rewards, np.array(terminated), np.array(truncated), copied(infos)

    def _check_rewards(self, rewards: NDArray[np.float64]) -> None:
        expected = (self.num_envs, self.num_objectives)
        if rewards.shape != expected:
            raise InvalidOutcome(
                f"{self.env_id}: the rewards at step {self.steps} must have shape {expected}, got {rewards.shape}"
            )
        for env, reward in enumerate(rewards):
            fault = reward_fault(reward, self.num_objectives)
            if fault:
                raise InvalidOutcome(f"{self.env_id}: the reward at step {self.steps} of environment {env} {fault}")

    def _check_observations(self, observations: ObservationBatch) -> None:
        """Raise InvalidOutcome where an observation is not finite in the precision of networks."""
        for path, leaf in _leaves(observations):
            if leaf.dtype.kind != "f" or is_finite(leaf):
                continue
            env = next(env for env, row in enumerate(leaf) if not is_finite(row))
            raise InvalidOutcome(
                f"{self.env_id}: the observation{path} at step {self.steps} of environment {env} must be finite in "
                f"float32, got {excerpt(leaf[env])}"
            )

    def state_dict(self) -> SavedState:
        """Return the state of the vector environment as plain data.

        Raises:
            StateNotCapturable: it holds something that cannot be saved; nothing else is raised.
        """
        own = getattr(self.env, "state_dict", None)
        try:
            inner = own() if own is not None else state.capture(self.env)
        except state.StateNotCapturable:
            raise
        except Exception as error:
            raise state.StateNotCapturable(f"{self.env_id}: its state_dict() raised {error!r}") from error
        return {"first_seed": self.first_seed, "steps": self.steps, "env": inner}

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken."""
        own = getattr(self.env, "load_state_dict", None)
        if own is not None:
            own(saved["env"])
        else:
            self.env.reset(seed=0)
            state.restore(self.env, saved["env"])
        self.first_seed = saved["first_seed"]
        self.steps = saved["steps"]


def _leaves(observations: ObservationBatch, path: str = "") -> Iterator[tuple[str, Array]]:
    """Yield the arrays inside a batch of observations, each with its path."""
    if isinstance(observations, dict):
        for key, part in observations.items():
            yield from _leaves(part, f"{path}[{key!r}]")
    elif isinstance(observations, tuple):
        for index, part in enumerate(observations):
            yield from _leaves(part, f"{path}[{index}]")
    elif isinstance(observations, np.ndarray):
        yield path, observations
