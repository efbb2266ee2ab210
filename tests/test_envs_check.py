"""`check_env` finds each kind of violation, and mo-gymnasium's faults are repaired."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from morl.envs import ContractViolation, check_env, make, specs

USERS = "registered by the user"  # by other tests in the same process
CHEAP = [
    name
    for name, row in specs.items()
    if not row.requires and row.source != USERS and "-v4" not in name and "-v5" not in name
]
pytestmark = pytest.mark.filterwarnings("ignore:.*settotalmass.*")


@pytest.mark.parametrize("env_id", [name for name in CHEAP if name != "minecart-rgb-v0"] + ["mo-reacher-v5"])
def test_registered_environments_pass(env_id):
    check_env(env_id)


def raw(env_id):
    def build():
        make(env_id).close()  # mo-gymnasium's ids exist
        with warnings.catch_warnings(action="ignore"):
            return gymnasium.make(env_id, disable_env_checker=True)

    return build


@pytest.mark.parametrize(
    ("env_id", "clause"),
    [
        ("breakable-bottles-v0", "the reward must be an array"),
        ("fishwood-v0", "a time limit must set truncated"),
        ("water-reservoir-v0", "writing into returned arrays"),
        ("minecart-v0", "two instances with seed 0"),
        ("mo-mountaincarcontinuous-v0", "writing into returned arrays"),
    ],
)
def test_the_upstream_fault_is_real(env_id, clause):
    """When this fails, mo-gymnasium has mended the fault and our repair can go."""
    with pytest.raises(ContractViolation, match=clause):
        check_env(raw(env_id))


class Sound(gymnasium.Env):
    """A random walk of at most 30 steps that keeps the contract."""

    def __init__(self):
        self.observation_space, self.action_space = Box(-50, 50, (1,)), Discrete(2)
        self.reward_space = Box(-2, 2, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.clock = np.zeros(1, np.float32), 0
        return self.position.copy(), {}

    def chance(self):
        return self.np_random.random()

    def flags(self):
        return self.clock == 30, False

    def reward(self, action):
        return np.array([float(action), 1.0 - action])

    def step(self, action):
        self.clock += 1
        self.position = self.position + np.float32(self.chance() - 0.5)
        return self.position.copy(), self.reward(action), *self.flags(), {}


class NoRewardSpace(Sound):
    def __init__(self):
        super().__init__()
        del self.reward_space


class WrongLength(Sound):
    def reward(self, action):
        return np.zeros(3)


class IntegerReward(Sound):
    def reward(self, action):
        return np.array([1, 0])


class OutOfRange(Sound):
    def reward(self, action):
        return np.array([5.0, 0.0])


class NotFinite(Sound):
    def reward(self, action):
        return np.array([np.nan, 0.0])


class BothFlags(Sound):
    def flags(self):
        return self.clock == 30, self.clock == 30


class WordFlag(Sound):
    def flags(self):
        return "no", False


class GlobalChance(Sound):
    def chance(self):
        return np.random.random()  # noqa: NPY002


class IgnoresSeed(Sound):
    def chance(self):
        return np.random.default_rng().random()


class Unpicklable(Sound):
    def __init__(self):
        super().__init__()
        self.secret = lambda: None


class Aliased(Sound):
    def step(self, action):
        self.clock += 1
        self.position += np.float32(self.chance() - 0.5)
        return self.position, self.reward(action), *self.flags(), {}


class OutsideSpace(Sound):
    def step(self, action):
        _, *rest = super().step(action)
        return np.array([99.0], np.float32), *rest


def test_a_sound_environment_passes():
    check_env(Sound)


@pytest.mark.parametrize(
    ("env", "clause"),
    [
        (NoRewardSpace, "reward_space must be a Box"),
        (WrongLength, r"shape \(2,\)"),
        (IntegerReward, "floating dtype, got int64"),
        (OutOfRange, r"lie in reward_space .*\[5.0, 0.0\]"),
        (NotFinite, r"finite, got \[nan, 0.0\]"),
        (BothFlags, "truncated and not terminated, got both at step 30"),
        (WordFlag, "terminated must be a bool, got 'no'"),
        (GlobalChance, "two instances with seed 0"),
        (IgnoresSeed, "two instances with seed 0"),
        (Unpicklable, "survive pickling"),
        (Aliased, "must not change later"),
        (OutsideSpace, "observations must lie in"),
    ],
)
def test_each_clause_is_enforced(env, clause):
    with pytest.raises(ContractViolation, match=clause) as caught:
        check_env(env)
    assert str(caught.value).startswith(env.__name__)


def test_bottles_are_flags_and_the_reward_an_array():
    env = make("breakable-bottles-v0", prob_drop=1.0)
    env.reset(seed=0)
    for action in (0, 0, 0, 0, 2, 2, 1, 1, 0, 0, 2, 1, 1):
        observation, reward, *_ = env.step(action)
    assert isinstance(reward, np.ndarray)
    assert env.observation_space.contains(observation)
    assert env.unwrapped.bottles_dropped[0] == 2


def test_fishwood_is_truncated_at_its_limit():
    env = make("fishwood-v0")
    env.reset(seed=0)
    for _ in range(200):
        _, _, terminated, truncated, _ = env.step(0)
    assert (terminated, truncated) == (False, True)


def test_pixel_observations_are_copies():
    env = make("minecart-rgb-v0")
    first, _ = env.reset(seed=0)
    kept = first.copy()
    for _ in range(3):
        env.step(3)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(first, make("minecart-rgb-v0").reset(seed=0)[0])
