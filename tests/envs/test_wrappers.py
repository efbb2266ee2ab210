"""Vector wrappers: what they return, what enters their statistics, and that a saved state continues exactly."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.envs import make_vec
from morl.envs.backends.sb3 import ScalarizedVecEnv
from morl.envs.core.wrappers import NormalizeObservation, NormalizeReward, RecordReturns
from morl.experiment import checkpoint


class Script(gymnasium.Env):
    """Shows and pays what the generator draws; ends after `length` steps, or is cut there."""

    def __init__(self, length=4, cut=False):
        self.observation_space, self.action_space = Box(-np.inf, np.inf, (2,), np.float64), Discrete(2)
        self.reward_space = Box(-np.inf, np.inf, (2,))
        self.length, self.cut = length, cut

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return self.np_random.normal(3.0, 5.0, 2), {"new": True}

    def step(self, action):
        self.clock += 1
        over, reward = self.clock == self.length, np.array([self.np_random.normal(), 100.0 * action])
        flags = over and not self.cut, over and self.cut
        return self.np_random.normal(3.0, 5.0, 2), reward, *flags, {"clock": self.clock}


def steps(envs, count, seed=0):
    actions = np.random.default_rng(seed)
    for _ in range(count):
        yield envs.step(actions.integers(2, size=envs.num_envs))


def test_observations_are_normalised_by_all_that_was_shown():
    envs, plain = NormalizeObservation(make_vec(Script, 3, seed=0)), make_vec(Script, 3, seed=0)
    shown = [plain.reset()[0]]
    envs.reset()
    ends = 0
    for one, other in zip(steps(envs, 30), steps(plain, 30), strict=True):
        shown.append(other[0])
        seen = np.concatenate(shown)
        mean, deviation = seen.mean(axis=0), np.sqrt(seen.var(axis=0) + 1e-8)
        np.testing.assert_allclose(one[0], np.clip((other[0] - mean) / deviation, -10, 10), rtol=1e-5, atol=1e-6)
        assert envs.observation_space.contains(one[0])
        np.testing.assert_array_equal(one[1], other[1])
        for index in np.flatnonzero(other[2]):  # final observations too, with the same statistics
            ends += 1
            expected = (other[4]["final_obs"][index] - mean) / deviation
            np.testing.assert_allclose(one[4]["final_obs"][index], expected, rtol=1e-5, atol=1e-6)
            assert one[4]["final_info"]["clock"][index] == 4
    assert ends == 21
    assert envs.statistics.count[0] == 3 * 31


def test_a_masked_reset_counts_only_the_environments_it_resets():
    envs = NormalizeObservation(make_vec("mo-mountaincar-v0", 3, seed=0))
    envs.reset()
    envs.reset(options={"reset_mask": np.array([True, False, True])})
    np.testing.assert_array_equal(envs.statistics.count, 5)


def test_evaluation_reads_the_statistics_and_leaves_them_alone():
    training = NormalizeReward(NormalizeObservation(make_vec(Script, 2, seed=0)))
    training.reset()
    list(steps(training, 10))
    before = training.state_dict()
    inner = NormalizeObservation(make_vec(Script, 2, seed=0), statistics=training.env.statistics)
    evaluation = NormalizeReward(inner, statistics=training.statistics)
    evaluation.reset()
    frozen = list(steps(evaluation, 10))
    np.testing.assert_equal(training.state_dict()["statistics"], before["statistics"])
    np.testing.assert_equal(training.state_dict()["env"]["statistics"], before["env"]["statistics"])
    assert evaluation.state_dict()["statistics"] == {}
    list(steps(training, 10, seed=1))  # evaluation follows training
    evaluation.reset(seed=0)
    assert not np.array_equal(next(steps(evaluation, 1))[0], frozen[0][0])


@pytest.mark.parametrize("cut", [False, True])
def test_rewards_are_scaled_per_objective_by_sums_that_begin_anew(cut):
    envs, plain = NormalizeReward(make_vec(Script, 3, seed=0, cut=cut), 0.9), make_vec(Script, 3, seed=0, cut=cut)
    envs.reset()
    plain.reset()
    sums, seen = np.zeros((3, 2)), []
    for step, (one, other) in enumerate(zip(steps(envs, 30), steps(plain, 30), strict=True), start=1):
        sums = 0.9 * sums + other[1]
        seen.append(sums)
        deviation = np.concatenate(seen).std(axis=0)
        deviation[deviation == 0] = 1
        np.testing.assert_allclose(one[1], np.clip(other[1] / deviation, -10, 10), rtol=1e-9)
        np.testing.assert_array_equal(one[4]["raw_reward"], other[1])
        if step % 4 == 0:
            sums = np.zeros((3, 2))
            np.testing.assert_array_equal(one[4]["final_info"]["raw_reward"], other[1])
    assert one[1][:, 1].max() < 10 < other[1][:, 1].max()


def test_an_objective_that_never_varied_is_left_as_it_is():
    envs = NormalizeReward(make_vec("deep-sea-treasure-v0", 2, seed=0))
    envs.reset()
    np.testing.assert_array_equal(envs.step(np.zeros(2, int))[1], [[0, -1], [0, -1]])


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 6), discount=st.floats(0, 1), seed=st.integers(0, 99))
def test_returns_begin_anew_with_every_episode(length, discount, seed):
    envs = RecordReturns(make_vec(Script, 2, seed=seed, length=length), discount)
    envs.reset()
    rewards = []
    for step, (_, paid, terminated, _, infos) in enumerate(steps(envs, 3 * length + 1), start=1):
        rewards.append(paid)
        assert ("returns" in infos) == terminated.any() == (step % length == 0)
        if "returns" in infos:
            episode = np.array(rewards)
            weights = discount ** np.arange(length)
            expected = {"undiscounted": episode.sum(0), "discounted": np.einsum("t,teo->eo", weights, episode)}
            for told in (infos, infos["final_info"]):
                np.testing.assert_array_equal(told["_returns"], True)
                np.testing.assert_array_equal(told["returns"]["length"], length)
                for name, values in expected.items():
                    np.testing.assert_allclose(told["returns"][name], values, atol=1e-9)
            rewards = []


def test_only_ended_episodes_report_returns():
    envs = RecordReturns(make_vec("mo-hopper-v5", 4, seed=0), 0.99)
    envs.reset()
    envs.action_space.seed(0)
    kept, ends = [], 0
    for _ in range(60):
        *_, terminated, truncated, infos = envs.step(envs.action_space.sample())
        if "returns" in infos:
            ended = terminated | truncated
            np.testing.assert_array_equal(infos["_returns"], ended)
            assert (infos["returns"]["length"][~ended] == 0).all()
            assert (infos["returns"]["discounted"][~ended] == 0).all()
            kept.append((infos["returns"]["undiscounted"], infos["returns"]["undiscounted"].copy()))
            ends += ended.sum()
    assert ends > 4
    for now, then in kept:
        np.testing.assert_array_equal(now, then)


def wrapped(env_id, seed=None, **options):
    inner = RecordReturns(make_vec(env_id, 3, seed=seed, **options), 0.95)
    return NormalizeObservation(NormalizeReward(inner, 0.95))


@pytest.mark.parametrize(
    ("env", "options"),
    [("mo-mountaincar-v0", {}), ("mo-hopper-v5", {}), (Script, {"cut": True}), ("water-reservoir-v0", {})],
)
def test_a_checkpoint_continues_exactly(tmp_path, env, options):
    one = wrapped(env, seed=4, **options)
    one.reset()
    one.action_space.seed(0)
    actions = [one.action_space.sample() for _ in range(80)]
    for action in actions[:37]:
        one.step(np.minimum(action, 100))
    checkpoint.save(tmp_path / "saved", {}, {"environment": one.state_dict()})
    other = wrapped(env, **options)
    other.load_state_dict(checkpoint.load(tmp_path / "saved", {})["environment"])
    for action in actions[37:]:
        left, right = one.step(np.minimum(action, 100)), other.step(np.minimum(action, 100))
        for a, b in zip(left[:4], right[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        assert ("returns" in left[4]) == ("returns" in right[4])
        if "returns" in left[4]:
            np.testing.assert_equal(left[4]["returns"], right[4]["returns"])


def test_stable_baselines_sees_what_the_wrappers_tell():
    venv = ScalarizedVecEnv(wrapped(Script, seed=0), [1.0, 0.5])
    venv.reset()
    for _ in range(4):
        _, rewards, dones, infos = venv.step(np.ones(3, int))
    assert dones.all()
    for index, info in enumerate(infos):
        assert rewards[index] == pytest.approx(info["vector_reward"] @ [1.0, 0.5], rel=1e-6)
        assert info["raw_reward"][1] == 100.0
        assert info["returns"]["undiscounted"][1] == 400.0
        assert np.abs(info["terminal_observation"]).max() <= 10
        assert venv.reset_infos[index]["new"]


def test_what_does_not_fit_is_refused():
    envs = make_vec(Script, 2)
    other = NormalizeObservation(make_vec("mo-mountaincar-v0", 2)).statistics
    for build in (lambda: NormalizeReward(envs, 1.0), lambda: RecordReturns(envs, 1.5)):
        with pytest.raises(ValueError, match="discount must lie in"):
            build()
    with pytest.raises(ValueError, match="statistics must have shape"):
        NormalizeReward(make_vec("fruit-tree-v0", 2), statistics=other)
    with pytest.raises(ValueError, match=r"statistics must have the shape of an observation, \(7,\), got \(2,\)"):
        NormalizeObservation(make_vec("minecart-v0", 2), statistics=other)
    with pytest.raises(ValueError, match="Box as observation space, got Dict"):
        NormalizeObservation(make_vec("breakable-bottles-v0", 2))
    with pytest.raises(ValueError, match="same step"):
        RecordReturns(SyncVectorEnv([Script]), 0.9)
