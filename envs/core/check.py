"""`check_env` holds an environment to the contract of docs/environments.md and raises with the first broken clause."""

import contextlib
import pickle
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from morl.envs.backends import vector
from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.classic import mo_gymnasium_patches
from morl.envs.core.registry import EnvBuilder, env_name, find, make, specs

Env = gymnasium.Env[Any, Any]
STEPS = 250
EPISODE = 50
LANES = 3
PATIENCE = 5.0
"""Seconds after which the search for a clock of the environment's own, over four times its time limit, gives up."""


class ContractViolation(ValueError):
    """The environment breaks a clause of the contract; the message is one sentence with the offending value."""


class Moment(NamedTuple):
    """What one `reset` (reward None) or `step` returned."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any


def check_env(env: EnvBuilder, **env_options: Any) -> None:
    """Raise `ContractViolation` with the clause that the environment breaks and the offending value, if any.

    Clauses, in this order: spaces, objective names, what reset and step return, observations in their space, reward
    shape, dtype, range and finiteness, flags, truncation at a time limit, the same trace from the same seed, another
    trace from another seed, pickling, arrays that stay as they were returned, and a batch form equal to the single one.

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
        first = build()
        num_objectives = check_spaces(name, first)
        check_values(first, num_objectives)
        check_time_limit(first)
        check_seeding(build)
        check_restarts(build)
        check_pickling(name, build)
        check_aliasing(build)
        check_vector(name, env, build, env_options)
        first.close()
    except ContractViolation as violation:
        raise ContractViolation(f"{name}: {violation}") from violation.__cause__


def check_spaces(name: str, env: Env) -> int:
    """Check the spaces and objective names; return the number of objectives."""
    for attribute in ("observation_space", "action_space"):
        space = getattr(env, attribute, None)
        _require(isinstance(space, gymnasium.Space), f"{attribute} must be a gymnasium.Space, got {space!r}")
    space = env.get_wrapper_attr("reward_space") if env.has_wrapper_attr("reward_space") else None
    shape = space.shape if isinstance(space, gymnasium.spaces.Box) and space.dtype.kind == "f" else None
    wanted = "reward_space must be a Box of shape (objectives,) with a floating dtype"
    _require(shape is not None and len(shape) == 1 and shape[0] > 0, f"{wanted}, got {space!r}")
    assert shape is not None
    number = env.get_wrapper_attr("reward_dim") if env.has_wrapper_attr("reward_dim") else shape[0]
    _require(number == shape[0], f"reward_dim must be the length of reward_space, {shape[0]}, got {number!r}")
    row = specs.get(name)
    if row is not None:
        named = f"{len(row.objectives)} objective names {row.objectives} for a reward vector of {shape[0]} entries"
        _require(len(row.objectives) == shape[0], f"specs must name every objective, got {named}")
    return int(shape[0])


def check_values(env: Env, num_objectives: int) -> None:
    """Check what `reset` and `step` return: observations, rewards, flags and infos."""
    reward_space = env.get_wrapper_attr("reward_space")
    for index, moment in enumerate(trace(env, seed=0)):
        at = f"at step {index}"
        space = env.observation_space
        inside = _typed(space, moment.observation) and space.contains(moment.observation)
        _require(inside, f"observations must lie in {space}, got {moment.observation!r} {at}")
        if moment.reward is None:
            continue
        reward = np.asarray(moment.reward)
        shape_wanted = f"the reward must be an array of shape ({num_objectives},)"
        _require(isinstance(moment.reward, np.ndarray), f"{shape_wanted}, got {moment.reward!r} {at}")
        _require(reward.shape == (num_objectives,), f"{shape_wanted}, got {moment.reward!r} {at}")
        _require(reward.dtype.kind == "f", f"the reward must have a floating dtype, got {reward.dtype} {at}")
        _require(np.isfinite(reward).all(), f"rewards must be finite, got {reward.tolist()} {at}")
        slack = 1e-6 * np.maximum(1.0, np.abs(reward))
        low, high = reward_space.low - slack, reward_space.high + slack
        within = ((reward >= low) & (reward <= high)).all()
        _require(within, f"rewards must lie in reward_space {reward_space}, got {reward.tolist()} {at}")
        for flag, value in (("terminated", moment.terminated), ("truncated", moment.truncated)):
            _require(isinstance(value, bool | np.bool_), f"{flag} must be a bool, got {value!r} {at}")


def check_time_limit(env: Env) -> None:
    """Check that running out of time sets truncated alone."""
    inner, limit = without_time_limit(env)
    clock, lengths, start = 0, [0], time.monotonic()
    for index, moment in enumerate(trace(inner, seed=0, steps=4 * (limit + 1) if limit else STEPS)):
        both = bool(moment.terminated) and bool(moment.truncated)
        _require(not both, f"a time limit must set truncated and not terminated, got both at step {index}")
        clock = 0 if moment.reward is None else clock + 1
        if moment.terminated:
            lengths.append(clock)
        if index > STEPS and time.monotonic() - start > PATIENCE:
            break
    own_clock = max(lengths) == limit and lengths.count(limit) > 1
    clause = "a time limit must set truncated and not terminated, and episodes terminate at step"
    _require(not own_clock, f"{clause} {limit}, its max_episode_steps, and never later")


def check_seeding(build: Callable[[], Env]) -> None:
    """Check that the seed, and nothing else, fixes the trace; and that it matters where there is chance at all."""
    traces = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        with _global_generators(other):
            traces.append(list(trace(build(), seed)))
    step = first_difference(traces[0], traces[1])
    _require(step is None, f"two instances with seed 0 must follow the same trace, and they part at step {step}")
    if first_difference(traces[0], traces[2]) is None:
        unseeded = [list(trace(build(), None)) for _ in range(2)]
        chance = first_difference(*unseeded) is not None
        _require(not chance, "reset(seed=) must seed all chance, and seeds 0 and 1 give the same trace")


def check_restarts(build: Callable[[], Env]) -> None:
    """Check that an instance that is seeded again begins again, and that it goes on with its chance where it is not."""
    env, other = build(), build()
    traces = [list(trace(env, 0, steps=EPISODE)) for _ in range(2)]
    step = first_difference(*traces)
    again = "a second reset(seed=0) of one instance must follow the same trace"
    _require(step is None, f"{again}, and it parts at step {step}")
    if first_difference(traces[0], list(trace(other, 1, steps=EPISODE))) is None:
        return  # too little chance to tell
    same = [first_difference(traces[0], list(trace(env, None, steps=EPISODE))) is None for _ in range(8)]
    clause = "reset() without a seed must go on drawing, not begin the same episode each time"
    _require(not all(same), f"{clause}, and after reset(seed=0) {len(same)} of {len(same)} resets did")


def check_pickling(name: str, build: Callable[[], Env]) -> None:
    """Check that a pickled copy can be made and follows the same trace (worker processes need that)."""
    try:
        with mo_gymnasium_patches.quiet(name):
            copied = pickle.loads(pickle.dumps(build()))
    except Exception as error:
        raise ContractViolation(f"the environment must survive pickling, got {error!r}") from error
    step = first_difference(list(trace(build(), 0)), list(trace(copied, 0)))
    _require(step is None, f"a pickled copy must follow the same trace, and it parts at step {step}")


def check_aliasing(build: Callable[[], Env]) -> None:
    """Check that returned arrays never change later, and that writing into them does not reach the environment."""
    returned: list[tuple[Any, Any]] = []
    for moment in trace(build(), 0, copy=False):
        returned.extend((value, _copied(value)) for value in (moment.observation, moment.reward))
    for index, (now, then) in enumerate(returned):
        what = "the reward" if index % 2 else "the observation"
        kept = _equal(now, then)
        _require(kept, f"{what} returned at step {index // 2} must not change later, and it became {now!r}")
    step = first_difference(list(trace(build(), 0)), list(trace(build(), 0, scribble=True)))
    _require(step is None, f"writing into returned arrays must not change the trace, and it does at step {step}")


def check_vector(name: str, env: EnvBuilder, build: Callable[[], Env], env_options: dict[str, Any]) -> None:
    """Check that the batch form equals the single one, lane by lane, autoreset included."""
    if isinstance(env, str) and find(env).vector_entry_point is None:
        return  # lanes are single environments then
    try:
        lanes = vector.make_vec(env, LANES, **env_options)
    except Exception as error:  # its own, or what make_vec asks of a batch form
        message = str(error).removeprefix(f"{name}: ") if isinstance(error, ValueError) else repr(error)
        raise ContractViolation(f"the batch form must be built, got: {message}") from error
    singles = SynchronousVectorEnv(name, build, LANES)
    for attribute in ("single_observation_space", "single_action_space"):
        batch, single = getattr(lanes, attribute), getattr(singles, attribute)
        _require(batch == single, f"{attribute} of the batch form must be {single}, got {batch}")
    lanes.action_space.seed(0)
    returned: list[tuple[Any, Any]] = []
    outcomes: list[Any] = [(*envs.reset(seed=0)[:1], None, None, None, {}) for envs in (lanes, singles)]
    for step in range(STEPS):
        parts = [_parts(*outcome) for outcome in outcomes]
        for part, batch in parts[0].items():
            same = _equal(batch, parts[1][part])
            _require(same, f"{part} of the batch form must equal the single one's at step {step}, got {batch!r}")
            kinds = [_dtypes(one[part]) for one in parts]
            wanted = f"{part} of the batch form must have dtype {kinds[1]}, as the single one's at step {step}"
            _require(kinds[0] == kinds[1], f"{wanted}, got {kinds[0]}")
        returned.append((outcomes[0][:2], _copied(outcomes[0][:2])))
        actions = lanes.action_space.sample()
        outcomes = [envs.step(actions) for envs in (lanes, singles)]
    for step, (now, then) in enumerate(returned):
        kept = _equal(now, then)
        _require(kept, f"arrays of the batch form must not change later, and those of step {step} did")


def _parts(observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: dict[str, Any]) -> dict[str, Any]:
    """Return what a step of lanes must agree on, by name."""
    ended = infos.get("_final_obs", np.zeros(LANES, dtype=np.bool_))
    final = [infos["final_obs"][lane] for lane in np.flatnonzero(ended)]
    parts = {"terminated": terminated, "truncated": truncated, "rewards": rewards, "observations": observations}
    return parts | {"infos['_final_obs']": ended, "infos['final_obs']": final}


def _dtypes(value: Any) -> Any:
    """Return the dtypes inside a value, in its form."""
    if isinstance(value, dict):
        return {key: _dtypes(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_dtypes(item) for item in value]
    return np.asarray(value).dtype.name


def _typed(space: gymnasium.Space[Any], value: Any) -> bool:
    """Return whether the arrays in a value are arrays, of the very dtype that their space declares."""
    match space:
        case gymnasium.spaces.Dict():
            parts = space.spaces
            return isinstance(value, dict) and all(key in value and _typed(parts[key], value[key]) for key in parts)
        case gymnasium.spaces.Tuple():
            fits = isinstance(value, tuple) and len(value) == len(space.spaces)
            return fits and all(map(_typed, space.spaces, value))
        case gymnasium.spaces.Box() | gymnasium.spaces.MultiBinary() | gymnasium.spaces.MultiDiscrete():
            return isinstance(value, np.ndarray) and value.dtype == space.dtype
        case _:
            return True


def without_time_limit(env: Env) -> tuple[Env, int | None]:
    """Return what lies inside Gymnasium's TimeLimit and the limit in steps, or `env` itself where there is none."""
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            return layer.env, layer._max_episode_steps
        layer = layer.env
    return env, None


def trace(
    env: Env, seed: int | None, copy: bool = True, scribble: bool = False, steps: int = STEPS
) -> Iterator[Moment]:
    """Yield what `reset` and `steps` steps of seeded random actions return, over as many episodes as it takes.

    With `scribble`, returned arrays are overwritten once they have been copied.
    """
    actions = pickle.loads(pickle.dumps(env.action_space))
    actions.seed(0)
    large = int(np.prod(env.observation_space.shape or (1,))) > 10_000  # images: traces must fit into memory
    moment = _begin(env, {"seed": seed})
    for _ in range(steps // 10 if large else steps):
        kept = moment._replace(observation=_copied(moment.observation), reward=_copied(moment.reward))
        yield kept if copy else moment
        if scribble:
            _scribble(moment.observation)
            _scribble(moment.reward)
        over = kept.terminated or kept.truncated
        moment = _begin(env, {}) if over else _advance(env, actions.sample())


def _begin(env: Env, seed: dict[str, Any]) -> Moment:
    """Return what `reset` returns, which must be an observation and a dictionary."""
    try:
        result = env.reset(**seed)
    except Exception as error:
        raise ContractViolation(f"reset must take seed= and options= and not raise, got {error!r}") from error
    sound = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
    _require(sound, f"reset must return (observation, info) with a dict as info, got {result!r}")
    return Moment(result[0], None, None, None)


def _advance(env: Env, action: Any) -> Moment:
    """Return what `step` returns, which must be five things, the last of them a dictionary."""
    try:
        result = env.step(action)
    except Exception as error:
        raise ContractViolation(f"step must not raise, got {error!r} for action {action!r}") from error
    sound = isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict)
    wanted = "step must return (observation, reward, terminated, truncated, info) with a dict as info"
    _require(sound, f"{wanted}, got {result!r}")
    return Moment(*result[:4])


def first_difference(one: list[Moment], other: list[Moment]) -> int | None:
    """Return the first step at which two traces differ, or None."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if not all(_equal(a, b) for a, b in zip(left, right, strict=True)):
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def _require(kept: Any, clause: str) -> None:
    if not kept:
        raise ContractViolation(clause)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_copied(item) for item in value)
    return value.copy() if isinstance(value, np.ndarray) else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(np.array_equal(one, other))


def _scribble(value: Any) -> None:
    if isinstance(value, dict | tuple | list):
        for item in value.values() if isinstance(value, dict) else value:
            _scribble(item)
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = np.ones((), value.dtype)


@contextlib.contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators, so that an environment that leans on them is found out."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
