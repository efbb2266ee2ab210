"""The novelty constraint: who is ended and when, that it equals wrapped single environments, and exact saved states."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium import spaces
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from masked import ListedWalk, MaskedWalk
from stable_baselines3 import PPO

from morl.envs import make_vec
from morl.envs.backends.sb3 import ScalarizedVecEnv
from morl.envs.core.novelty import NoveltyBound, NoveltyConstraint, SingleNoveltyConstraint, action_distance
from morl.envs.core.wrappers import merge_infos


class Endless(gymnasium.Env):
    """Shows the clock, pays the action and one for being there, and never ends."""

    def __init__(self, action_space: Any = None) -> None:
        self.observation_space = Box(0, np.inf, (1,), np.float32)
        self.action_space = Discrete(3) if action_space is None else action_space
        self.reward_space = Box(-9, 9, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return np.zeros(1, np.float32), {"began": True}

    def step(self, action):
        self.clock += 1
        paid = np.array([float(np.sum(action)), 1.0])
        return np.full(1, self.clock, np.float32), paid, False, False, {"clock": self.clock}


class Constant:
    """A reference that always does the same."""

    def __init__(self, action: Any) -> None:
        self.action = np.asarray(action)

    def predict(self, observations, state=None, episode_start=None, deterministic=True, action_masks=None):
        assert deterministic
        return np.array([self.action] * len(episode_start)), state


class Counter:
    """A reference with a memory: it acts by the number of observations that it has seen in the episode."""

    def predict(self, observations, state=None, episode_start=None, deterministic=True):
        seen = np.zeros(len(episode_start)) if state is None else state.copy()
        seen[episode_start] = 0.0
        return (seen % 3).astype(np.int64), seen + 1.0


class Follower:
    """A reference that acts by what it sees, and only as masks allow; actions from -1 to 1."""

    def predict(self, observations, state=None, episode_start=None, deterministic=True, action_masks=None):
        leaf = observations
        while not isinstance(leaf, np.ndarray):
            leaf = next(iter(leaf.values())) if isinstance(leaf, dict) else leaf[-1]
        wanted = np.clip(np.floor(leaf.reshape(len(leaf), -1)[:, 0]).astype(np.int64), -1, 1)
        if action_masks is not None:
            assert action_masks.any(axis=1).all()
            allowed = np.take_along_axis(action_masks, wanted[:, None] + 1, axis=1)[:, 0]
            wanted = np.where(allowed, wanted, action_masks.argmax(axis=1) - 1)
        return wanted, state


def lengths(envs: NoveltyConstraint, action: Any, steps: int) -> list[int]:
    """Return the lengths of the episodes of the first environment, which does the same all the time."""
    envs.reset(seed=0)
    found = [0]
    for _ in range(steps):
        _, _, terminated, truncated, _ = envs.step(np.array([action] * envs.num_envs))
        found[-1] += 1
        assert not truncated.any()
        if terminated[0]:
            found.append(0)
    return found[:-1]


# --- The bound --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(threshold=st.floats(0.05, 1.0), grace=st.integers(0, 9), slack=st.floats(0.01, 2.0), same=st.booleans())
def test_a_copy_ends_at_the_first_step_that_may_end_and_a_stranger_never(
    threshold: float, grace: int, slack: float, same: bool
) -> None:
    bound = NoveltyBound(threshold=threshold, grace_steps=grace, slack=slack)
    envs = NoveltyConstraint(make_vec(Endless, 2), [Constant(1)], bound)
    found = lengths(envs, 1 if same else 2, 60)
    first = next(step for step in range(1, 100) if step >= grace and -threshold * step <= -slack)
    assert found == ([first] * (60 // first) if same else [])


def test_one_close_reference_is_noticed_among_distant_ones() -> None:
    bound = NoveltyBound(threshold=0.5, grace_steps=4)
    assert lengths(NoveltyConstraint(make_vec(Endless, 1), [Constant(0), Constant(2)], bound), 1, 40) == []
    assert lengths(NoveltyConstraint(make_vec(Endless, 1), [Constant(0), Constant(1)], bound), 1, 40) == [4] * 10
    assert lengths(NoveltyConstraint(make_vec(Endless, 1), [], bound), 1, 40) == []


def test_a_mean_above_the_threshold_is_enough() -> None:
    envs = NoveltyConstraint(make_vec(Endless, 1), [Constant(0)], NoveltyBound(threshold=0.5, grace_steps=2))
    envs.reset(seed=0)
    for step in range(40):
        _, _, terminated, _, infos = envs.step(np.array([(step + 1) % 2]))  # every other action differs
        assert not terminated.any()
        np.testing.assert_allclose(infos["novelty"], (step // 2 + 1) / (step + 1))


def test_a_violation_ends_pays_the_penalty_and_says_so() -> None:
    bound = NoveltyBound(threshold=0.5, grace_steps=3, penalty=(2.0, 5.0))
    envs = NoveltyConstraint(make_vec(Endless, 2), [Constant(0)], bound)
    envs.reset(seed=0)
    for step in range(1, 4):
        observations, rewards, terminated, _, infos = envs.step(np.array([0, 1]))
        np.testing.assert_array_equal(infos["novelty"], [0.0, 1.0])
        np.testing.assert_array_equal(infos["novelty_violated"], [step == 3, False])
    np.testing.assert_array_equal(terminated, [True, False])
    np.testing.assert_array_equal(rewards, [[-2.0, -4.0], [1.0, 1.0]])
    np.testing.assert_array_equal(observations[:, 0], [0, 3])
    assert infos["final_obs"][0] == 3
    assert infos["final_obs"][1] is None
    np.testing.assert_array_equal(infos["_final_obs"], [True, False])
    np.testing.assert_array_equal(infos["final_info"]["clock"], [3, 0])
    np.testing.assert_array_equal(infos["final_info"]["_clock"], [True, False])
    np.testing.assert_array_equal(infos["_clock"], [False, True])
    np.testing.assert_array_equal(infos["_began"], [True, False])
    assert infos["final_info"]["novelty_violated"][0]


def test_a_bound_that_ends_nothing_only_reports() -> None:
    bound = NoveltyBound(threshold=0.5, grace_steps=2, penalty=(9.0,), ends=False)
    envs = NoveltyConstraint(make_vec(Endless, 2), [Constant(0), Constant(2)], bound)
    envs.reset(seed=0)
    for step in range(1, 5):
        _, rewards, terminated, _, infos = envs.step(np.array([0, 1]))
        assert not terminated.any()
        np.testing.assert_array_equal(rewards, [[0.0, 1.0], [1.0, 1.0]])
        np.testing.assert_array_equal(infos["novelty_violated"], [step >= 2, False])
        np.testing.assert_array_equal(infos["novelty_excess"], [-0.5, 0.5])


def test_a_penalty_of_one_number_counts_for_every_objective_and_others_must_fit() -> None:
    envs = NoveltyConstraint(make_vec(Endless, 1), [Constant(0)], NoveltyBound(grace_steps=0, penalty=(3.0,)))
    envs.reset(seed=0)
    np.testing.assert_array_equal(envs.step(np.array([0]))[1], [[-3.0, -2.0]])
    with pytest.raises(ValueError, match=r"novelty_penalty is \(1.0, 2.0, 3.0\), but must have one number or 2"):
        NoveltyConstraint(make_vec(Endless, 1), [], NoveltyBound(penalty=(1.0, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"threshold": -0.1}, "novelty_threshold is -0.1, but must be finite and at least 0"),
        ({"threshold": float("nan")}, "novelty_threshold is nan"),
        ({"grace_steps": -1}, "novelty_grace_steps is -1"),
        ({"slack": float("inf")}, "novelty_slack is inf"),
        ({"penalty": ()}, "novelty_penalty is ()"),
        ({"penalty": (-1.0,)}, "novelty_penalty is (-1.0,)"),
    ],
)
def test_values_that_cannot_work_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        NoveltyBound(**changes)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("ends", [True, False])
def test_grace_beyond_the_end_of_every_episode_is_refused(ends: bool) -> None:
    sentence = r"^novelty_grace_steps is 8, but must be at most 7, the steps of an episode of morl/Short-v0, or"
    gymnasium.register("morl/Short-v0", Endless, max_episode_steps=7, disable_env_checker=True)
    try:
        late = NoveltyBound(grace_steps=8, ends=ends)
        with pytest.raises(ValueError, match=sentence):
            NoveltyConstraint(make_vec("morl/Short-v0", 2), [Constant(0)], late)
        with pytest.raises(ValueError, match=sentence):
            SingleNoveltyConstraint(gymnasium.make("morl/Short-v0"), [Constant(0)], late)
        NoveltyConstraint(make_vec("morl/Short-v0", 2), [], late)
        just = NoveltyBound(grace_steps=7, threshold=0.5, ends=ends)
        envs = NoveltyConstraint(make_vec("morl/Short-v0", 1), [Constant(0)], just)
        envs.reset(seed=0)
        *_, last = [envs.step(np.array([0]))[4] for _ in range(7)]
        assert last["final_info"]["novelty_violated"].tolist() == [True]
    finally:
        del gymnasium.registry["morl/Short-v0"]


# --- Distances --------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), kind=st.sampled_from(["box", "discrete", "several", "flags"]))
def test_distances_are_symmetric_and_zero_for_equal_actions_only(seed: int, kind: str) -> None:
    space: Any = {
        "box": Box(-2.0, 4.0, (3,), np.float32),
        "discrete": Discrete(4, start=2),
        "several": MultiDiscrete([3, 2]),
        "flags": MultiBinary(4),
    }[kind]
    space.seed(seed)
    one = np.array([space.sample() for _ in range(8)])
    other = np.array([space.sample() for _ in range(8)])
    distance = action_distance(space)
    np.testing.assert_array_equal(distance(one, other), distance(other, one))
    np.testing.assert_array_equal(distance(one, one), 0.0)
    np.testing.assert_array_equal(distance(one, other) > 0, (one != other).reshape(8, -1).any(axis=1))
    assert distance(one, other).max() <= (2 * np.sqrt(3) + 1e-9 if kind == "box" else 1.0)


def test_continuous_actions_are_measured_in_half_ranges_and_clipped_first() -> None:
    distance = action_distance(Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64))
    found = distance(np.array([[2.0, 5.0], [9.0, 0.0]]), np.array([[0.0, 5.0], [2.0, 10.0]]))
    np.testing.assert_allclose(found, [1.0, 2.0])
    unbounded = action_distance(Box(-np.inf, np.inf, (2,), np.float64))
    np.testing.assert_allclose(unbounded(np.array([[3.0, 4.0]]), np.zeros((1, 2))), [5.0])


def test_the_mean_distance_of_sampled_choices_is_the_total_variation() -> None:
    probabilities = np.array([0.1, 0.6, 0.3])
    sampled = np.random.default_rng(0).choice(3, size=200_000, p=probabilities)
    mean = action_distance(Discrete(3))(sampled, np.full(200_000, 1)).mean()
    total_variation = 0.5 * np.abs(probabilities - np.array([0.0, 1.0, 0.0])).sum()
    np.testing.assert_allclose(mean, total_variation, atol=5e-3)


def test_actions_without_a_distance_are_refused() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete or MultiBinary, got Dict"):
        action_distance(spaces.Dict({"a": Discrete(2)}))


# --- As an environment ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [toys.Walk, toys.DictWalk, toys.TupleWalk, MaskedWalk, ListedWalk])
def test_the_batch_equals_single_environments_that_are_constrained(kind: Any) -> None:
    bound = NoveltyBound(threshold=0.6, grace_steps=2, penalty=(0.5, 0.25))
    references = [Follower()]
    batch = NoveltyConstraint(make_vec(kind, 4, seed=3), references, bound)
    singles = make_vec(lambda: SingleNoveltyConstraint(kind(), references, bound), 4, seed=3)
    one, one_infos = batch.reset()
    other, other_infos = singles.reset()
    np.testing.assert_equal(one, other)
    np.testing.assert_equal(one_infos, other_infos)
    random = np.random.default_rng(0)
    early = 0
    for _ in range(120):
        masks = one_infos.get("action_mask", [np.ones(3)] * 4)
        actions = np.array([random.choice(np.flatnonzero(mask)) - 1 for mask in masks])
        one, rewards, terminated, truncated, one_infos = batch.step(actions)
        other, *outcome, other_infos = singles.step(actions)
        np.testing.assert_equal(one, other)
        np.testing.assert_array_equal(rewards, outcome[0])
        np.testing.assert_array_equal(terminated, outcome[1])
        np.testing.assert_array_equal(truncated, outcome[2])
        ended = np.flatnonzero(terminated | truncated)
        assert ("final_obs" in one_infos) == bool(ended.size)
        for env in ended:
            np.testing.assert_equal(one_infos["final_obs"][env], other_infos["final_obs"][env])
            for name in ("novelty", "novelty_violated"):
                assert one_infos["final_info"][name][env] == other_infos["final_info"][name][env]
            early += bool(one_infos["novelty_violated"][env])
        if "action_mask" in one_infos:
            np.testing.assert_array_equal(
                np.array(one_infos["action_mask"].tolist()), np.array(other_infos["action_mask"].tolist())
            )
    assert early > 10


def test_kernels_and_single_environments_end_alike() -> None:
    bound = NoveltyBound(threshold=0.6, grace_steps=2)
    traces = []
    for backend in (None, "synchronous"):
        envs = NoveltyConstraint(make_vec("lab/concave-arc-v0", 5, backend=backend), [Constant([0.5])], bound)
        random = np.random.default_rng(1)
        trace = [envs.reset(seed=0)[0]]
        for _ in range(40):
            observations, rewards, terminated, _, infos = envs.step(random.uniform(-1, 1, (5, 1)).astype(np.float32))
            final = [infos["final_obs"][env] for env in np.flatnonzero(terminated)]
            trace += [observations, rewards, terminated, infos["novelty"], np.array(final)]
        traces.append(trace)
    for one, other in zip(*traces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_masked_reset_restarts_what_it_resets_and_nothing_else() -> None:
    envs = NoveltyConstraint(make_vec(Endless, 2), [Counter()], NoveltyBound(threshold=0.9, grace_steps=6))
    envs.reset(seed=0)
    for step in range(4):
        envs.step(np.full(2, step % 3))
    envs.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(envs.meter.lengths, [0, 4])
    _, _, terminated, _, infos = envs.step(np.array([0, 1]))  # what the reference does in steps 1 and 5
    np.testing.assert_array_equal(infos["novelty"], [0.0, 0.0])
    _, _, terminated, _, _ = envs.step(np.array([1, 2]))
    np.testing.assert_array_equal(terminated, [False, True])


@pytest.mark.parametrize("reference", [Counter(), Constant(1)])
def test_a_saved_state_continues_exactly(reference: Any) -> None:
    def build() -> NoveltyConstraint:
        bound = NoveltyBound(threshold=0.7, grace_steps=2)
        return NoveltyConstraint(make_vec(toys.Walk, 3, seed=1), [reference, Constant(0)], bound, ["one", "two"])

    random = np.random.default_rng(2)
    actions = random.integers(-1, 2, size=(60, 3))
    whole = build()
    whole.reset()
    for step in actions[:25]:
        whole.step(step)
    saved = whole.state_dict()
    other = build()
    other.load_state_dict(saved)
    for step in actions[25:]:
        *outcome, infos = whole.step(step)
        *others, other_infos = other.step(step)
        assert toys.difference(outcome, others) == ""
        final = [list(each.pop("final_obs", [])) for each in (infos, other_infos)]
        assert toys.difference(final[0], final[1]) == ""
        np.testing.assert_equal(infos, other_infos)
    assert toys.difference(whole.state_dict(), other.state_dict()) == ""
    stranger = NoveltyConstraint(make_vec(toys.Walk, 3), [reference, Constant(0)], fingerprints=["one", "three"])
    with pytest.raises(ValueError, match="compares with the references"):
        stranger.load_state_dict(saved)


def test_what_is_no_environment_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="envs must reset in the same step"):
        NoveltyConstraint(gymnasium.vector.SyncVectorEnv([Endless]), [])  # type: ignore[arg-type]


def test_infos_of_some_environments_are_replaced_entry_by_entry() -> None:
    old = {"a": np.array([1, 2]), "_a": np.array([True, True]), "b": {"c": np.array(["x", None], dtype=object)}}
    new = {"a": np.array([7.5, 8.5]), "b": {"d": np.array([5, 6])}}
    found = merge_infos(old, new, np.array([False, True]))
    assert found["a"].tolist() == [1, 8.5]
    assert found["_a"].tolist() == [True, True]
    assert found["b"]["c"].tolist() == ["x", None]
    assert found["b"]["_c"].tolist() == [True, False]
    assert found["b"]["d"].tolist() == [0, 6]
    assert found["b"]["_d"].tolist() == [False, True]
    assert old["a"].tolist() == [1, 2]


# --- Stable-Baselines3 ------------------------------------------------------------------------------------------------


def test_stable_baselines3_trains_under_the_constraint_and_is_a_reference() -> None:
    def venv(references: list[Any]) -> ScalarizedVecEnv:
        envs = NoveltyConstraint(
            make_vec("lab/concave-arc-v0", 4, seed=0), references, NoveltyBound(threshold=0.4, grace_steps=2)
        )
        return ScalarizedVecEnv(envs, [0.5, 0.5])

    first = PPO("MlpPolicy", venv([]), n_steps=16, batch_size=16, n_epochs=1, seed=0).learn(128)
    constrained = venv([first])
    lengths: list[int] = []

    def note(local: dict[str, Any], _: Any) -> bool:
        lengths.extend(
            info["novelty_violated"] for info, done in zip(local["infos"], local["dones"], strict=True) if done
        )
        return True

    second = PPO("MlpPolicy", constrained, n_steps=16, batch_size=16, n_epochs=1, seed=1).learn(256, callback=note)
    assert any(lengths)
    assert not all(lengths)
    assert second.predict(np.zeros((2, 2), np.float32))[0].shape == (2, 1)


def test_a_single_environment_with_a_scalar_reward_is_constrained_too() -> None:
    class Scalar(Endless):
        def step(self, action):
            observation, paid, *rest = super().step(action)
            return observation, float(paid.sum()), *rest

    env = SingleNoveltyConstraint(Scalar(), [Constant(1)], NoveltyBound(grace_steps=3, penalty=(10.0,)))
    env.reset(seed=0)
    outcomes = [env.step(1) for _ in range(3)]
    assert [one[1] for one in outcomes] == [2.0, 2.0, -8.0]
    assert [one[2] for one in outcomes] == [False, False, True]
    env.reset()
    assert not env.step(1)[2]
