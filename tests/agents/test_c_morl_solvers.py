"""C-MORL's thresholds and slacks, and its solvers but the trust region: interior point, reference code, multipliers."""

from typing import Any

import numpy as np
import pytest
import torch

from morl.agents.c_morl.constraints import (
    constraint_state,
    reference_thresholds,
    target_scale,
)
from morl.agents.c_morl.solvers.interior_point import SMALLEST_SLACK, interior_point_loss, log_barrier
from morl.agents.c_morl.solvers.reference_code import reference_code_loss
from morl.learning.return_weights import dual_ascent_step, lagrangian_weights


def test_thresholds_are_below_returns_of_either_sign() -> None:
    thresholds = reference_thresholds(np.array([[100.0, -100.0, 0.0]]), 0.9)
    np.testing.assert_allclose(thresholds, [[90.0, -110.0, 0.0]])


def test_the_barrier_is_smooth_and_steep_outside() -> None:
    slacks = torch.linspace(-1.0, 1.0, 2001, dtype=torch.float64).requires_grad_()
    values = log_barrier(slacks)
    (slopes,) = torch.autograd.grad(values.sum(), slacks)
    inside = slacks.detach() > SMALLEST_SLACK + 1e-3
    torch.testing.assert_close(values.detach()[inside], slacks.detach()[inside].log())
    assert (slopes[slacks.detach() < SMALLEST_SLACK] == 1.0 / SMALLEST_SLACK).all()
    assert values.detach().diff().abs().max() < 1.05e-3 / SMALLEST_SLACK  # no jump
    assert log_barrier(torch.tensor([float("inf")])).tolist() == [0.0]


def constraints_with(slack: float, sign: float = 1.0) -> Any:
    """Return the constraints of one policy with two objectives, the second one constrained."""
    returns, thresholds = np.array([[5.0, 2.0 * slack * sign]]), np.array([[-np.inf, 0.0]])
    like = torch.zeros(1, dtype=torch.float64)
    return constraint_state(returns, thresholds, np.array([1.0, sign]), np.full((1, 2), 2.0), np.array([50.0]), like)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slacks_are_predicted_from_the_samples(sign: float) -> None:
    state = constraints_with(0.3, sign)
    assert state.constrained.tolist() == [[False, True]]
    advantages = torch.tensor([[[1.0, 0.2], [-1.0, -0.2]]], dtype=torch.float64)
    same = state.predicted_slacks(torch.ones(1, 2, dtype=torch.float64), advantages, 0.2)
    assert same[0, 1].item() == pytest.approx(0.3)
    moved = state.predicted_slacks(torch.tensor([[1.1, 0.9]], dtype=torch.float64), advantages, 0.2)
    assert moved[0, 1].item() == pytest.approx(0.3 + sign * 50.0 * (0.1 * 0.2 + 0.1 * 0.2) / 2)


def test_an_objective_that_never_moves_is_not_constrained() -> None:
    like, thresholds = torch.zeros(1, dtype=torch.float64), np.zeros((1, 2))
    state = constraint_state(np.zeros((1, 2)), thresholds, np.ones(2), np.array([[1e-4, 3.0]]), np.ones(1), like)
    assert state.slacks.tolist() == [[float("inf"), 0.0]]


def test_a_standardized_advantage_is_worth_its_deviation_over_an_episode() -> None:
    state, weights = constraints_with(0.3, -1.0), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    advantages = torch.tensor([[[0.4, 9.0], [-0.4, -9.0]]], dtype=torch.float64)
    assert target_scale(state, advantages, weights).item() == pytest.approx(50.0 * 0.4)
    assert target_scale(state, 0.0 * advantages, weights).item() == pytest.approx(50.0 * 1e-3)  # nothing moves


@pytest.mark.parametrize("slack", [0.5, 0.005, -3.0])
def test_the_interior_point_loss_pulls_harder_the_less_slack_is_left(slack: float) -> None:
    advantage = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    batch = {"advantage": advantage, "vector_advantage": torch.cat([advantage, -0.1 * advantage], dim=2)}
    ratios = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([25.0], dtype=torch.float64)
    loss = interior_point_loss(constraints_with(slack), scale, 20.0, 0.2)(ratios, batch)
    (slopes,) = torch.autograd.grad(loss.sum(), ratios)
    pull = 1.0 / max(slack, SMALLEST_SLACK) / 20.0 * 50.0 / 25.0 * 0.1 / 2
    torch.testing.assert_close(slopes, torch.tensor([[-0.5 + pull, 0.5 - pull]], dtype=torch.float64))


def test_the_reference_code_is_blind_to_the_size_of_returns() -> None:
    batch = {"advantage": torch.zeros(1, 4, 1, dtype=torch.float64)}
    slopes = []
    for size in (1.0, 7.0):
        ratios = torch.full((1, 4), 1.05, dtype=torch.float64, requires_grad=True)
        loss = reference_code_loss(0.9, 20.0, 0.2)(ratios, batch | {"target": torch.full((1, 4, 2), size).double()})
        slopes.append(torch.autograd.grad(loss.sum(), ratios)[0])
    torch.testing.assert_close(slopes[0], slopes[1])
    torch.testing.assert_close(slopes[0], torch.full((1, 4), -1.0 / (20.0 * 0.15 * 4)).double())


def test_multipliers_rise_where_constraints_are_broken() -> None:
    multipliers = np.array([[0.0, 0.5, 0.5, 99.99]])
    raised = dual_ascent_step(multipliers, np.array([[np.inf, 1.0, -2.0, -9.0]]), 0.1)
    np.testing.assert_allclose(raised, [[0.0, 0.4, 0.7, 100.0]])
    weights = lagrangian_weights(
        np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 0.0, 2.0]]), np.ones(3), np.array([[1.0, 3.0, 4.0]])
    )
    np.testing.assert_allclose(weights, [[0.25, 0.25, 0.5]])
