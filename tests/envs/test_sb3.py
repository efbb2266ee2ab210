"""Stable-Baselines3 trains on our envs: what is paid, what the infos say, and a few steps of every algorithm."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from morl.envs import make_vec
from morl.envs.backends.sb3 import ScalarizedVecEnv

SEA = "deep-sea-treasure-v0"
CAR = "mo-mountaincarcontinuous-v0"


class Clock(gymnasium.Env):
    """Counts its steps; ends at the third (odd seeds) or is cut there (even seeds), and says what it knows."""

    def __init__(self):
        self.observation_space, self.action_space = Box(0, 10, (1,)), Discrete(2, start=5)
        self.reward_space = Box(0, 10, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.odd = self.odd if seed is None else bool(seed % 2)
        self.time = 0
        return np.zeros(1, np.float32), {"began": True, "options": str(options)}

    def step(self, action):
        assert action in (5, 6)
        self.time += 1
        ended, cut = self.time == 3 and self.odd, self.time == 3 and not self.odd
        info = {"time": self.time, "detail": {"action": int(action)}}
        return np.full(1, self.time, np.float32), np.array([action, 1.0]), ended, cut, info


def test_a_step_pays_the_weighted_sum_and_tells_the_rest():
    venv = ScalarizedVecEnv(make_vec(Clock, 2, seed=0), [1.0, 10.0])
    assert venv.action_space == Discrete(2)
    observations = venv.reset()
    np.testing.assert_array_equal(observations, [[0], [0]])
    assert venv.reset_infos[1] == {"began": True, "options": "None"}
    _, rewards, dones, infos = venv.step(np.array([0, 1]))
    assert rewards.dtype == np.float32
    np.testing.assert_array_equal(rewards, [15, 16])
    assert not dones.any()
    np.testing.assert_array_equal(infos[1].pop("vector_reward"), [6, 1])
    np.testing.assert_array_equal(infos[1].pop("preference"), [1, 10])
    assert infos[1] == {"time": 1, "detail": {"action": 6}, "TimeLimit.truncated": False}


def test_ends_and_cuts_are_told_apart():
    venv = ScalarizedVecEnv(make_vec(Clock, 2, seed=0), [1.0, 1.0])
    venv.reset()
    for _ in range(2):
        venv.step(np.zeros(2, int))
    observations, _, dones, infos = venv.step(np.array([0, 1]))
    assert dones.all()
    np.testing.assert_array_equal(observations, [[0], [0]])
    for index, truncated in enumerate((True, False)):
        np.testing.assert_array_equal(infos[index]["terminal_observation"], [3])
        assert infos[index]["TimeLimit.truncated"] is truncated
        assert infos[index]["time"] == 3
        assert infos[index]["detail"] == {"action": 5 + index}
        assert "began" not in infos[index]
        assert venv.reset_infos[index] == {"began": True, "options": "None"}
    assert "terminal_observation" not in venv.step(np.zeros(2, int))[3][0]


def test_the_preference_is_live_and_may_differ_by_environment():
    venv = ScalarizedVecEnv(make_vec(SEA, 2, seed=0), [1.0, 0.0])
    venv.reset()
    np.testing.assert_array_equal(venv.step(np.zeros(2, int))[1], [0, 0])
    venv.preference = [[0.0, 1.0], [0.5, 0.5]]  # in the middle of the episode
    np.testing.assert_array_equal(venv.step(np.zeros(2, int))[1], [-1, -0.5])
    VecMonitor(VecNormalize(venv)).set_attr("preference", [0.0, 3.0], indices=0)
    np.testing.assert_array_equal(venv.step(np.zeros(2, int))[1], [-3, -0.5])
    with pytest.raises(ValueError, match="read-only"):
        venv.preference[0] = 1.0


@pytest.mark.parametrize(
    ("preference", "message"),
    [
        ([1.0], "shape"),
        ([[1.0, 0.0]], "shape"),
        ([1, -1], "not negative"),
        ([0, 0], "all zero"),
        ([1, np.nan], "finite"),
    ],
)
def test_a_wrong_preference_is_refused(preference, message):
    envs = make_vec(SEA, 2)
    with pytest.raises(ValueError, match=message):
        ScalarizedVecEnv(envs, preference)
    venv = ScalarizedVecEnv(envs, [1, 1])
    with pytest.raises(ValueError, match=message):
        venv.preference = preference
    np.testing.assert_array_equal(venv.preference, np.ones((2, 2)))


def test_another_autoreset_mode_is_refused():
    envs = SyncVectorEnv([Clock])
    with pytest.raises(ValueError, match="NEXT_STEP"):
        ScalarizedVecEnv(envs, [1, 1])
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_seeds_and_options_reach_the_environments_once():
    venv, envs = ScalarizedVecEnv(make_vec("mo-mountaincar-v0", 2), [1, 1, 1]), make_vec("mo-mountaincar-v0", 2)
    venv.seed(7)
    first = venv.reset()
    np.testing.assert_array_equal(first, envs.reset(seed=7)[0])
    assert not np.array_equal(venv.reset(), first)
    clocks = ScalarizedVecEnv(make_vec(Clock, 2, seed=0), [1, 1])
    clocks.set_options({"a": 1})
    clocks.reset()
    assert clocks.reset_infos[0]["options"] == "{'a': 1}"
    clocks.set_options([{"a": 1}, {}])
    with pytest.raises(ValueError, match="options must be the same"):
        clocks.reset()


def test_attributes_and_methods_of_the_environments():
    venv = ScalarizedVecEnv(make_vec(Clock, 2, seed=0), [1, 1])
    venv.reset()
    venv.step(np.zeros(2, int))
    assert venv.get_attr("time", indices=1) == [1]
    assert venv.env_method("has_wrapper_attr", "time") == [True, True]
    assert not venv.has_attr("nothing")
    assert ScalarizedVecEnv(make_vec(SEA, 2), [1, 1]).get_attr("num_objectives") == [2, 2]
    with pytest.raises(AttributeError, match="only preference"):
        venv.set_attr("time", 5)


SMALL = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0}
REPLAY = SMALL | {"learning_starts": 20, "batch_size": 8, "buffer_size": 200}


@pytest.mark.parametrize(
    ("algorithm", "env_id", "options"),
    [
        (PPO, SEA, SMALL | {"n_steps": 16, "batch_size": 16}),
        (PPO, CAR, SMALL | {"n_steps": 16, "batch_size": 16}),
        (A2C, SEA, SMALL),
        (DQN, SEA, REPLAY),
        (SAC, CAR, REPLAY),
        (TD3, CAR, REPLAY),
        (DDPG, CAR, REPLAY),
        (PPO, "breakable-bottles-v0", SMALL | {"n_steps": 64, "batch_size": 16}),
        (DQN, "breakable-bottles-v0", REPLAY),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_algorithm_trains(algorithm, env_id, options):
    envs = make_vec(env_id, 2, seed=0)
    venv = ScalarizedVecEnv(envs, np.ones(envs.num_objectives))
    policy = "MultiInputPolicy" if env_id.startswith("breakable") else "MlpPolicy"
    model = algorithm(policy, venv, **copy.deepcopy(options))  # theirs write into it
    model.learn(210)  # the sea and the bottles are cut at step 100 of an episode
    venv.preference = np.arange(1.0, envs.num_objectives + 1)
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps >= 230
    assert all(np.isfinite(value.numpy()).all() for value in model.policy.state_dict().values())


def test_evaluation_and_bootstrapping_see_the_ends():
    venv = VecMonitor(ScalarizedVecEnv(make_vec(Clock, 2, seed=0), [0.0, 1.0]))
    model = DQN("MlpPolicy", venv, **copy.deepcopy(REPLAY))
    model.learn(60)
    returns, lengths = evaluate_policy(model, venv, n_eval_episodes=4, return_episode_rewards=True)
    assert (returns, lengths) == ([3.0] * 4, [3] * 4)
    buffer = model.replay_buffer
    ended = buffer.dones[: buffer.pos, :] == 1
    np.testing.assert_array_equal(buffer.next_observations[: buffer.pos][ended].ravel(), 3.0)
    assert buffer.timeouts[: buffer.pos][ended].any()
    assert not buffer.timeouts[: buffer.pos, 1].any()  # the odd index really ends


class Switches(gymnasium.Env):
    """Counts actions outside its space."""

    outside = 0

    def __init__(self, space):
        self.observation_space, self.action_space = Box(0, 9, (1,), np.float32), space
        self.reward_space = Box(-9, 9, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Switches.outside += not self.action_space.contains(action)
        self.time += 1
        return np.array([self.time], np.float32), np.ones(2), self.time >= 5, False, {}


@pytest.mark.parametrize(
    "space", [MultiBinary(3), MultiDiscrete([2, 2], start=[1, 5]), MultiDiscrete([3, 2]), Discrete(3, start=-1)]
)
def test_actions_of_all_discrete_spaces_lie_in_them(space):
    Switches.outside = 0
    venv = ScalarizedVecEnv(make_vec(Switches, 2, seed=0, space=space), [0.5, 0.5])
    PPO("MlpPolicy", venv, n_steps=8, batch_size=8, n_epochs=1).learn(32)
    assert Switches.outside == 0


def test_get_attr_returns_the_preference_that_set_attr_sets():
    venv = ScalarizedVecEnv(make_vec(SEA, 2), [0.5, 0.5])
    venv.set_attr("preference", [0.9, 0.1], indices=[1])
    np.testing.assert_array_equal(venv.get_attr("preference"), [[0.5, 0.5], [0.9, 0.1]])
    venv.get_attr("preference")[0][:] = 7  # a copy
    np.testing.assert_array_equal(venv.preference[0], [0.5, 0.5])
