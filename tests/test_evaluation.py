"""Evaluation: the mean returns of many policies at once equal a plain loop over single episodes."""

from typing import Any

import numpy as np
import pytest
import toys
from numpy.typing import NDArray

from morl.envs import make_vec
from morl.evaluation import ActInputs, Evaluator
from morl.protocols import VectorEnvironment
from morl.seeding import derived_seed, stream

GAMMA = 0.9


def act(observations: Any, preferences: NDArray[np.float64], policies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Act on everything an action may depend on."""
    return (policies + (preferences[:, 0] > 0.5) + (observations[:, 0] > 0)) % 3 - 1


def evaluator(max_envs: int = 64, horizon: int = 100) -> Evaluator:
    return Evaluator(lambda count: make_vec("toy-walk-v0", count), GAMMA, max_envs, horizon)


def by_hand(policy: int, preference: NDArray[np.float64], episodes: int, seed: int, horizon: int = 100) -> Any:
    """Return discounted, undiscounted and length of each episode, from single environments."""
    results = []
    for episode in range(episodes):
        env = toys.Walk()
        observation, _ = env.reset(seed=seed + episode)
        discounted = np.zeros(2)
        plain = np.zeros(2)
        length = 0
        ended = False
        while not ended and length < horizon:
            action = act(observation[None], preference[None], np.array([policy]))[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            discounted += GAMMA**length * reward
            plain += reward
            length += 1
            ended = terminated or truncated
        results.append((discounted, plain, length))
    return results


POLICIES = np.array([0, 1, 2, 0, 1])
PREFERENCES = np.array([[1.0, 0.0], [0.2, 0.8], [0.6, 0.4], [0.0, 1.0], [np.nan, np.nan]])


@pytest.mark.parametrize("max_envs", [1, 4, 15, 1000])
@pytest.mark.parametrize("horizon", [5, 100])
def test_returns_equal_a_loop_over_episodes(max_envs: int, horizon: int) -> None:
    evaluate = evaluator(max_envs, horizon)
    found = evaluate(act, POLICIES, PREFERENCES, 3, seed=40)
    for row in range(5):
        episodes = by_hand(POLICIES[row], PREFERENCES[row], 3, 40, horizon)
        np.testing.assert_allclose(found.discounted[row], np.mean([e[0] for e in episodes], axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.undiscounted[row], np.mean([e[1] for e in episodes], axis=0), rtol=1e-12)
        assert found.lengths[row] == np.mean([e[2] for e in episodes])
    evaluate.close()


def test_it_counts_every_step_that_was_simulated() -> None:
    evaluate = evaluator(max_envs=4)
    toys.STEPS.clear()
    evaluate(act, POLICIES, PREFERENCES, 3, seed=1)
    evaluate(act, POLICIES[:1], PREFERENCES[:1], 1, seed=2)
    assert evaluate.steps == toys.STEPS["Walk"] > 0


def test_an_evaluation_is_a_function_of_its_seed() -> None:
    evaluate = evaluator()
    first = evaluate(act, POLICIES, PREFERENCES, 2, seed=7)
    evaluate(act, POLICIES[:3], PREFERENCES[:3], 1, seed=8)
    again = evaluate(act, POLICIES, PREFERENCES, 2, seed=7)
    other = evaluate(act, POLICIES, PREFERENCES, 2, seed=9)
    assert first.discounted.tobytes() == again.discounted.tobytes()
    assert (first.discounted != other.discounted).all()


def test_actions_may_be_read_only() -> None:
    def hold(observations: Any, preferences: Any, policies: Any) -> Any:
        return np.broadcast_to(np.int64(0), len(policies))

    assert evaluator()(hold, POLICIES, PREFERENCES, 1, seed=1).lengths.max() > 1


def test_an_exact_return_on_deep_sea_treasure() -> None:
    evaluate = Evaluator(lambda count: make_vec("deep-sea-treasure-v0", count), 0.99, 8, 100)
    down = evaluate(lambda o, w, p: np.where(p == 0, 1, 0), np.array([0, 1]), np.full((2, 2), 0.5), 1, 0)
    np.testing.assert_allclose(down.discounted[0], [0.7, -1.0], rtol=1e-6)
    np.testing.assert_allclose(down.discounted[1], [0.0, -(1 - 0.99**100) / 0.01], rtol=1e-12)  # bumps until the limit
    assert down.lengths.tolist() == [1, 100]


# --- Seeding ----------------------------------------------------------------------------------------------------------


def test_streams_depend_on_seed_name_and_keys_alone() -> None:
    # A last key of 0 is the same as none (NumPy pads with zeros): a name is used with keys or without, not both.
    arguments = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 2), (0, "a", 1), (0, "a", 1, 2), (2**40, "a"), (0, "")]
    draws = {stream(*each).integers(2**62) for each in arguments}  # type: ignore[arg-type]
    assert len(draws) == len(arguments)
    seeds = {derived_seed(*each) for each in arguments}  # type: ignore[arg-type]
    assert len(seeds) == len(arguments)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert stream(3, "x", 4).random() == stream(3, "x", 4).random()
    first = stream(3, "x")
    first.random(1000)
    assert stream(3, "y").random() == stream(3, "y").random()


@pytest.mark.parametrize("make", [stream, derived_seed])
def test_a_negative_seed_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        make(-1, "network")


def test_the_accrued_reward_is_passed_to_an_agent_that_takes_it() -> None:
    told: list[NDArray[np.float64]] = []

    def accruing(observations: Any, preferences: Any, policies: Any, accrued: NDArray[np.float64]) -> Any:
        told.append(accrued)
        return act(observations, preferences, policies)

    evaluate = evaluator()
    found = evaluate(accruing, POLICIES, PREFERENCES, 1, seed=7, inputs=ActInputs(accrued=True))
    np.testing.assert_array_equal(told[0], np.tile([0.0, 0.0, 1.0], (5, 1)))
    for step, accrued in enumerate(told):
        np.testing.assert_allclose(accrued[:, -1], GAMMA**step)
    assert len(told) == found.lengths.max()
    last = int(np.flatnonzero(found.lengths == found.lengths.max())[-1])  # the last row that still runs
    discounted, _, length = by_hand(POLICIES[last], PREFERENCES[last], 1, 7, horizon=len(told) - 1)[0]
    assert length == len(told) - 1
    np.testing.assert_allclose(told[-1][-1, :2], discounted, rtol=1e-12)


def test_no_more_environments_are_alive_than_asked_for() -> None:
    alive: list[int] = []
    most = 0

    def build(count: int) -> VectorEnvironment:
        nonlocal most
        envs = make_vec("toy-walk-v0", count)
        close = envs.close
        alive.append(count)
        most = max(most, sum(alive))

        def closing(**kwargs: Any) -> None:
            alive.remove(count)
            close(**kwargs)

        envs.close = closing  # type: ignore[method-assign]
        return envs

    evaluate = Evaluator(build, GAMMA, 4, 100)
    for rows in (6, 3, 9, 1):
        preferences = np.full((rows, 2), 0.5)
        evaluate(lambda o, w, p: np.zeros(len(w), int), np.zeros(rows, int), preferences, 1, 0)
    assert most <= 4
    evaluate.close()
    assert not alive
