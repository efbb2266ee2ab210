"""`check_env` finds each kind of violation, and mo-gymnasium's faults are repaired."""

import pickle
import warnings
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv

from morl.envs import ContractViolation, check_env, make, register, specs
from morl.envs.backends.kernels import KernelVectorEnv

USERS = "registered by the user"  # by other tests in the same process
MINE = 0
TURN = 1
ACCELERATE = 3
BRAKE = 4
"""Actions of minecart."""
CHEAP = [
    name
    for name, row in specs.items()
    if not row.requires and row.source != USERS and "-v4" not in name and "-v5" not in name
]


@pytest.mark.parametrize("env_id", [*CHEAP, "mo-reacher-v5"])
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
        ("breakable-bottles-v0", r"observations must lie in .*'bottles_dropped': \[0, 0, 0\]"),
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


class SpacesMissing(Sound):
    def __init__(self):
        super().__init__()
        self.observation_space = (1,)


class ListReward(Sound):
    def reward(self, action):
        return [float(action), 1.0]


class WrongDtype(Sound):
    def reset(self, **kwargs):
        observation, info = super().reset(**kwargs)
        return observation.astype(np.float64) + 0.5, info


class DeafToSeeds(Sound):
    """Two instances agree, as chance follows the first one's seed; but seeds do nothing."""

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=None if seed is None else 0)
        return observation, info


class Forgetful(Sound):
    """A pickled copy starts from another place."""

    start = 0.0

    def reset(self, **kwargs):
        super().reset(**kwargs)
        self.position += self.start
        return self.position.copy(), {}

    def __setstate__(self, attributes):
        self.__dict__.update(attributes)
        self.start = 1.0


class SharedReward(Sound):
    def reward(self, action):
        self.paid = getattr(self, "paid", np.zeros(2))
        self.paid[:] = action, 1 - action
        return self.paid


class Exposed(Sound):
    """Hands out its own array, which it replaces: nothing changes later, but a caller can move the walker."""

    def step(self, action):
        _, *rest = super().step(action)
        return self.position, *rest


class ClockTerminates(Sound):
    """Registered below with a limit of 30 steps, which it takes for an end."""


def register_once(env_id, entry_point, **options):
    if env_id not in gymnasium.registry:
        register(env_id, entry_point, objectives=("left", "right"), **options)
    return env_id


class SoundBatch(KernelVectorEnv):
    """A batch form of a walk without chance; subclasses break one thing each."""

    def __init__(self, num_envs=1, max_episode_steps=None):
        single = Still()
        super().__init__(
            num_envs, single.observation_space, single.action_space, single.reward_space, max_episode_steps
        )
        self.arrays = {"position": np.zeros((num_envs, 1), np.float32)}

    def _start(self, mask, observations):
        self.arrays["position"][mask] = 0
        observations[mask] = 0

    def _advance(self, actions, observations, rewards, terminated):
        self.arrays["position"] += actions[:, None]
        observations[:] = self.arrays["position"]
        rewards[:, 0], rewards[:, 1] = actions, 1 - actions
        terminated[:] = observations[:, 0] >= 20


class Still(Sound):
    def step(self, action):
        self.position = self.position + np.float32(action)
        return self.position.copy(), self.reward(action), bool(self.position[0] >= 20), False, {}


class OtherSpace(SoundBatch):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.single_action_space = Discrete(3)


class OtherObservation(SoundBatch):
    def _start(self, mask, observations):
        super()._start(mask, observations)
        observations[mask] = 1


class OtherReward(SoundBatch):
    def _advance(self, actions, observations, rewards, terminated):
        super()._advance(actions, observations, rewards, terminated)
        rewards[1, 0] = 0.25


class OtherEnd(SoundBatch):
    def _advance(self, actions, observations, rewards, terminated):
        super()._advance(actions, observations, rewards, terminated)
        terminated[:] = observations[:, 0] >= 19


class OtherLimit(SoundBatch):
    def __init__(self, num_envs=1, max_episode_steps=None):
        super().__init__(num_envs, max_episode_steps=10)


class OtherFinal(SoundBatch):
    def step(self, actions):
        *outcome, infos = super().step(actions)
        if infos:
            infos["final_obs"] = infos["final_obs"] + 1
        return *outcome, infos


class SharedRows(SoundBatch):
    def step(self, actions):
        observations, *outcome = super().step(actions)
        self.rows = getattr(self, "rows", observations)
        self.rows[:] = observations
        return self.rows, *outcome


class Foreign(VectorEnv):
    metadata: ClassVar = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs=1, max_episode_steps=None):
        self.num_envs = num_envs


def test_a_sound_batch_form_passes():
    check_env(register_once("test-check-sound-v0", Still, vector_entry_point=SoundBatch, max_episode_steps=60))


@pytest.mark.parametrize(
    ("batch", "clause"),
    [
        (OtherSpace, r"single_action_space of the batch form must be Discrete\(2\), got Discrete\(3\)"),
        (OtherObservation, "observations of the batch form must equal the single one's at step 0, got"),
        (OtherReward, "rewards of the batch form must equal the single one's at step 1, got"),
        (OtherEnd, "terminated of the batch form must equal the single one's at step"),
        (OtherLimit, "truncated of the batch form must equal the single one's at step 10, got"),
        (OtherFinal, r"infos\['final_obs'\] of the batch form must equal the single one's at step"),
        (SharedRows, "arrays of the batch form must not change later, and those of step 1 did"),
        (Foreign, "must be AutoresetMode.SAME_STEP, got <AutoresetMode.NEXT_STEP"),
    ],
)
def test_the_batch_form_must_equal_the_single_one(batch, clause):
    env_id = register_once(f"test-check-{batch.__name__.lower()}-v0", Still, vector_entry_point=batch)
    with pytest.raises(ContractViolation, match=clause) as caught:
        check_env(env_id)
    assert str(caught.value).startswith(env_id)


def test_a_limit_that_terminates_is_found():
    env_id = register_once("test-check-clock-v0", ClockTerminates, max_episode_steps=30)
    with pytest.raises(
        ContractViolation, match="episodes terminate at step 30, its max_episode_steps, and never later"
    ):
        check_env(env_id)
    check_env(register_once("test-check-longer-v0", ClockTerminates, max_episode_steps=31))


def test_objectives_must_be_named():
    register("test-check-names-v0", Sound, objectives=("only_one",))
    with pytest.raises(ContractViolation, match=r"1 objective names \('only_one',\) for a reward vector of 2 entries"):
        check_env("test-check-names-v0")


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
        (SpacesMissing, r"observation_space must be a gymnasium.Space, got \(1,\)"),
        (ListReward, r"the reward must be an array of shape \(2,\), got \[[01].0, 1.0\] at step 1"),
        (WrongDtype, r"observations must lie in .*, got array\(\[0.5\]\) at step 0"),
        (DeafToSeeds, r"reset\(seed=\) must seed all chance, and seeds 0 and 1 give the same trace"),
        (Forgetful, "a pickled copy must follow the same trace, and it parts at step 0"),
        (SharedReward, "the reward returned at step 1 must not change later, and it became array"),
        (Exposed, "writing into returned arrays must not change the trace, and it does at step"),
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
    np.testing.assert_array_equal(first, env.reset()[0])  # mo-gymnasium's shows where the last episode ended


def test_minecart_is_drawn_as_upstream_draws_it():
    """Home and mines are drawn once, and pixels are copied in another way: every picture stays what it was."""
    ours = make("minecart-rgb-v0")
    theirs = raw("minecart-rgb-v0")()
    np.random.seed(0)  # noqa: NPY002  (at the first reset, mines are turned by angles from this generator)
    theirs.reset(seed=0)
    with warnings.catch_warnings(action="ignore"):
        envs = [ours, pickle.loads(pickle.dumps(ours)), theirs]
    for cargo in ([0.0, 0.0], [0.4, 1.1]):
        for env in envs:
            env.reset(seed=0)
            env.unwrapped.cart.content = np.array(cargo)
        for action in [ACCELERATE] * 4 + [BRAKE] * 4 + [MINE] * 3 + [TURN] * 20 + [ACCELERATE] * 10:
            pictures = [env.step(action)[0] for env in envs]
            np.testing.assert_array_equal(pictures[0], pictures[2])
            np.testing.assert_array_equal(pictures[1], pictures[2])
