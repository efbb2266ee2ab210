"""One contract for every backend: vector equals single, saved states continue exactly, wrong rewards are caught."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode

from morl.envs import StateNotCapturable, make, make_vec, specs
from morl.envs.core.state import capture, restore

USERS = "registered by the user"  # by other tests in the same process
IDS = [
    name
    for name, row in specs.items()
    if not row.requires and row.source != USERS and name != "minecart-rgb-v0" and "-v4" not in name
]


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return np.array_equal(one, other)


def row_of(observations, index):
    if isinstance(observations, dict):
        return {key: values[index] for key, values in observations.items()}
    return observations[index]


def sticky_actions(space, steps, seed=0):
    """Yield random actions that last a few steps, so that carts and cars get somewhere."""
    space.seed(seed)
    for step in range(steps):
        if step % 3 == 0:
            action = space.sample()
        yield action


@pytest.mark.parametrize("env_id", IDS)
def test_vector_equals_single(env_id):
    envs, singles = make_vec(env_id, 2, seed=5), [make(env_id) for _ in range(2)]
    observations, _ = envs.reset()
    for index, env in enumerate(singles):
        assert equal(row_of(observations, index), env.reset(seed=5 + index)[0])
    assert envs.observation_space.contains(observations)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    for actions in sticky_actions(envs.action_space, 320 if envs.metadata["backend"] != "synchronous" else 40):
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        assert rewards.dtype == np.float64
        assert ("final_obs" in infos) == bool((terminated | truncated).any())
        for index, env in enumerate(singles):
            observation, reward, *flags, _ = env.step(actions[index])
            np.testing.assert_array_equal(rewards[index], np.asarray(reward, np.float64))
            assert [terminated[index], truncated[index]] == flags
            if any(flags):
                assert infos["_final_obs"][index]
                assert equal(infos["final_obs"][index], observation)
                observation, _ = env.reset()
            assert equal(row_of(observations, index), observation)


@pytest.mark.parametrize("env_id", IDS)
def test_a_saved_state_continues_exactly(env_id):
    envs = make_vec(env_id, 2, seed=1)
    envs.reset()
    actions = list(sticky_actions(envs.action_space, 70, seed=2))
    for action in actions[:30]:
        envs.step(action)
    copied = make_vec(env_id, 2)
    copied.load_state_dict(envs.state_dict())
    for action in actions[30:]:
        for one, other in zip(envs.step(action)[:4], copied.step(action)[:4], strict=True):
            assert equal(one, other)


def test_the_environments_of_a_saved_state_must_fit():
    for env_id, backend in (("deep-sea-treasure-v0", None), ("fishwood-v0", "synchronous"), ("mo-swimmer-v5", None)):
        with pytest.raises(ValueError, match="has 3 environments"):
            make_vec(env_id, 2, backend=backend).load_state_dict(make_vec(env_id, 3, backend=backend).state_dict())


def test_options_that_a_kernel_lacks_go_to_the_synchronous_backend():
    assert make_vec("deep-sea-treasure-v0", 1, float_state=True).metadata["backend"] == "synchronous"
    assert make_vec("fruit-tree-v0", 1, depth=7).metadata["backend"] == "kernel"


def test_the_first_reset_takes_the_constructors_seed():
    seeded = make_vec("mo-mountaincar-v0", 2, seed=9)
    first, _ = seeded.reset()
    second, _ = seeded.reset()
    np.testing.assert_array_equal(first, make_vec("mo-mountaincar-v0", 2).reset(seed=9)[0])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("env_id", "backend", "actions"),
    [
        ("deep-sea-treasure-v0", None, np.array([3, 3, 3])),
        ("mo-mountaincar-v0", None, np.array([2, 2, 2])),
        ("mo-hopper-v5", None, np.full((3, 3), 0.5, np.float32)),
        ("water-reservoir-v0", None, np.full((3, 1), 30.0, np.float32)),
        ("water-reservoir-v0", "synchronous", np.full((3, 1), 30.0, np.float32)),
    ],
)
def test_a_masked_reset_leaves_the_other_environments_alone(env_id, backend, actions):
    envs = make_vec(env_id, 3, seed=0, backend=backend)
    envs.reset()
    for _ in range(4):
        before = envs.step(actions)[0]
    kept = before.copy()
    after, _ = envs.reset(options={"reset_mask": np.array([True, False, True])})
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(after[1], before[1])
    assert not np.array_equal(after[0], before[0])


def test_returned_arrays_never_change_later():
    envs = make_vec("deep-sea-treasure-v0", 2, seed=0)
    first, _ = envs.reset()
    kept = first.copy()
    second = envs.step(np.array([3, 3]))[0]
    also_kept = second.copy()
    envs.step(np.array([3, 1]))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(second, also_kept)


@pytest.mark.parametrize(
    ("actions", "message"), [([0, 4], "environment 1 must be in 0 .. 3, got 4"), ([0], "shape"), ([0, -1], "got -1")]
)
def test_kernels_refuse_wrong_actions(actions, message):
    envs = make_vec("deep-sea-treasure-v0", 2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.step(np.array(actions))


@pytest.mark.parametrize(("num_envs", "seed"), [(0, None), (1.5, None), (True, None), (1, -1), (1, "x")])
def test_wrong_counts_and_seeds(num_envs, seed):
    with pytest.raises(ValueError, match=r"num_envs|seed"):
        make_vec("deep-sea-treasure-v0", num_envs, seed=seed)


class Bad(gymnasium.Env):
    """Pays what it is told to at its third step."""

    observation_space, action_space = Box(0, 1, (1,)), Discrete(2)
    reward_space = Box(-1, 1, (2,))

    def __init__(self, reward):
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.clock += 1
        return np.zeros(1, np.float32), self.reward if self.clock == 3 else np.zeros(2), False, False, {}


@pytest.mark.parametrize("reward", [[0.0, float("nan")], [float("inf"), 0.0], [1.0], 1.0, [0.0, 0.0, 0.0]])
def test_a_wrong_reward_names_id_environment_seed_and_step(reward):
    envs = make_vec(Bad, 2, seed=40, reward=reward)
    envs.reset()
    envs.step(np.zeros(2, int))
    envs.step(np.zeros(2, int))
    with pytest.raises(ValueError, match="Bad: the reward at step 3 of environment 0, seed 40 must be 2 finite"):
        envs.step(np.zeros(2, int))


class Opaque(Bad):
    def reset(self, *, seed=None, options=None):
        self.secret = iter([1, 2, 3])
        return super().reset(seed=seed)


def test_what_cannot_be_saved_is_named():
    envs = make_vec(Opaque, 1, reward=np.zeros(2))
    envs.reset(seed=0)
    with pytest.raises(StateNotCapturable, match=r"\.secret is a builtins\.list_iterator"):
        envs.state_dict()


def test_a_class_without_a_module_is_captured():
    class Silent(type):  # as the types of SWIG are, which Box2D's objects have
        @property
        def __module__(cls):
            raise AttributeError("__module__")

    class Handle(metaclass=Silent):
        pass

    assert capture(Handle())["objects"][0]["kind"] == "object"


def test_captured_state_is_plain_and_keeps_shared_objects_shared():
    class Thing:
        def __init__(self):
            self.shared = np.arange(3.0)
            self.again = self.shared
            self.items = {"a": [1, (2.5, None)], 3: {"x", "y"}}
            self.generator = np.random.default_rng(0)

    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or isinstance(value, bool | int | float | str | np.ndarray)

    one, other = Thing(), Thing()
    one.items["a"][0], one.shared[0] = 2**100, 7.0
    one.generator.random(5)
    saved = capture(one)
    assert plain(saved)
    other.items = {}
    restore(other, saved)
    assert other.items == one.items
    assert other.shared is other.again
    assert other.shared[0] == 7.0
    assert other.generator.random() == one.generator.random()
