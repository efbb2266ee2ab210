"""How many environments live at once: `max_envs` bounds training and evaluation together."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import morl
from morl.envs import check_env
from morl.experiment.resuming import resume

OPTIONS = {
    "total_steps": 200,
    "evaluate_every": 100,
    "evaluation_episodes": 2,
    "evaluation_divisions": 3,
    "config": {"hidden_sizes": (8,)},
}


class Licensed(gymnasium.Env):
    """A simulator with a license for some instances: one more raises. A random walk that pays for either direction."""

    licenses = 1
    live = 0
    most = 0

    def __init__(self) -> None:
        if Licensed.live >= Licensed.licenses:
            raise RuntimeError(f"no license: {Licensed.live} in use")
        Licensed.live += 1
        Licensed.most = max(Licensed.most, Licensed.live)
        self.open = True
        self.observation_space = Box(-99, 99, (1,), np.float32)
        self.action_space = Discrete(2)
        self.reward_space = Box(-9, 9, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        self.place = float(self.np_random.normal())
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.time += 1
        self.place += float(self.np_random.normal()) + (1.0 if action else -1.0)
        reward = np.clip([self.place, -self.place], -9, 9)
        return np.array([self.place], np.float32), reward, False, self.time >= 7, {}

    def __reduce__(self):
        return type(self), ()  # a copy needs a license of its own

    def close(self) -> None:
        Licensed.live -= self.open
        self.open = False


class WithoutRewardSpace(Licensed):
    def __init__(self) -> None:
        super().__init__()
        del self.reward_space


@pytest.fixture(autouse=True)
def licenses() -> Iterator[None]:
    Licensed.licenses = 1
    Licensed.live = 0
    Licensed.most = 0
    yield
    assert Licensed.live == 0, "environments are left open"


@pytest.mark.parametrize(
    ("agent", "env"),
    [
        ("pd-morl", Licensed),
        ("pd-morl", WithoutRewardSpace),  # its objectives are counted before there is an agent
        ("c-morl", Licensed),
        ("morl-d", Licensed),
        ("gmorl", Licensed),
    ],
)
def test_one_license_trains_evaluates_and_resumes(agent: str, env: type[gymnasium.Env], tmp_path: Path) -> None:
    options = OPTIONS if agent != "c-morl" else {**OPTIONS, "config": {"hidden_sizes": (8,), "samples_per_update": 50}}
    run = morl.train(agent, env, num_envs=1, max_envs=1, run_dir=tmp_path / "run", **options)
    assert run.evaluate(episodes=2).discounted.shape == run.front.points.shape
    resumed = resume(tmp_path / "run", 300, env=env)
    assert resumed.front.points.size
    assert Licensed.most == 1


@pytest.mark.parametrize(("num_envs", "max_envs"), [(1, 2), (2, 2), (2, 5), (3, 4)])
def test_the_bound_holds_in_training_and_evaluation(num_envs: int, max_envs: int, tmp_path: Path) -> None:
    Licensed.licenses = max_envs
    run = morl.train("pd-morl", Licensed, num_envs=num_envs, max_envs=max_envs, run_dir=tmp_path / "run", **OPTIONS)
    run.evaluate(episodes=3)
    assert Licensed.most <= max_envs


def test_the_bound_changes_nothing_but_the_number_of_environments(tmp_path: Path) -> None:
    Licensed.licenses = 100
    runs = [
        morl.train("pd-morl", Licensed, num_envs=2, max_envs=bound, run_dir=tmp_path / str(bound), **OPTIONS)
        for bound in (None, 2, 3)
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.front.points, runs[0].front.points)
    losses = [run.metrics() for run in runs]
    for name in losses[0]:
        if "seconds" not in name and "per_second" not in name and name != "evaluation_steps":
            for other in losses[1:]:
                np.testing.assert_array_equal(other[name], losses[0][name], err_msg=name)


def test_a_bound_below_the_number_of_training_environments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_envs is 1, but must be at least num_envs, which is 2"):
        morl.train("pd-morl", Licensed, num_envs=2, max_envs=1, run_dir=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


class Unsaveable(Licensed):
    def reset(self, *, seed=None, options=None):
        self.generator = (number for number in range(9))
        return super().reset(seed=seed, options=options)


def test_environments_that_cannot_be_suspended_need_one_more(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_envs is 1, but must be at least 2, one more than num_envs"):
        morl.train("pd-morl", Unsaveable, num_envs=1, max_envs=1, run_dir=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()
    Licensed.licenses = 2
    morl.train("pd-morl", Unsaveable, num_envs=1, max_envs=2, run_dir=tmp_path / "run", **OPTIONS)
    assert Licensed.most == 2


def test_a_policy_is_evaluated_within_a_bound(tmp_path: Path) -> None:
    run = morl.train("pd-morl", Licensed, num_envs=1, max_envs=1, run_dir=tmp_path / "run", **OPTIONS)
    policy = run.policy([0.5, 0.5])
    Licensed.most = 0
    Licensed.licenses = 3
    assert morl.evaluate(policy, Licensed, episodes=8, max_envs=3).discounted.shape == (1, 2)
    assert Licensed.most == 3
    with pytest.raises(ValueError, match="max_envs is 0"):
        morl.evaluate(policy, Licensed, max_envs=0)


def test_check_env_needs_one_license() -> None:
    check_env(Licensed)
    assert Licensed.most == 1


def test_make_vec_closes_what_it_built_where_one_cannot_be_built() -> None:
    Licensed.licenses = 2
    with pytest.raises(ValueError, match=r"^Licensed cannot be built: RuntimeError: no license"):
        morl.make_vec(Licensed, 3)
