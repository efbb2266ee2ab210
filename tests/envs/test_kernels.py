"""Kernels with options, against the single environments they were built from; and actions that get somewhere."""

import numpy as np
import pytest

from morl.envs import make, make_vec


def drive(rng):
    return int(rng.choice(6, p=[0.2, 0.1, 0.1, 0.35, 0.2, 0.05]))


def fetch(rng):
    return int(rng.choice(3, p=[0.4, 0.4, 0.2]))


def push(rng):
    return rng.uniform(-1.2, 1.2, 1).astype(np.float32)


def spill(rng):
    return rng.uniform(-20, 150, 1).astype(np.float32)


def share(rng):
    return rng.uniform(0, 1, 1).astype(np.float32)


def either(rng):
    return int(rng.integers(2))


@pytest.mark.parametrize(
    ("env_id", "options", "choose", "repeat", "must_pay"),
    [
        ("minecart-v0", {}, drive, 4, 0),
        ("minecart-deterministic-v0", {"frame_skip": 2}, drive, 4, None),
        ("breakable-bottles-v0", {"size": 6, "prob_drop": 0.5, "unbreakable_bottles": True}, fetch, 2, None),
        ("breakable-bottles-v0", {}, fetch, 3, 1),
        ("mo-mountaincarcontinuous-v0", {}, push, 40, None),
        ("fruit-tree-v0", {"depth": 5}, either, 1, 0),
        ("fishwood-v0", {"fishproba": 0.7}, either, 1, 0),
        ("water-reservoir-v0", {}, spill, 1, None),
        ("water-reservoir-v0", {"nO": 4, "penalize": True, "time_limit": 30}, spill, 1, None),
        ("water-reservoir-v0", {"nO": 3, "normalized_action": True, "max_episode_steps": 20}, share, 1, None),
        ("water-reservoir-v0", {"initial_state": np.array([70.1])}, spill, 2, None),
        ("mo-mountaincar-v0", {"add_speed_objective": True}, lambda rng: int(rng.integers(3)), 20, 3),
    ],
)
def test_kernel_equals_single(env_id, options, choose, repeat, must_pay):
    envs, single = make_vec(env_id, 1, **options), make(env_id, **options)
    assert envs.metadata["backend"] == "kernel"
    assert envs.single_observation_space == single.observation_space
    assert envs.single_action_space == single.action_space
    envs.reset(seed=3)
    single.reset(seed=3)
    rng, paid = np.random.default_rng(0), 0.0
    for step in range(2000):
        if step % repeat == 0:
            action = choose(rng)
        observations, rewards, *flags, infos = envs.step(np.array([action]))
        observation, reward, *ended, _ = single.step(action)
        paid = paid + rewards[0]
        np.testing.assert_array_equal(rewards[0], reward)
        assert [bool(flag[0]) for flag in flags] == ended
        if any(ended):
            observations = infos["final_obs"][0]
            single.reset()
        elif isinstance(observation, dict):
            observations = {key: values[0] for key, values in observations.items()}
        else:
            assert observations.dtype == observation.dtype
            observations = observations[0]
        np.testing.assert_equal(observations, observation)
    if must_pay is not None:
        assert paid[must_pay] > 0, "the actions never earned anything: the test has lost its teeth"


@pytest.mark.parametrize("penalize", [False, True])
def test_an_early_reset_gives_the_draws_of_the_reservoir_back(penalize):
    envs, single = make_vec("water-reservoir-v0", 2, penalize=penalize), make("water-reservoir-v0", penalize=penalize)
    envs.reset(seed=2)
    single.reset(seed=3)
    action = np.full((2, 1), 40.0, np.float32)
    for episode, length in enumerate((7, 1, 0, 30, 100, 64)):
        for step in range(length):
            observations, rewards, _, truncated, _ = envs.step(action)
            observation, reward, *_ = single.step(action[1])
            if step < 99:
                np.testing.assert_array_equal(observations[1], observation)
            np.testing.assert_array_equal(rewards[1], reward)
        assert truncated[1] == (length == 100)
        if episode == 3:  # what a saved state says is enough to give back as well
            saved, envs = envs.state_dict(), make_vec("water-reservoir-v0", 2, penalize=penalize)
            envs.load_state_dict(saved)
        observation, _ = single.reset()
        if not truncated[1]:
            observations, _ = envs.reset(options={"reset_mask": np.array([False, True])})
        np.testing.assert_array_equal(observations[1], observation)


@pytest.mark.parametrize("env_id", ["mo-hopper-v5", "mo-walker2d-v5"])
def test_batched_physics_with_options(env_id):
    options = {"reset_noise_scale": 0.05, "ctrl_cost_weight": 0.01, "terminate_when_unhealthy": False}
    envs, single = make_vec(env_id, 2, **options), make(env_id, **options)
    assert envs.metadata["backend"] == "mujoco-batch"
    envs.reset(seed=4)
    single.reset(seed=5)
    envs.action_space.seed(0)
    for _ in range(50):
        actions = envs.action_space.sample()
        observations, rewards, *_ = envs.step(actions)
        observation, reward, *_ = single.step(actions[1])
        np.testing.assert_array_equal(observations[1], observation)
        np.testing.assert_array_equal(rewards[1], reward)
