"""`check_env` on environments that raise, return the wrong things, or begin again wrongly: one sentence each."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from morl.envs import ContractViolation, check_env, register


class Walk(gymnasium.Env):
    """A random walk that keeps the contract and ends outside (-3, 3)."""

    def __init__(self):
        self.observation_space, self.action_space = Box(-50, 50, (1,)), Discrete(2)
        self.reward_space = Box(-2, 2, (2,))
        self.prepare()

    def prepare(self):
        pass

    def observe(self):
        return np.array([self.position], np.float32)

    def begin(self, seed):
        super().reset(seed=seed)
        self.generator = self.np_random

    def reset(self, *, seed=None, options=None):
        self.begin(seed)
        self.position, self.clock = float(self.generator.integers(3)), 0
        return self.observe(), {}

    def over(self):
        return abs(self.position) > 3

    def step(self, action):
        self.clock += 1
        self.position += (0.5 if action else -0.5) + 0.1 * float(self.generator.standard_normal())
        return self.observe(), np.array([self.position / 50, -1.0]), bool(self.over()), False, {}


class OldReset(Walk):
    def reset(self, **kwargs):
        return super().reset(**kwargs)[0]


class SeedlessReset(Walk):
    def reset(self):
        return super().reset()


class ListInfo(Walk):
    def reset(self, **kwargs):
        return super().reset(**kwargs)[0], []


class FourThings(Walk):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


class NoInfo(Walk):
    def step(self, action):
        return *super().step(action)[:4], None


class Raises(Walk):
    def over(self):
        return {}[self.clock] if self.clock == 7 else super().over()


class Unbuildable(Walk):
    def prepare(self):
        raise FileNotFoundError("weather.csv")


class ListObservation(Walk):
    def observe(self):
        return [self.position]


class NestedDtype(Walk):
    def prepare(self):
        self.observation_space = Dict({"place": Box(-50, 50, (1,), np.float64)})

    def observe(self):
        return {"place": np.array([self.position], np.float32)}


class IntegerSpace(Walk):
    def prepare(self):
        self.reward_space = Box(-2, 2, (2,), np.int32)


class WrongDimension(Walk):
    def prepare(self):
        self.reward_dim = 3


class OwnGenerator(Walk):
    """Its own generator, seeded when it is built: instances agree, seeds do nothing, and nobody can begin again."""

    def prepare(self):
        self.own = np.random.default_rng(0)

    def begin(self, seed):
        self.generator = self.own


class SeedsOnce(Walk):
    def begin(self, seed):
        self.generator = getattr(self, "generator", np.random.default_rng(seed))


class BeginsTheSame(Walk):
    """What C-MORL's wrapper does: every episode is reset with the same seed."""

    def begin(self, seed):
        self.last_seed = getattr(self, "last_seed", 0) if seed is None else seed
        super().begin(self.last_seed)


@pytest.mark.parametrize(
    ("env", "clause"),
    [
        (OldReset, r"reset must return \(observation, info\) with a dict as info, got array"),
        (SeedlessReset, "reset must take seed= and options= and not raise, got TypeError"),
        (ListInfo, r"reset must return .*, \[\]\)"),
        (FourThings, r"step must return \(observation, reward, terminated, truncated, info\)"),
        (NoInfo, "with a dict as info, got .*None"),
        (Raises, r"step must not raise, got KeyError\(7\) for action"),
        (Unbuildable, r"the environment must be built without errors, got .*FileNotFoundError: weather.csv"),
        (ListObservation, r"observations must lie in Box.*, got \[[0-9.]+\] at step 0"),
        (NestedDtype, r"observations must lie in Dict\('place': Box.*float64\)\), got .*dtype=float32"),
        (IntegerSpace, "reward_space must be a Box of shape .* with a floating dtype, got Box.*int32"),
        (WrongDimension, "reward_dim must be the length of reward_space, 2, got 3"),
        (OwnGenerator, "a second reset.seed=0. of one instance must follow the same trace, and it parts at step 0"),
        (SeedsOnce, "a second reset.seed=0. of one instance"),
        (BeginsTheSame, "reset.. without a seed must go on drawing, not begin the same episode each time"),
    ],
)
def test_each_clause_is_enforced(env, clause):
    with pytest.raises(ContractViolation, match=clause) as caught:
        check_env(env)
    assert str(caught.value).startswith(f"{env.__name__}: ")
    assert "\n" not in str(caught.value)


class EndsInTime(Walk):
    """Ends when it should, but for those episodes that would be longer than its limit."""

    limit = 20

    def over(self):
        return self.clock == self.limit or super().over()


class EndsInLongTime(EndsInTime):
    limit = 400

    def over(self):
        return self.clock == self.limit


@pytest.mark.parametrize("env", [EndsInTime, EndsInLongTime])
def test_a_clock_of_its_own_is_found_among_other_ends_and_behind_a_long_limit(env):
    env_id = f"test-returns-{env.__name__.lower()}-v0"
    register(env_id, env, objectives=("place", "time"), max_episode_steps=env.limit)
    with pytest.raises(ContractViolation, match=f"episodes terminate at step {env.limit}, its max_episode_steps"):
        check_env(env_id)


def without_licence(num_envs=1, max_episode_steps=None):
    raise OSError("no licence")


def test_a_batch_form_that_cannot_be_built():
    register("test-returns-broken-v0", Walk, objectives=("place", "time"), vector_entry_point=without_licence)
    with pytest.raises(ContractViolation, match="the batch form must be built, got: OSError"):
        check_env("test-returns-broken-v0")


def test_a_sound_environment_passes():
    check_env(Walk)
