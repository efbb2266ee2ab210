"""`make_vec`, `problem` and `make` with callables: ones that build a single environment, and ones that build many."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from slow_toys import Stroll

import morl
from morl.envs import MultiObjectiveVectorEnv, make_vec, problem
from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Array


class Counter(KernelVectorEnv):
    """A batch environment of its own, without single form: the reward is the action and its complement."""

    def __init__(self, num_envs: int = 1, most: int = 5) -> None:
        super().__init__(num_envs, Box(0, most, (1,)), Discrete(2), Box(0, 1, (2,)), most)
        self.arrays = {"count": np.zeros(num_envs)}

    def _start(self, mask: Array, observations: Array) -> None:
        self.arrays["count"][mask] = 0
        observations[mask] = 0

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        self.arrays["count"] += 1
        observations[:, 0] = self.arrays["count"]
        rewards[:, 0] = actions
        rewards[:, 1] = 1 - actions
        terminated[:] = False


def counters(num_envs: int, most: int = 5) -> Counter:
    return Counter(num_envs, most)


def three_counters(most: int = 5) -> Counter:
    return Counter(3, most)


class Plain(SyncVectorEnv):
    """A vector environment that knows nothing of morl: Gymnasium's, with vector rewards and a reward space."""

    def __init__(self, num_envs: int, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> None:
        super().__init__([Stroll] * num_envs, autoreset_mode=mode)
        self.reward_space = self.envs[0].unwrapped.reward_space
        self._rewards = np.zeros((num_envs, *self.reward_space.shape))


@pytest.mark.parametrize(
    "build", [Counter, counters, three_counters, partial(Counter, most=7), lambda num_envs: Counter(num_envs)]
)
def test_a_callable_that_builds_a_vector_environment(build) -> None:
    envs = make_vec(build, num_envs=3, seed=4)
    assert isinstance(envs, Counter)
    envs.reset()
    rewards = envs.step(np.array([0, 1, 1]))[1]
    np.testing.assert_array_equal(rewards, [[0, 1], [1, 0], [1, 0]])
    assert problem(build).objectives == ("objective_0", "objective_1")
    assert problem(build).observation_space == envs.single_observation_space


def test_options_reach_the_callable() -> None:
    assert make_vec(counters, 2, most=9).single_observation_space.high == 9
    assert problem(counters, most=9).observation_space.high == 9


def test_a_vector_environment_of_another_package() -> None:
    envs = make_vec(Plain, 3, seed=4)
    singles = make_vec(Stroll, 3, seed=4)
    assert isinstance(envs, MultiObjectiveVectorEnv)
    assert envs.metadata["backend"] == "registered"
    np.testing.assert_array_equal(envs.reset()[0], singles.reset()[0])
    singles.action_space.seed(0)
    for _ in range(12):
        actions = singles.action_space.sample()
        for got, wanted in zip(envs.step(actions)[:4], singles.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (three_counters, {"num_envs": 2}, "builds a vector environment of 3, and num_envs is 2"),
        (Counter, {"num_envs": 2, "backend": "processes"}, "backend must be None for Counter"),
        (partial(Plain, mode=AutoresetMode.NEXT_STEP), {"num_envs": 2}, "must be AutoresetMode.SAME_STEP"),
        (
            lambda num_envs: gymnasium.vector.SyncVectorEnv(
                [lambda: gymnasium.make("CartPole-v1")] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP
            ),
            {"num_envs": 2},
            "reward_space of shape",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(build, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_vec(build, **options)


def test_a_callable_that_builds_neither() -> None:
    with pytest.raises(TypeError, match=r"must build a gymnasium.Env or a gymnasium.vector.VectorEnv, got int"):
        make_vec(lambda: 3, 2)


@pytest.mark.parametrize("backend", [None, "synchronous"])
def test_a_constructor_that_raises_is_one_sentence(backend: str | None) -> None:
    with pytest.raises(ValueError, match=r"^<lambda> cannot be built: ZeroDivisionError: division by zero$"):
        make_vec(lambda: 1 / 0, 2, backend=backend)
    with pytest.raises(ValueError, match=r"^<lambda> cannot be built with \{'depth': 0\}: ZeroDivisionError"):
        make_vec(lambda depth: 1 / depth, 2, backend=backend, depth=0)


def test_a_callable_builds_no_more_single_environments_than_asked_for() -> None:
    built = []

    def build() -> Stroll:
        built.append(Stroll())
        return built[-1]

    make_vec(build, 3)
    assert len(built) == 3


def test_the_third_argument_seeds_the_first_reset() -> None:
    first = morl.make_vec("mo-mountaincar-v0", 2, 5).reset()[0]
    np.testing.assert_array_equal(first, morl.make_vec("mo-mountaincar-v0", num_envs=2).reset(seed=5)[0])
    np.testing.assert_array_equal(first, morl.make_vec("mo-mountaincar-v0", num_envs=2, seed=5).reset()[0])


@pytest.mark.parametrize("build", [counters, Plain, Stroll])
def test_what_a_callable_builds_trains_resumes_and_evaluates(build, tmp_path, without_figures) -> None:
    run = tmp_path / "run"
    morl.train("c-morl", build, total_steps=100, run_dir=run, config=toys.TINY_CMORL, **toys.SCHEDULE)
    resumed = morl.resume(run, 200, env=build)
    assert resumed.training_steps >= 200
    assert morl.load(run, env=build).evaluate(None, 1).discounted.shape == resumed.front.points.shape
    with pytest.raises(ValueError, match="a run that was started with a callable needs it again: env="):
        morl.resume(run, 300)
