"""Policies of a run: conditioned, sampled, saved, loaded without the run, and evaluated in any environment."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl

pytestmark = pytest.mark.usefixtures("without_figures")


def test_a_network_is_conditioned_on_exactly_the_preference(fork: Path) -> None:
    run = morl.load(fork)
    policy = run.policy([3.0, 1.0], conditioned=True)
    in_units = np.array([3.0, 1.0]) * run.front.units
    np.testing.assert_allclose(policy.conditioning, in_units / in_units.sum())
    measured = run.policy([3.0, 1.0])
    assert measured.conditioning.tolist() == run.front.preferences[run.best_row([3.0, 1.0])].tolist()
    assert policy.data.parameters.equal(measured.data.parameters)


@pytest.mark.parametrize(
    ("utility", "message"),
    [
        (lambda points, weights: np.arange(len(points) + 1), "returned ndarray of shape"),
        (lambda points, weights: points * weights, "returned ndarray of shape"),
        (lambda points, weights: np.full(len(points), np.nan), "is not a number for"),
        (lambda points, weights: "best", "returned str of shape"),
        (5, "utility is 5, but must be a name or a function"),
    ],
)
def test_a_utility_that_is_none_chooses_nothing(utility: Any, message: str, fork: Path) -> None:
    run = morl.load(fork)
    for use in (run.policy, run.best_row):
        with pytest.raises(ValueError, match=message):
            use([0.5, 0.5], utility=utility)


@pytest.mark.parametrize(
    ("preference", "sentence"),
    [
        (0.5, "preference is 0.5, but must have 2 weights, one each for"),
        ("x", "preference is 'x', but must have 2 weights"),
        ([], r"preference is \[\], but must have 2 weights"),
        ([True, False], r"preference is \[True, False\], but must have 2 weights"),
        ([np.nan, 1.0], r"preference is \[nan, 1.0\], but its weights must be >= 0"),
        ([-1.0, 1.0], r"preference is \[-1.0, 1.0\], but its weights must be >= 0"),
    ],
)
def test_a_preference_that_is_none_is_one_sentence(preference: Any, sentence: str, fork: Path) -> None:
    run = morl.load(fork)
    conditioned = run.policy([0.5, 0.5], conditioned=True)
    for use in (run.policy, run.best_row, run.evaluate, run.front.weights, conditioned.conditioned_on):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            use(preference)


@pytest.mark.parametrize("row", ["x", 1.5, True, np.nan, -1, 99, [0]])
def test_a_row_that_is_none_is_one_sentence(row: Any, fork: Path) -> None:
    run = morl.load(fork)
    for use in (run.policy, run.evaluate):
        with pytest.raises(ValueError, match=r"^row is .*, but must (be a whole number, and )?lie between 0 and \d"):
            use(row=row)
    assert run.policy(row=np.int64(0)).predict(0)  # type: ignore[arg-type]


def test_nobody_acts_on_what_is_no_number(members: Path) -> None:
    policy = morl.load(members).policy([0.5, 0.5])
    for observation in ([np.nan, 0.0], [[0.0, 0.0], [0.0, np.nan]]):
        with pytest.raises(ValueError, match="but must be finite numbers in float32"):
            policy.predict(np.array(observation, dtype=np.float32))


def test_conditioned_is_refused_where_nothing_is(members: Path, fork: Path) -> None:
    with pytest.raises(ValueError, match="conditioned is True, but the policies of c-morl take no preference"):
        morl.load(members).policy([0.5, 0.5], conditioned=True)
    with pytest.raises(ValueError, match="no preference is given"):
        morl.load(fork).policy(row=0, conditioned=True)


def test_stochastic_policies_are_sampled_and_deterministic_ones_refuse(members: Path, fork: Path) -> None:
    policy = morl.load(members).policy([0.5, 0.5])
    policy.seed(3)
    observations = np.zeros((64, 2), dtype=np.float32)
    sampled, _ = policy.predict(observations, deterministic=False)
    assert len(np.unique(sampled)) > 1
    assert len(np.unique(policy.predict(observations)[0])) == 1
    with pytest.raises(ValueError, match="deterministic is False"):
        morl.load(fork).policy([0.5, 0.5]).predict(0, deterministic=False)


def test_a_saved_policy_needs_nothing_else(fork: Path, tmp_path: Path) -> None:
    run = morl.load(fork)
    policy = run.policy([0.7, 0.3])
    policy.save(tmp_path / "policy.pt")
    alone = morl.load_policy(tmp_path / "policy.pt")
    assert alone.conditioning.tolist() == policy.conditioning.tolist()
    for node in range(3):
        assert alone.predict(node)[0] == policy.predict(node)[0]
    returns = morl.evaluate(alone, "toy-fork-v0", episodes=3, seed=1)
    np.testing.assert_allclose(returns.discounted[0], run.front.points[run.best_row([0.7, 0.3])])
    assert returns.lengths.tolist() == [2.0]
    # A published file is a policy file too.
    published = morl.load_policy(fork / "policies" / "0.pt")
    assert published.data.parameters.equal(policy.data.parameters)


@pytest.mark.parametrize(
    ("env", "message"), [("toy-walk-v0", "observation_space"), ("fruit-tree-v0", "objectives"), (toys.build_fork, "")]
)
def test_a_policy_is_evaluated_where_it_fits(env: Any, message: str, fork: Path) -> None:
    policy = morl.load(fork).policy([0.5, 0.5])
    if not message:
        assert morl.evaluate(policy, env, episodes=1).lengths.tolist() == [2.0]
        return
    with pytest.raises(ValueError, match=message):
        morl.evaluate(policy, env)


def test_evaluating_is_reproducible(members: Path) -> None:
    policy = morl.load(members).policy([0.5, 0.5])
    first, again, other = (morl.evaluate(policy, "toy-walk-v0", 4, seed).discounted for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    with pytest.raises(ValueError, match="episodes is 0"):
        morl.evaluate(policy, "toy-walk-v0", 0)
