"""Losses of vector critics."""

import pytest
import torch
from torch.nn.functional import mse_loss, smooth_l1_loss

from morl.learning.values import CriticLoss, critic_losses

PENALTIES = {"huber": smooth_l1_loss, "squared": mse_loss}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_losses_are_those_of_vectors_and_of_their_utilities(loss: CriticLoss) -> None:
    values = 3.0 * normal(2, 4, 5, 3, seed=0)  # [policy, critic, batch, objective]
    targets = normal(2, 1, 5, 3, seed=1)
    preferences = normal(2, 1, 5, 3, seed=2).abs()
    found = critic_losses(values, targets, preferences, loss, 2.5)
    assert found.shape == (2, 4, 5)
    for policy in range(2):
        for critic in range(4):
            for row in range(5):
                value = values[policy, critic, row]
                target = targets[policy, 0, row]
                weight = preferences[policy, 0, row]
                expected = PENALTIES[loss](value, target) + 2.5 * PENALTIES[loss](weight @ value, weight @ target)
                torch.testing.assert_close(found[policy, critic, row], expected)


def test_errors_that_change_no_utility_are_those_of_vectors_alone() -> None:
    targets = normal(6, 2, seed=1)
    preferences = normal(6, 2, seed=2).abs()
    across = torch.stack([preferences[:, 1], -preferences[:, 0]], dim=1)
    plain = critic_losses(targets + across, targets, preferences, "huber", 0.0)
    torch.testing.assert_close(critic_losses(targets + across, targets, preferences, "huber", 10.0), plain)
    along = critic_losses(targets + preferences, targets, preferences, "huber", 10.0)
    assert (along > critic_losses(targets + preferences, targets, preferences, "huber", 0.0)).all()
