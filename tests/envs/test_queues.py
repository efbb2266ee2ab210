"""Server queues: arrivals, service, masks, and policies whose returns can be computed."""

import math

import numpy as np
import pytest

from morl.envs import make, make_vec, problem
from morl.envs.backends.vector import SynchronousVectorEnv
from morl.envs.families.baselines import measure
from morl.envs.families.quantiles import exponential, normals, poisson
from morl.envs.families.server_queues import CAPACITY, RATES


def probability(rate, count):
    return math.exp(-rate) * rate**count / math.factorial(count)


@pytest.mark.parametrize("rate", [0.00053, 0.215, 1.0, 3.0])
def test_poisson_is_the_quantile_function(rate):
    uniforms = (np.arange(200_000) + 0.5) / 200_000
    counts = np.bincount([poisson(u, rate, math.exp(-rate)) for u in uniforms], minlength=8) / uniforms.size
    np.testing.assert_allclose(counts[:8], [probability(rate, k) for k in range(8)], atol=1e-5)
    assert poisson(1.0 - 2**-53, rate, math.exp(-rate)) < 40


def test_other_quantile_functions():
    rng = np.random.default_rng(0)
    draws = np.array([normals(rng.random(), rng.random()) for _ in range(20_000)])
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), np.eye(2), atol=0.03)
    assert np.abs(draws).max() > 3.5
    assert exponential(0.5) == pytest.approx(math.log(2))
    assert exponential(0.0) == 0.0
    assert math.isfinite(sum(normals(1.0 - 2**-53, 0.3)))


def served_alone(rate, steps=500, room=80):
    """Return how many customers a queue that is always served loses in expectation, by its Markov chain."""
    chances = np.array([probability(rate, k) for k in range(room)])
    lengths, served = np.eye(room)[0], 0.0
    for _ in range(steps):
        served += 1.0 - lengths[0]
        after = np.concatenate([[lengths[0] + lengths[1]], lengths[2:], [0.0]])
        lengths = np.convolve(after, chances)[:room]
    return served


def test_a_queue_that_is_always_served_earns_what_its_markov_chain_says():
    returns = measure("server-queues-v0", "last queue", episodes=400)
    np.testing.assert_array_equal(returns.mean[:5], 0)
    assert abs(returns.mean[5] - served_alone(0.05 + 5 * 0.033)) < 4 * returns.error[5]


@pytest.mark.parametrize("queues", list(RATES))
def test_what_arrived_was_served_or_waits(queues):
    envs = make_vec("server-queues-v0", 200, seed=0, queues=queues)
    envs.reset()
    served = np.zeros((200, queues))
    for _ in range(499):
        served += envs.step(envs.last_observations.argmax(axis=1))[1]
    arrived = (served + envs.last_observations).mean(axis=0) / 499
    first, more = RATES[queues]
    expected = first + more * np.arange(queues)
    error = np.sqrt(expected / (200 * 499))
    assert np.abs((arrived - expected) / error).max() < 4.5
    assert problem("server-queues-v0", queues=queues).num_objectives == queues


def test_serving_pays_one_for_a_customer_and_nothing_for_none():
    envs = make_vec("server-queues-v0", 300, seed=0)
    before, _ = envs.reset()
    np.testing.assert_array_equal(before, 0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        actions = rng.integers(6, size=300)
        after, rewards, *_ = envs.step(actions)
        waited = before[np.arange(300), actions] > 0
        np.testing.assert_array_equal(rewards, np.eye(6)[actions] * waited[:, None])
        assert (after >= before - rewards).all()
        before = after


def test_masks_allow_the_queues_that_hold_customers():
    kernel = make_vec("server-queues-v0", 3, seed=4)
    singles = SynchronousVectorEnv("server-queues-v0", lambda: make("server-queues-v0"), 3)
    observations, told = kernel.reset()
    _, also = singles.reset(seed=4)
    kernel.action_space.seed(0)
    for step in range(502):
        for infos in (told, also):
            expected = np.where(observations.any(axis=1, keepdims=True), observations > 0, True)
            np.testing.assert_array_equal(infos["action_mask"], expected)
            assert infos["action_mask"].dtype == np.int8
        if step == 500:
            np.testing.assert_array_equal(told["final_info"]["action_mask"], also["final_info"]["action_mask"])
            final = np.stack(list(told["final_obs"]))
            np.testing.assert_array_equal(told["final_info"]["action_mask"], final > 0)
        actions = kernel.action_space.sample()
        observations, _, _, _, told = kernel.step(actions)
        also = singles.step(actions)[4]


def test_a_queue_holds_no_more_than_its_capacity():
    envs = make_vec("server-queues-v0", 1, seed=0)
    envs.reset()
    envs.arrays["lengths"][:] = CAPACITY
    for _ in range(50):
        observations = envs.step(np.zeros(1, np.int64))[0]
    assert observations[0, 5] == CAPACITY
    assert envs.observation_space.contains(observations)


def test_wrong_number_of_queues():
    with pytest.raises(ValueError, match="queues must be one of 6, 8, 12, 16, 32, 64, got 7"):
        make_vec("server-queues-v0", 1, queues=7)
