"""`make_vec`: any environment as a batch of lanes that steps at once, on the fastest back end it has."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorWrapper

from morl.envs.backends.processes import ProcessVectorEnv
from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.core import state
from morl.envs.core.contract import VectorEnvironment
from morl.envs.core.registry import EnvBuilder, env_name, find, make, objective_names, specs

BACKENDS = ("synchronous", "processes")


def make_vec(
    env: EnvBuilder, num_envs: int = 1, seed: int | None = None, *, backend: str | None = None, **env_options: Any
) -> VectorEnvironment:
    """Return `num_envs` lanes of an environment; `metadata["backend"]` names the back end.

    `step` returns observations, rewards float64 [env, objective], terminated [env], truncated [env] and infos. A lane
    whose episode ended is reset within the same step; `infos["final_obs"][lane]` then holds the last observation, for
    the lanes where `infos["_final_obs"]` is true. `reset(seed=s)` seeds lane i with s + i, as Gymnasium does.

    Args:
        env: Gymnasium id, "module:Name-v0", or a callable that builds a `gymnasium.Env`.
        num_envs: number of lanes, at least 1.
        seed: seed of the first `reset()` that is not given one.
        backend: None for the fastest that equals the single environment: its batch form, or else "synchronous".
            "processes" spreads lanes over the cores, which pays where a step takes longer than about 0.1 ms.
        env_options: passed to the environment's constructor.

    Raises:
        ValueError: unknown id or back end, wrong options, a scalar reward; later, from `step`, rewards that are NaN,
            infinite or of the wrong length.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ValueError(f"num_envs must be a positive integer, got {num_envs!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ValueError(f"seed must be a non-negative integer or None, got {seed!r}")
    if backend not in (None, *BACKENDS):
        raise ValueError(f"backend must be None or one of {', '.join(BACKENDS)}, got {backend!r}")
    name = env_name(env)
    spec = find(env) if isinstance(env, str) else None
    batched = backend is None and name in specs  # a batch form of somebody else's could pay scalars
    if batched and spec is not None and _takes(spec, env_options):
        batch: Any = gymnasium.make_vec(spec, int(num_envs), vectorization_mode="vector_entry_point", **env_options)
        vector_env = batch if isinstance(batch, VectorEnvironment) else ForeignVectorEnv(name, batch)
    else:
        lanes = ProcessVectorEnv if backend == "processes" else SynchronousVectorEnv
        vector_env = lanes(name, partial(_build, env, spec, env_options), int(num_envs))
    vector_env.objectives = objective_names(name, vector_env.num_objectives)
    vector_env.first_seed = None if seed is None else int(seed)
    return vector_env


def _build(env: EnvBuilder, spec: EnvSpec | None, env_options: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """Return one environment, also in a worker process where nobody has registered its id yet."""
    if spec is not None:
        gymnasium.registry.setdefault(spec.id, spec)
    return make(env if spec is None else spec.id, **env_options)


def _takes(spec: EnvSpec, env_options: Mapping[str, Any]) -> bool:
    """Return whether the batch form has all these options; one that it lacks sends us to the synchronous back end."""
    entry = spec.vector_entry_point
    if entry is None or "render_mode" in env_options:  # batch forms draw no pictures
        return False
    creator: Callable[..., Any] = load_env_creator(entry) if isinstance(entry, str) else entry
    parameters = inspect.signature(creator).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return True
    return set(env_options) | set(spec.kwargs) <= set(parameters)


class ForeignVectorEnv(VectorWrapper, VectorEnvironment):
    """A user's own batch environment: its rewards are checked and its state is saved object by object."""

    def __init__(self, env_id: str, env: VectorEnvironment) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{env_id}: metadata['autoreset_mode'] of its batch form must be AutoresetMode.SAME_STEP, "
                f"got {env.metadata.get('autoreset_mode')!r}"
            )
        shape = getattr(getattr(env, "reward_space", None), "shape", None)
        if shape is None or len(shape) != 1:
            raise ValueError(f"{env_id}: its batch form must have a reward_space of shape (objectives,), got {shape}")
        self.env_id = env_id
        self.num_objectives = int(shape[0])
        self.objectives = objective_names(env_id, self.num_objectives)
        self.metadata = {"backend": "registered", **env.metadata}
        self.first_seed = None
        self.steps = 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes; the first reset without a seed takes the constructor's."""
        seed, self.first_seed = (self.first_seed if seed is None else seed), None
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all lanes and check the rewards."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self.steps += 1
        rewards = np.asarray(rewards, dtype=np.float64)
        if rewards.shape != (self.num_envs, self.num_objectives):
            expected = (self.num_envs, self.num_objectives)
            raise ValueError(f"{self.env_id}: the rewards at step {self.steps} must be {expected}, got {rewards.shape}")
        wrong = np.flatnonzero(~np.isfinite(rewards).all(axis=1))
        if wrong.size:
            raise ValueError(
                f"{self.env_id}: the reward at step {self.steps} of lane {wrong[0]} must be "
                f"{self.num_objectives} finite numbers, got {rewards[wrong[0]].tolist()}"
            )
        return observations, rewards, terminated, truncated, infos

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the batch environment as plain data."""
        own = getattr(self.env, "state_dict", None)
        return {"first_seed": self.first_seed, "steps": self.steps, "env": own() if own else state.capture(self.env)}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken."""
        own = getattr(self.env, "load_state_dict", None)
        if own is not None:
            own(saved["env"])
        else:
            self.env.reset(seed=0)
            state.restore(self.env, saved["env"])
        self.first_seed, self.steps = saved["first_seed"], saved["steps"]
