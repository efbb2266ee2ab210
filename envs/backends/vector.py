"""`make_vec`: any environment as a batch that steps at once, on the fastest backend it has."""

import copy
import inspect
from collections.abc import Callable
from functools import partial

import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import VectorEnv

from morl.envs.backends.foreign import ForeignVectorEnv
from morl.envs.backends.processes import ProcessVectorEnv
from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.core.contract import MultiObjectiveVectorEnv
from morl.envs.core.registry import (
    build_single,
    call_builder,
    env_name,
    episode_limit,
    find,
    make_batch_form,
    objective_names,
    specs,
)
from morl.envs.core.types import (
    BuildEnv,
    Env,
    EnvBuilder,
    EnvOption,
)
from morl.protocols import VectorEnvironment

BACKENDS = ("synchronous", "processes")


def make_vec(
    env: EnvBuilder,
    num_envs: int = 1,
    seed: int | None = None,
    *,
    backend: str | None = None,
    verify_states: bool = True,
    **env_options: EnvOption,
) -> MultiObjectiveVectorEnv:
    """Return `num_envs` environments that step at once; `metadata["backend"]` names the backend.

    `step` returns observations, rewards float64 [env, objective], terminated [env], truncated [env] and infos. An
    environment whose episode ended is reset within the same step; `infos["final_obs"][index]` then holds the last
    observation, where `infos["_final_obs"]` is true. `reset(seed=s)` seeds environment i with s + i, as Gymnasium does.

    Args:
        env: Gymnasium id, "module:Name-v0", or a callable that builds a `gymnasium.Env` or a vector environment. It is
            called with the options, and with `num_envs` where it has a parameter of that name.
        num_envs: number of environments, at least 1.
        seed: seed of the first `reset()` that is not given one.
        backend: None for the fastest that equals the single environment: its batch form, or else "synchronous".
            "processes" uses worker processes on all cores, which pays off if a step takes longer than about 0.1 ms.
        verify_states: whether `state_dict` tries in one more environment, once for each new kind of state, that it can
            be restored. False: never more than `num_envs` single environments live at once.
        env_options: passed to the environment's constructor.

    Raises:
        ValueError: unknown id or backend, wrong options, a scalar reward; later, from `step`, rewards that are NaN,
            infinite or of the wrong length.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ValueError(f"num_envs must be a positive integer, got {num_envs!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ValueError(f"seed must be a non-negative integer or None, got {seed!r}")
    if backend not in (None, *BACKENDS):
        raise ValueError(f"backend must be None or one of {', '.join(BACKENDS)}, got {backend!r}")
    if isinstance(env, str):
        vector_env = _of_id(env, int(num_envs), backend, env_options)
    else:
        vector_env = _of_callable(env, int(num_envs), backend, env_options)
    if isinstance(vector_env, SynchronousVectorEnv | ProcessVectorEnv):
        vector_env.verify_states = verify_states
    vector_env.objectives = objective_names(env_name(env), vector_env.num_objectives)
    vector_env.first_seed = None if seed is None else int(seed)
    return vector_env


def _of_id(
    env_id: str, num_envs: int, backend: str | None, env_options: dict[str, EnvOption]
) -> MultiObjectiveVectorEnv:
    """Return environments of a registered id."""
    name = env_name(env_id)
    spec = find(env_id)
    if backend is None and name in specs and _batch_form_takes(spec, env_options):
        # An id that is not in `specs` may have a batch form of somebody else's, with scalar rewards.
        return _with_contract(name, make_batch_form(name, num_envs, **env_options))
    envs = _of_singles(name, partial(build_single, name, spec, env_options), num_envs, backend)
    envs.spec = copy.copy(spec)
    envs.spec.max_episode_steps = episode_limit(env_id, **env_options)
    return envs


def _of_callable(
    builder: Callable[..., object], num_envs: int, backend: str | None, env_options: dict[str, EnvOption]
) -> MultiObjectiveVectorEnv:
    """Return environments of a user's callable, which may build a single or a vector environment."""
    name = env_name(builder)
    built = call_builder(name, builder, num_envs, env_options)
    if isinstance(built, VectorEnv):
        if built.num_envs != num_envs:
            built.close()
            raise ValueError(
                f"{name} builds a vector environment of {built.num_envs}, and num_envs is {num_envs}: "
                "give the callable a parameter num_envs"
            )
        if backend is not None:
            built.close()
            raise ValueError(f"backend must be None for {name}, which builds a vector environment, got {backend!r}")
        return _with_contract(name, built)
    build = partial(build_single, name, builder, env_options)
    if backend == "processes":
        built.close()
        return _of_singles(name, build, num_envs, backend)
    return _of_singles(name, _first_then(built, build), num_envs, backend)


def _of_singles(name: str, build: BuildEnv, num_envs: int, backend: str | None) -> MultiObjectiveVectorEnv:
    """Return single environments, one after the other or in processes."""
    kind = ProcessVectorEnv if backend == "processes" else SynchronousVectorEnv
    return kind(name, build, num_envs)


def _first_then(first: Env, build: BuildEnv) -> BuildEnv:
    """Return a function whose first call returns `first`, which is built already, and whose others build."""
    ready = [first]
    return lambda: ready.pop() if ready else build()


def _batch_form_takes(spec: EnvSpec, env_options: dict[str, EnvOption]) -> bool:
    """Return whether there is a batch form that has all these options; without it, single environments are stepped."""
    entry_point = spec.vector_entry_point
    if entry_point is None or "render_mode" in env_options:  # batch forms draw no pictures
        return False
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    parameters = inspect.signature(creator).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return True
    return set(env_options) | set(spec.kwargs) <= set(parameters)


def _with_contract(name: str, envs: VectorEnvironment) -> MultiObjectiveVectorEnv:
    return envs if isinstance(envs, MultiObjectiveVectorEnv) else ForeignVectorEnv(name, envs)
