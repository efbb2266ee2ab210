"""`check_env`: hold an environment to the contract of docs/environments/contract.md, its batch form included."""

from contextlib import closing
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.backends.vector import make_vec
from morl.envs.core import check
from morl.envs.core.check import STEPS, ContractViolation, equal, require
from morl.envs.core.contract import MultiObjectiveVectorEnv, copied
from morl.envs.core.registry import env_name, find, make
from morl.envs.core.types import ActionBatch, Array, BuildEnv, Env, EnvBuilder, EnvOption, Space, VectorStep

NUM_ENVS = 3
MASKS = "infos['action_mask']"
DtypeNames: TypeAlias = Any
"""Names of dtypes, nested as the value that has them."""


def check_env(env: EnvBuilder, **env_options: EnvOption) -> None:
    """Raise `ContractViolation` with the clause that the environment breaks and the offending value, if any.

    Clauses, in this order: spaces, objective names, what reset and step return, observations in their space, reward
    shape, dtype, range and finiteness, flags, truncation at a time limit, the same trace from the same seed, another
    trace from another seed, pickling, arrays that stay as they were returned, saved states that continue exactly, and a
    batch form equal to the single one.

    Args:
        env: Gymnasium id, "module:Name-v0", or a callable that builds a `gymnasium.Env`.
        env_options: passed to the environment's constructor.

    Raises:
        ContractViolation: the first clause that is broken.
        ValueError: there is no such environment.
    """
    name = env_name(env)
    if isinstance(env, str):
        find(env)

    def build() -> Env:
        try:
            return make(env, **env_options)
        except Exception as error:
            raise ContractViolation(f"the environment must be built without errors, got {error!r}") from error

    try:
        with closing(build()) as first:
            num_objectives = check.check_spaces(name, first)
            check.check_values(first, num_objectives)
            check.check_time_limit(first)
        check.check_seeding(build)
        check.check_restarts(build)
        check.check_pickling(name, build)
        check.check_aliasing(build)
        check.check_saving(build)
        check_batch_form(name, env, build, env_options)
    except ContractViolation as violation:
        raise ContractViolation(f"{name}: {violation}") from violation.__cause__


def check_batch_form(name: str, env: EnvBuilder, build: BuildEnv, env_options: dict[str, EnvOption]) -> None:
    """Check that the batch form equals the single one, environment by environment, autoreset included."""
    if not isinstance(env, str) or find(env).vector_entry_point is None:
        return  # the vector environment steps single ones
    try:
        batch = make_vec(env, NUM_ENVS, **env_options)
    except Exception as error:  # its own, or a demand of make_vec on batch forms
        message = str(error).removeprefix(f"{name}: ") if isinstance(error, ValueError) else repr(error)
        raise ContractViolation(f"the batch form must be built, got: {message}") from error
    with closing(batch), closing(SynchronousVectorEnv(name, build, NUM_ENVS)) as singles:
        for attribute in ("single_observation_space", "single_action_space"):
            wanted = getattr(singles, attribute)
            got = getattr(batch, attribute)
            require(got == wanted, f"{attribute} of the batch form must be {wanted}, got {got}")
        _check_steps(batch, singles)


def _check_steps(batch: MultiObjectiveVectorEnv, singles: SynchronousVectorEnv) -> None:
    """Check that both give equal values of equal dtypes, and that the batch form's never change later."""
    batch.action_space.seed(0)
    returned: list[tuple[object, object]] = []
    masked = isinstance(singles.single_action_space, spaces.Discrete)
    parts = [_reset_parts(envs, masked) for envs in (batch, singles)]
    for step in range(STEPS):
        for part, got in parts[0].items():
            wanted = parts[1][part]
            require(equal(got, wanted), f"{part} of the batch form must equal the single one's at step {step}", got=got)
            clause = f"{part} of the batch form must have dtype {_dtypes(wanted)}, as the single one's at step {step}"
            require(_dtypes(got) == _dtypes(wanted), clause, got=_dtypes(got))
        kept = {part: parts[0][part] for part in ("observations", "rewards") if part in parts[0]}
        returned.append((kept, copied(kept)))
        actions = _random_actions(batch.action_space, parts[1].get(MASKS))
        parts = [_parts(envs.step(actions), masked) for envs in (batch, singles)]
    for step, (now, then) in enumerate(returned):
        require(equal(now, then), f"arrays of the batch form must not change later, and those of step {step} did")


def _random_actions(space: Space, masks: Array | None) -> ActionBatch:
    """Return random actions of a batched space; of choices that masks [env, choice] are for, allowed ones."""
    return space.sample() if masks is None else space.sample(tuple(masks.astype(np.int8)))


def _reset_parts(envs: MultiObjectiveVectorEnv, masked: bool) -> dict[str, Any]:
    """Return what a reset must agree on, by name; with action masks where actions can be masked."""
    observations, infos = envs.reset(seed=0)
    return {"observations": observations} | ({MASKS: infos.get("action_mask")} if masked else {})


def _parts(outcome: VectorStep, masked: bool) -> dict[str, Any]:
    """Return what a step must agree on, by name; with action masks where actions can be masked."""
    observations, rewards, terminated, truncated, infos = outcome
    ended = infos.get("_final_obs", np.zeros(NUM_ENVS, dtype=np.bool_))
    final = [infos["final_obs"][env] for env in np.flatnonzero(ended)]
    masks: dict[str, Any] = {}
    if masked:
        masks[MASKS] = infos.get("action_mask")
        last = infos.get("final_info", {}).get("action_mask")
        cut = np.flatnonzero(ended & ~terminated)  # nothing follows a state that terminates, so that its mask is free
        masks["infos['final_info']['action_mask']"] = [] if last is None else [last[env] for env in cut]
    return {
        "terminated": terminated,
        "truncated": truncated,
        "rewards": rewards,
        "observations": observations,
        "infos['_final_obs']": ended,
        "infos['final_obs']": final,
        **masks,
    }


def _dtypes(value: object) -> DtypeNames:
    """Return the dtypes inside a value, in its form."""
    if isinstance(value, dict):
        return {key: _dtypes(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_dtypes(item) for item in value]
    return np.asarray(value).dtype.name
