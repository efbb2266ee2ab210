"""Checks of single environments: each raises `ContractViolation` with the broken clause of docs/environments."""

import contextlib
import pickle
import random
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from morl.envs.core.contract import OutcomeGuard, copied
from morl.envs.core.outcomes import Fault, InvalidOutcome, MaskCheck
from morl.envs.core.quiet import quiet
from morl.envs.core.registry import specs
from morl.envs.core.state import State, StateNotCapturable, capture, restore, same
from morl.envs.core.types import Action, Array, BuildEnv, Env, Info, Observation, Space

STEPS = 250
EPISODE = 50
PATIENCE = 5.0
"""Seconds after which the search for a clock of the environment's own, over four times its time limit, gives up."""


class ContractViolation(ValueError):
    """The environment breaks a clause of the contract; the message is one sentence with the offending value."""


class Moment(NamedTuple):
    """What one `reset` (reward None) or `step` returned."""

    observation: Observation
    reward: object
    terminated: object
    truncated: object


def check_spaces(name: str, env: Env) -> int:
    """Check the spaces and objective names; return the number of objectives."""
    for attribute in ("observation_space", "action_space"):
        space = getattr(env, attribute, None)
        require(isinstance(space, gymnasium.Space), f"{attribute} must be a gymnasium.Space, got {space!r}")
    space = env.get_wrapper_attr("reward_space") if env.has_wrapper_attr("reward_space") else None
    shape = space.shape if isinstance(space, gymnasium.spaces.Box) and space.dtype.kind == "f" else None
    wanted = "reward_space must be a Box of shape (objectives,) with a floating dtype"
    require(shape is not None and len(shape) == 1 and shape[0] > 0, f"{wanted}, got {space!r}")
    assert shape is not None
    number = env.get_wrapper_attr("reward_dim") if env.has_wrapper_attr("reward_dim") else shape[0]
    require(number == shape[0], f"reward_dim must be the length of reward_space, {shape[0]}, got {number!r}")
    entry = specs.get(name)
    if entry is not None:
        named = f"{len(entry.objectives)} objective names {entry.objectives} for a reward vector of {shape[0]} entries"
        require(len(entry.objectives) == shape[0], f"specs must name every objective, got {named}")
    return int(shape[0])


def check_values(env: Env, num_objectives: int) -> None:
    """Check what `reset` and `step` return: observations, rewards, flags and infos."""
    reward_space = env.get_wrapper_attr("reward_space")
    space = env.observation_space
    in_space = f"observations must lie in {space}"
    in_reward_space = f"rewards must lie in reward_space {reward_space}"
    shape_wanted = f"the reward must be an array of shape ({num_objectives},)"
    for index, moment in enumerate(trace(env, seed=0)):
        at = f" at step {index}"
        inside = _typed(space, moment.observation) and space.contains(moment.observation)
        require(inside, in_space, got=moment.observation, at=at)
        if moment.reward is None:
            continue
        reward = np.asarray(moment.reward)
        fits = isinstance(moment.reward, np.ndarray) and reward.shape == (num_objectives,)
        require(fits, shape_wanted, got=moment.reward, at=at)
        require(reward.dtype.kind == "f", f"the reward must have a floating dtype, got {reward.dtype}{at}")
        require(np.isfinite(reward).all(), "rewards must be finite", got=reward.tolist(), at=at)
        slack = 1e-6 * np.maximum(1.0, np.abs(reward))
        low = reward_space.low - slack
        high = reward_space.high + slack
        within = ((reward >= low) & (reward <= high)).all()
        require(within, in_reward_space, got=reward.tolist(), at=at)
        for flag, value in (("terminated", moment.terminated), ("truncated", moment.truncated)):
            require(isinstance(value, bool | np.bool_), f"{flag} must be a bool", got=value, at=at)
    try:
        guard = OutcomeGuard(env, "", 0, num_objectives)
    except ValueError as error:
        raise ContractViolation(str(error).removeprefix(": ")) from error
    for _ in trace(guard, seed=0):  # finite in float32, action masks
        pass


def check_time_limit(env: Env) -> None:
    """Check that running out of time sets truncated alone."""
    inner, limit = without_time_limit(env)
    clock = 0
    lengths = [0]
    start = time.monotonic()
    for index, moment in enumerate(trace(inner, seed=0, steps=4 * (limit + 1) if limit else STEPS)):
        both = bool(moment.terminated) and bool(moment.truncated)
        require(not both, f"a time limit must set truncated and not terminated, got both at step {index}")
        clock = 0 if moment.reward is None else clock + 1
        if moment.terminated:
            lengths.append(clock)
        if index > STEPS and time.monotonic() - start > PATIENCE:
            break
    own_clock = max(lengths) == limit and lengths.count(limit) > 1
    clause = "a time limit must set truncated and not terminated, and episodes terminate at step"
    require(not own_clock, f"{clause} {limit}, its max_episode_steps, and never later")


def check_seeding(build: BuildEnv) -> None:
    """Check that the seed, and nothing else, fixes the trace; and that it matters where there is chance at all."""
    traces = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        with _global_generators(other):
            traces.append(fresh_trace(build, seed))
    step = first_difference(traces[0], traces[1])
    require(step is None, f"two instances with seed 0 must follow the same trace, and they part at step {step}")
    if first_difference(traces[0], traces[2]) is None:
        chance = first_difference(fresh_trace(build, None), fresh_trace(build, None)) is not None
        require(not chance, "reset(seed=) must seed all chance, and seeds 0 and 1 give the same trace")


def check_restarts(build: BuildEnv) -> None:
    """Check that reset(seed) restarts the random stream and reset() continues it."""
    other_seed = fresh_trace(build, 1, steps=EPISODE)
    with closing(build()) as env:
        first = list(trace(env, 0, steps=EPISODE))
        step = first_difference(first, list(trace(env, 0, steps=EPISODE)))
        again = "a second reset(seed=0) of one instance must follow the same trace"
        require(step is None, f"{again}, and it parts at step {step}")
        if first_difference(first, other_seed) is None:
            return  # too little chance to judge
        same = [first_difference(first, list(trace(env, None, steps=EPISODE))) is None for _ in range(8)]
    clause = "reset() without a seed must go on drawing, not begin the same episode each time"
    require(not all(same), f"{clause}, and after reset(seed=0) {len(same)} of {len(same)} resets did")


def check_pickling(name: str, build: BuildEnv) -> None:
    """Check that a pickled copy can be made and follows the same trace (worker processes need that)."""
    entry = specs.get(name)
    try:
        with quiet(entry is not None and entry.warns_of_total_mass):
            with closing(build()) as original:
                pickled = pickle.dumps(original)
            copied: Env = pickle.loads(pickled)
    except Exception as error:
        raise ContractViolation(f"the environment must survive pickling, got {error!r}") from error
    with closing(copied):
        of_the_copy = list(trace(copied, 0))
    step = first_difference(fresh_trace(build, 0), of_the_copy)
    require(step is None, f"a pickled copy must follow the same trace, and it parts at step {step}")


def check_aliasing(build: BuildEnv) -> None:
    """Check that returned arrays never change later, and that writing into them does not reach the environment."""
    returned: list[tuple[object, object]] = []
    with closing(build()) as env:
        for moment in trace(env, 0, copy=False):
            returned.extend((value, copied(value)) for value in (moment.observation, moment.reward))
        for index, (now, then) in enumerate(returned):
            what = "the reward" if index % 2 else "the observation"
            if not equal(now, then):
                returned_at = f"{what} returned at step {index // 2}"
                raise ContractViolation(f"{returned_at} must not change later, and it became {now!r}")
    with closing(build()) as env:
        scribbled = list(trace(env, 0, scribble=True))
    step = first_difference(fresh_trace(build, 0), scribbled)
    require(step is None, f"writing into returned arrays must not change the trace, and it does at step {step}")


def check_saving(build: BuildEnv) -> None:
    """Check that a state saved in mid-episode continues exactly in a copy, and that restoring changes nothing else.

    States that cannot be saved are allowed: runs resume with new episodes then, and say so.
    """
    start = fresh_trace(build, 0, steps=EPISODE)
    with closing(build()) as original:
        actions = RandomActions(original)
        walked = list(_follow(original, actions, EPISODE, seed=0))
        while len(walked) < 2 * EPISODE and walked[-1].reward is None:  # in mid-episode, unless episodes last one step
            walked.extend(_follow(original, actions, 1))
        try:
            saved = capture(original)
        except StateNotCapturable:
            return
        same_actions = pickle.loads(pickle.dumps(actions))
        following = list(_follow(original, actions, EPISODE))
    with closing(build()) as fresh, contextlib.ExitStack() as others:
        bystander = _built_or_none(build)
        if bystander is not None:
            others.callback(bystander.close)
        before = None if bystander is None else _state_or_none(bystander)
        fresh.reset(seed=0)
        try:
            restore(fresh, saved)
        except StateNotCapturable:
            return
        step = first_difference(following, list(_follow(fresh, same_actions, EPISODE)))
        unchanged = bystander is None or before is None or same(before, _state_or_none(bystander))
    clause = "a copy restored from a state that was saved in mid-episode must follow the same trace"
    require(step is None, f"{clause}, and it parts at step {step}")
    require(unchanged, "restoring a saved state must not change other instances, and it changed one")
    step = first_difference(start, fresh_trace(build, 0, steps=EPISODE))
    require(step is None, f"restoring a saved state must not change new instances, and they part at step {step}")


class RandomActions:
    """Seeded random actions, the same for all instances; where infos hold action masks, allowed ones only.

    Args:
        env: the environment.
    """

    def __init__(self, env: Env) -> None:
        self.space = pickle.loads(pickle.dumps(env.action_space))
        self.space.seed(0)
        self.check_mask = MaskCheck(env.action_space)
        self.mask: Array | None = None
        self.steps = 0

    def observe(self, info: Info, terminated: bool = False) -> None:
        """Keep the action mask of an info for the next action; raise ContractViolation for a wrong one."""
        try:
            self.mask = self.check_mask(info, terminated).get("action_mask")
        except Fault as fault:
            raise ContractViolation(f"{fault} at step {self.steps}") from None
        self.steps += 1

    def __call__(self) -> Action:
        """Return the next action."""
        if self.mask is None or not self.check_mask.choices:
            return self.space.sample()
        return self.space.sample(self.mask.astype(np.int8))


def _follow(env: Env, actions: RandomActions, steps: int, seed: int | None = None) -> Iterator[Moment]:
    """Yield what `reset` (with a seed) and some steps return; ended episodes are followed by a reset."""
    if seed is not None:
        yield _copied_moment(_reset(env, actions, {"seed": seed}))
    for _ in range(steps):
        moment = _copied_moment(_step(env, actions))
        yield moment
        if moment.terminated or moment.truncated:
            yield _copied_moment(_reset(env, actions, {}))


def _copied_moment(moment: Moment) -> Moment:
    return moment._replace(observation=copied(moment.observation), reward=copied(moment.reward))


def _built_or_none(build: BuildEnv) -> Env | None:
    """Return one more environment that has been reset, or None where there can be no second one at once."""
    try:
        env = build()
        env.reset(seed=1)
    except Exception:
        return None
    return env


def _state_or_none(env: Env) -> State | None:
    try:
        return capture(env)
    except StateNotCapturable:
        return None


def _typed(space: Space, value: object) -> bool:
    """Return whether the arrays in a value are arrays, of the very dtype that their space declares."""
    match space:
        case gymnasium.spaces.Dict():
            parts = space.spaces
            return isinstance(value, dict) and all(key in value and _typed(parts[key], value[key]) for key in parts)
        case gymnasium.spaces.Tuple():
            if not isinstance(value, tuple) or len(value) != len(space.spaces):
                return False
            return all(_typed(part, item) for part, item in zip(space.spaces, value, strict=True))
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


def fresh_trace(build: BuildEnv, seed: int | None, steps: int = STEPS) -> list[Moment]:
    """Return the trace of an environment that is built for it, and closed."""
    with closing(build()) as env:
        return list(trace(env, seed, steps=steps))


def trace(
    env: Env, seed: int | None, copy: bool = True, scribble: bool = False, steps: int = STEPS
) -> Iterator[Moment]:
    """Yield what `reset` and `steps` steps of seeded random actions return, over as many episodes as it takes.

    With `scribble`, returned arrays are overwritten once they have been copied.
    """
    actions = RandomActions(env)
    large = int(np.prod(env.observation_space.shape or (1,))) > 10_000  # images: traces must fit into memory
    moment = _reset(env, actions, {"seed": seed})
    for _ in range(steps // 10 if large else steps):
        kept = moment._replace(observation=copied(moment.observation), reward=copied(moment.reward))
        yield kept if copy else moment
        if scribble:
            _scribble(moment.observation)
            _scribble(moment.reward)
        over = kept.terminated or kept.truncated
        moment = _reset(env, actions, {}) if over else _step(env, actions)


def _reset(env: Env, actions: RandomActions, seed: dict[str, Any]) -> Moment:
    """Return what `reset` returns, which must be an observation and a dictionary."""
    try:
        result = env.reset(**seed)
    except InvalidOutcome as error:
        raise ContractViolation(str(error).removeprefix(": the ")) from error
    except Exception as error:
        raise ContractViolation(f"reset must take seed= and options= and not raise, got {error!r}") from error
    sound = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
    require(sound, "reset must return (observation, info) with a dict as info", got=result)
    actions.observe(result[1])
    return Moment(result[0], None, None, None)


def _step(env: Env, actions: RandomActions) -> Moment:
    """Return what `step` returns for the next action, which must be five things, the last of them a dictionary."""
    action = actions()
    try:
        result = env.step(action)
    except InvalidOutcome as error:
        raise ContractViolation(str(error).removeprefix(": the ")) from error
    except Exception as error:
        raise ContractViolation(f"step must not raise, got {error!r} for action {action!r}") from error
    sound = isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict)
    wanted = "step must return (observation, reward, terminated, truncated, info) with a dict as info"
    require(sound, wanted, got=result)
    observation, reward, terminated, truncated, info = result
    actions.observe(info, bool(np.any(terminated)))
    return Moment(observation, reward, terminated, truncated)


def first_difference(one: list[Moment], other: list[Moment]) -> int | None:
    """Return the first step at which two traces differ, or None."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if not all(equal(a, b) for a, b in zip(left, right, strict=True)):
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


NOTHING = object()


def require(kept: object, clause: str, *, got: object = NOTHING, at: str = "") -> None:
    """Raise ContractViolation unless a clause is kept.

    Args:
        kept: whether it is.
        clause: what must be.
        got: what was returned instead, if that says more.
        at: where, as " at step 3".
    """
    if not kept:
        raise ContractViolation(f"{clause}{at}" if got is NOTHING else f"{clause}, got {got!r}{at}")


def equal(one: Observation, other: Observation) -> bool:
    """Return whether nested values are equal, array by array."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(np.array_equal(one, other))


def _scribble(value: object) -> None:
    if isinstance(value, dict | tuple | list):
        for item in value.values() if isinstance(value, dict) else value:
            _scribble(item)
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = np.ones((), value.dtype)


@contextlib.contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators, so that the check detects an environment that uses them."""
    python = random.getstate()
    legacy = np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
