"""The synchronous backend: single environments stepped one after the other, for whatever has no batch form."""

from typing import NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from morl.envs.core import state
from morl.envs.core.arguments import ActionCheck, env_seeds, require_reset, reset_mask
from morl.envs.core.contract import MultiObjectiveVectorEnv, OutcomeGuard
from morl.envs.core.registry import objective_names, reward_length
from morl.envs.core.types import (
    ActionBatch,
    BuildEnv,
    Env,
    Info,
    Observation,
    ObservationBatch,
    Options,
    SavedState,
    Seed,
    VectorStep,
)
from morl.protocols import StateDict


class SynchronousVectorEnv(SyncVectorEnv, MultiObjectiveVectorEnv):
    """Gymnasium's SyncVectorEnv with vector rewards, same-step autoreset and a state that can be saved.

    Args:
        env_id: id, for messages and names of objectives.
        build: builds one environment.
        num_envs: number of environments.
        first_index: number of the first environment in messages: a worker process holds a part of all.
    """

    guard: type[OutcomeGuard] = OutcomeGuard

    def __init__(self, env_id: str, build: BuildEnv, num_envs: int, first_index: int = 0) -> None:
        envs = _built(env_id, build, num_envs)
        self.num_objectives = envs.num_objectives
        guards = [
            self.guard(env, env_id, index, self.num_objectives) for index, env in enumerate(envs.singles, first_index)
        ]
        super().__init__([lambda guard=guard: guard for guard in guards], autoreset_mode=AutoresetMode.SAME_STEP)  # type: ignore[misc]
        self._rewards = np.zeros((num_envs, self.num_objectives), dtype=np.float64)
        self.metadata["backend"] = "synchronous"
        self.check_actions = ActionCheck(self.single_action_space, num_envs)
        self.objectives = objective_names(env_id, self.num_objectives)
        self.first_seed = None
        self.verify_states = True
        self._verify = state.Verification(build)

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments, or those of `options["reset_mask"]`; environment i gets seed + i.

        The first reset without a seed takes the constructor's.
        """
        mask = reset_mask(options, self.num_envs)
        seeds = env_seeds(self.first_seed if seed is None else seed, self.num_envs)
        require_reset(np.array([seen is not None for seen in self._env_obs]), mask)
        self.first_seed = None
        passed = None if options is None else {**options}
        if passed and "reset_mask" in passed:
            passed["reset_mask"] = mask
        return super().reset(seed=seeds, options=passed)

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step the environments one after the other."""
        return super().step(self.check_actions(actions))

    def drew_nothing(self) -> bool:
        """Return whether the generators of all environments are as their latest seeds made them."""
        return all(guard.drew_nothing() for guard in self._guards())

    def state_dict(self) -> SavedState:
        """Return the state of every environment as plain data (`morl.envs.core.state`).

        Raises:
            StateNotCapturable: an environment that holds something that cannot be saved or restored, a Box2D world for
                example; nothing else is raised, whatever the environment does.
        """
        saved = [_state_of(guard, seen) for guard, seen in zip(self._guards(), self._env_obs, strict=True)]
        for own in saved if self.verify_states else ():
            self._verify(own["env"])
        return {"first_seed": self.first_seed, "envs": saved}

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken, in a vector environment built with the same arguments."""
        if len(saved["envs"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(saved['envs'])} environments, and num_envs is {self.num_envs}")
        for env in self.envs:
            env.reset(seed=0)  # environments build part of their state on the first reset
        for index, (guard, own) in enumerate(zip(self._guards(), saved["envs"], strict=True)):
            state.restore(guard.env, own["env"])
            guard.last_seed, guard.steps = state.restore(None, own["seed_and_steps"])
            self._env_obs[index] = state.restore(None, own["observation"])
        self.first_seed = saved["first_seed"]

    def _guards(self) -> list[OutcomeGuard]:
        return [env for env in self.envs if isinstance(env, OutcomeGuard)]


class _Built(NamedTuple):
    """Single environments, and the length of their reward vectors."""

    singles: list[Env]
    num_objectives: int


def _built(env_id: str, build: BuildEnv, num_envs: int) -> _Built:
    """Build single environments; never more than `num_envs` are alive, and none where one cannot be built."""
    singles = [build()]
    try:
        num_objectives = reward_length(env_id, singles[0])
        if not singles[0].has_wrapper_attr("reward_space"):  # it was stepped to see a reward: another takes its place
            singles.pop().close()
        while len(singles) < num_envs:
            singles.append(build())
    except BaseException:
        for env in singles:
            env.close()
        raise
    return _Built(singles, num_objectives)


def _state_of(guard: OutcomeGuard, observation: Observation) -> dict[str, state.State]:
    return {
        "env": state.capture(guard.env),
        "seed_and_steps": state.capture((guard.last_seed, guard.steps)),
        "observation": state.capture(observation),
    }
