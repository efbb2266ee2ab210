"""Weights from the state of the returns: each rule beside its formula, and inside the agents that offer them."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

import morl
from morl import utilities
from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.config import Config
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config as DecompositionConfig
from morl.envs.core.registry import problem
from morl.learning.return_weights import (
    SMALLEST_GAIN,
    Lagrangian,
    ReturnEstimates,
    dual_ascent_step,
    lagrangian_weights,
    preference,
    utility_gradient,
    weight_rule,
)
from morl.learning.types import WeightingName
from morl.pareto import hypervolume

NAMES = get_args(WeightingName)
REFERENCE = (-1.0, 0.0, 2.0)


def estimates(seed: int = 0, policies: int = 4) -> ReturnEstimates:
    random = np.random.default_rng(seed)
    shape = (policies, len(REFERENCE))
    return ReturnEstimates(
        preferences=random.dirichlet(np.ones(len(REFERENCE)), policies),
        returns=np.array(REFERENCE) + 0.1 + 3.0 * random.random(shape),
        deviations=random.random(shape) + 0.5,
        advantage_deviations=random.random(shape) + 0.1,
    )


def weights_of(name: str, known: ReturnEstimates) -> Any:
    weights, state = weight_rule(name, REFERENCE)(known, np.ones(known.returns.shape))
    assert (state == 0).all()  # these rules remember nothing
    assert weights.shape == known.returns.shape
    return weights


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_rules_are_their_formulas(seed: int) -> None:
    known = estimates(seed)
    preferences = known.preferences
    gains = known.returns - REFERENCE
    np.testing.assert_array_equal(weights_of("preference", known), preferences)
    np.testing.assert_allclose(weights_of("nash", known), preferences / gains)
    np.testing.assert_allclose(weights_of("normalized", known), preferences / known.advantage_deviations)
    lagging = (gains / preferences).argmin(axis=1)
    expected = np.zeros_like(gains)
    expected[np.arange(4), lagging] = 1.0 / preferences[np.arange(4), lagging]
    np.testing.assert_allclose(weights_of("maximin", known), expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
@pytest.mark.parametrize("name", ["tchebycheff", "smooth-tchebycheff", "pbi", "linear", "desirability"])
def test_the_gradient_of_any_utility_is_that_of_differences(name: str, seed: int) -> None:
    known = estimates(seed)
    ideal = np.full((1, 3), 9.0)
    function = utilities.UTILITIES[name]
    found = utility_gradient(
        lambda returns, w: function(returns, w, torch.as_tensor(ideal)), known.returns, known.preferences
    )
    for objective in range(3):
        step = 1e-6 * np.eye(3)[objective]
        up, down = (function(known.returns + sign * step, known.preferences, ideal) for sign in (1.0, -1.0))
        np.testing.assert_allclose(found[:, objective], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


def test_nash_and_desirability_are_finite_where_nothing_is_gained() -> None:
    known = estimates()._replace(returns=np.full((4, 3), -50.0))
    np.testing.assert_allclose(weights_of("nash", known), known.preferences / (SMALLEST_GAIN * known.deviations))
    assert np.isfinite(weights_of("desirability", known)).all()
    assert (weights_of("desirability", known) >= 0).all()


def test_desirability_lifts_the_objective_that_has_least() -> None:
    known = estimates(policies=2)._replace(
        preferences=np.full((2, 3), 1 / 3), returns=REFERENCE + np.array([[0.1, 2.0, 2.0], [2.0, 2.0, 2.0]])
    )
    assert weights_of("desirability", known)[0].argmax() == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_hypervolume_weights_are_its_gradient(seed: int) -> None:
    known = estimates(seed)
    found = weights_of("hypervolume", known)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    volume = hypervolume(known.returns, REFERENCE)
    for policy in range(4):
        gains = []
        for objective in range(3):
            moved = known.returns.copy()
            moved[policy, objective] += 1e-5
            gains.append(hypervolume(moved, REFERENCE) - volume)
        total = sum(gains)
        expected = known.preferences[policy] if total <= 1e-10 else np.array(gains) / total
        np.testing.assert_allclose(found[policy], expected, atol=1e-3)


def test_dominated_policies_and_unwanted_objectives_do_not_move_the_hypervolume() -> None:
    known = estimates(policies=2)._replace(
        preferences=np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]]),
        returns=np.array([[3.0, 3.0, 9.0], [1.0, 1.0, 90.0]]),
    )
    found = weights_of("hypervolume", known)
    np.testing.assert_allclose(found[0], [3.0 / 7.0, 4.0 / 7.0, 0.0], atol=1e-6)  # a box of 4 by 3
    np.testing.assert_array_equal(found[1], known.preferences[1])


def test_a_lagrangian_adds_multipliers_to_any_rule() -> None:
    known = estimates()._replace(slacks=np.array([[np.inf, 1.0, -2.0]] * 4))
    signs = np.array([1.0, 1.0, -1.0])
    for name in NAMES:
        target = weight_rule(name, REFERENCE)
        weights, multipliers = Lagrangian(target, signs, 0.1)(known, np.full((4, 3), 0.05))
        np.testing.assert_allclose(multipliers, np.tile([0.0, 0.0, 0.25], (4, 1)))
        expected = lagrangian_weights(target(known, multipliers)[0], multipliers, signs, known.deviations)
        np.testing.assert_array_equal(weights, expected)
    kept = known._replace(slacks=np.full((4, 3), np.inf))
    weights, multipliers = Lagrangian(preference, signs, 0.1)(kept, np.zeros((4, 3)))
    assert weights is kept.preferences  # not even divided by the scale
    np.testing.assert_array_equal(multipliers, dual_ascent_step(np.zeros((4, 3)), kept.slacks, 0.1))


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(ValueError, match="weighting is 'fair', but must be one of preference, nash, maximin"):
        weight_rule("fair", REFERENCE)
    with pytest.raises(ValueError, match="weighting is 'nash', but the environment has no reference point"):
        weight_rule("nash", None)
    with pytest.raises(ValueError, match="weighting is 'fair', but must be one of preference, nash, maximin"):
        CMORL(problem("toy-walk-v0"), Config(**toys.TINY_CMORL | {"weighting": "fair"}), 3, 4, torch.device("cpu"))
    config = DecompositionConfig(solver="ppo", weighting="nash", utility="pbi")
    with pytest.raises(ValueError, match="weighting is 'nash', but utility is 'pbi', which weighs the objectives"):
        MORLD(problem("toy-fork-v0"), config, 3, 6, torch.device("cpu"))


SCHEDULE = toys.SCHEDULE | {"num_envs": 6, "evaluate_every": 60, "log_every": 30}
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "c-morl": ("c-morl", toys.TINY_CMORL),
    "morl-d": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("agent", AGENTS)
def test_agents_learn_with_every_rule_and_resume_exactly(agent: str, name: str, tmp_path: Path) -> None:
    kind, small = AGENTS[agent]
    config = small | {"weighting": name}
    env = "toy-fork-v0"
    morl.train(kind, env, total_steps=96, run_dir=tmp_path / "whole", config=config, **SCHEDULE)
    morl.train(kind, env, total_steps=54, run_dir=tmp_path / "parts", config=config, **SCHEDULE)
    morl.resume(tmp_path / "parts", 96)
    states = [toys.states(tmp_path / folder, "agent") for folder in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""
    morl.train(kind, env, total_steps=96, run_dir=tmp_path / "plain", config=small, **SCHEDULE)
    assert toys.difference(states[0], toys.states(tmp_path / "plain", "agent")) != ""
