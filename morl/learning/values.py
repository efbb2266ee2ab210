"""Vector values Q, the utilities by which they are compared, and the losses from which they are learned."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, mse_loss, smooth_l1_loss

from morl.learning.scalarization import UtilityFn

CriticLoss: TypeAlias = Literal["huber", "squared"]
"""How the critics' errors are penalized; a new loss is a name here and a function in `CRITIC_LOSSES`."""

CRITIC_LOSSES = {"huber": smooth_l1_loss, "squared": mse_loss}
"""Name -> loss of predictions and targets, called with reduction="none"."""


def select(values: Tensor, actions: Tensor) -> Tensor:
    """Return Q(s, a) [..., objective] out of values [..., action, objective] for actions [...]."""
    index = actions[..., None, None].expand((*actions.shape, 1, values.shape[-1]))
    return values.gather(-2, index).squeeze(-2)


def utility(values: Tensor, preferences: Tensor) -> Tensor:
    """Return w.Q [...] for values and preferences [..., objective], broadcast against each other."""
    return (values * preferences).sum(dim=-1)


def best_actions(utilities: Tensor, masks: Tensor | None) -> Tensor:
    """Return the actions [...] with the highest utility among the allowed ones.

    Args:
        utilities: [..., action].
        masks: [..., action] allowed actions; None: all are.
    """
    if masks is not None:
        utilities = utilities.masked_fill(~masks, -torch.inf)
    return utilities.argmax(dim=-1)


def critic_utilities(utility: UtilityFn, values: Tensor, observations: Tensor) -> Tensor:
    """Return the utilities [policy, critic, batch, ...] of the vectors of several critics.

    Args:
        utility: of the vectors of one critic.
        values: [policy, critic, batch, ..., objective].
        observations: [policy, batch, observation].
    """
    return torch.stack([utility(critic, observations) for critic in values.unbind(dim=1)], dim=1)


def worst_of(values: Tensor, utilities: Tensor) -> Tensor:
    """Return the whole vector of the critic with the lowest utility, entry by entry: [policy, ..., objective].

    Args:
        values: [policy, critic, ..., objective].
        utilities: [policy, critic, ...] of each vector.
    """
    if values.shape[1] == 1:
        return values.squeeze(1)
    if values.shape[1] == 2:  # much faster than argmin and gather
        first = utilities[:, 0] <= utilities[:, 1]
        return torch.where(first.unsqueeze(-1), values[:, 0], values[:, 1])
    lowest = utilities.argmin(dim=1, keepdim=True).unsqueeze(-1)
    return values.gather(1, lowest.expand((-1, 1, *values.shape[2:]))).squeeze(1)


def pessimistic(values: Tensor, preferences: Tensor) -> Tensor:
    """Return the whole vector of the critic with the lowest utility: Q_i with i = argmin_i w.Q_i.

    Never the minimum of each objective on its own: that vector belongs to no critic (PD-MORL, MO-TD3-HER).

    Args:
        values: [policy, critic, ..., objective].
        preferences: [policy, ..., objective] w, broadcast against the values of one critic.
    """
    return worst_of(values, utility(values, preferences.unsqueeze(1)))


def angle_degrees(directions: Tensor, values: Tensor) -> Tensor:
    """Return the angle g(I(w), Q) = arccos(S_c(I(w), Q)) 180 / pi [...] between vectors [..., objective].

    As in PD-MORL's code cosines are clamped to [0, 0.9999]: the angle is .81 to 90 degrees, and a value that points
    away from the direction has no gradient.
    """
    return cosine_similarity(directions, values, dim=-1).clamp(0.0, 0.9999).arccos().rad2deg()


def critic_losses(
    values: Tensor, targets: Tensor, preferences: Tensor, loss: CriticLoss, utility_loss: float
) -> Tensor:
    """Return mean_k l(Q_k, y_k) + beta l(w.Q, w.y) [..., batch], the losses of vectors and of their utilities.

    Only w.Q decides which action is best, and between two actions it often differs far less than the vectors do: where
    the best policy changes with the preference, vectors jump and utilities do not. The errors of the vectors then hide
    those of the utilities, which the second term counts by themselves. It is the loss L^B of envelope Q-learning (Yang,
    Sun, Narasimhan, NeurIPS 2019, section 3.2), which replaces that of the vectors in the course of training there.

    Args:
        values: [..., batch, objective] Q.
        targets: [..., batch, objective] y, broadcast against the values.
        preferences: [..., batch, objective] w, broadcast against the values.
        loss: l.
        utility_loss: beta; 0: the vectors alone.
    """
    penalty = CRITIC_LOSSES[loss]
    losses = penalty(values, targets.expand_as(values), reduction="none").mean(dim=-1)
    if utility_loss == 0.0:
        return losses
    predicted = utility(values, preferences)
    wanted = utility(targets, preferences).expand_as(predicted)
    return losses + utility_loss * penalty(predicted, wanted, reduction="none")
