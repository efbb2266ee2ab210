"""Advantages of a rollout: generalized advantage estimation for every objective, and its weighted sum.

Shapes are [step, policy, env, objective] while time matters, and [policy, sample, objective] from there on.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.ppo import ActorCritic, Memory, Samples, inputs_of, memory_of
from morl.learning.staging import Staging

if TYPE_CHECKING:
    from morl.learning.rollouts import RolloutBuffer


def generalized_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, dones: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Return the generalized advantages of every objective [step, ..., objective] (Schulman et al. 2016, eq. 16).

    delta_t = r_t + gamma V(s'_t) - V(s_t);  A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}.

    Args:
        rewards: [step, ..., objective] r_t.
        values: [step, ..., objective] V(s_t).
        next_values: [step, ..., objective] V(s'_t): zero where s'_t is terminal; where the time limit truncated the
            episode, the value of its last observation, not of the next episode's first.
        dones: [step, ...] whether the episode ended with step t, by termination or truncation.
        discount: gamma.
        gae_lambda: lambda.
    """
    errors = rewards + discount * next_values - values
    decay = (discount * gae_lambda) * (1.0 - dones.to(errors.dtype)).unsqueeze(-1)
    advantages = torch.empty_like(errors)
    following = torch.zeros_like(errors[0])
    for step in range(len(errors) - 1, -1, -1):
        following = torch.addcmul(errors[step], decay[step], following)
        advantages[step] = following
    return advantages


def scalar_advantages(advantages: Tensor, weights: Tensor) -> Tensor:
    """Return the scalarized advantages sum_k w_k A_k [policy, sample], standardized within each policy.

    Args:
        advantages: [policy, sample, objective] in the rewards' units: sigma_k A_k where critics are normalized.
        weights: [policy, objective] w.
    """
    mixed = torch.bmm(advantages, weights.unsqueeze(2)).squeeze(2)
    centred = mixed - mixed.mean(dim=1, keepdim=True)
    # The unbiased deviation, like torch's std, but defined for a single sample.
    deviation = (centred.square().sum(dim=1, keepdim=True) / max(mixed.shape[1] - 1, 1)).sqrt()
    return centred / (deviation + 1e-5)


def objective_columns(advantages: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Return the columns of samples [policy, sample, objective] from which gradients of the objectives are combined.

    "objective_advantage" is (A_k - mean A_k) / std(sum_k w_k A_k), so that its weighted sum is `scalar_advantages`;
    "weight" is w in every row.

    Args:
        advantages: [policy, sample, objective] in the rewards' units.
        weights: [policy, objective] w.
    """
    centred = advantages - advantages.mean(dim=1, keepdim=True)
    mixed = torch.bmm(centred, weights.unsqueeze(2))
    deviation = (mixed.square().sum(dim=1, keepdim=True) / max(mixed.shape[1] - 1, 1)).sqrt()
    return {"objective_advantage": centred / (deviation + 1e-5), "weight": weights.unsqueeze(1).expand_as(advantages)}


IMAGES_AT_ONCE = 256
"""Samples with images that networks are evaluated on at once: as numbers they take four times the memory."""


def _parts(samples: Samples) -> Iterator[Samples]:
    """Yield the samples in parts of `IMAGES_AT_ONCE`, or whole where they have no images."""
    count = samples["observation"].shape[1]
    size = IMAGES_AT_ONCE if "pixels" in samples else max(count, 1)
    for start in range(0, count, size):
        yield {name: column[:, start : start + size] for name, column in samples.items()}


@torch.no_grad()
def compute_advantages(
    rollout: "RolloutBuffer",
    network: ActorCritic,
    parameters: Tensor,
    final_observations: NDArray[np.float32],
    gae_lambda: float,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the samples of a full rollout for one update, and the standard deviations that scale its rewards.

    The reward statistics include the rollout before its rewards are divided by sigma and clipped to +-10.

    Args:
        rollout: a full buffer.
        network: the shape of actor and critic.
        parameters: [policy, n] of the policies that collected the rollout.
        final_observations: [policy, env, width], normalized: the observations after the last step.
        gae_lambda: lambda of the generalized advantages.

    Returns:
        The samples, name -> [policy, step * env, width]: "observation", "action", "log_probability", "value" V(s) and
        "target" A + V(s), both divided by sigma, "mask" where actions are masked, and "pixels" where observations have
        images; and sigma [policy, objective] in the rewards' units. Samples of networks with a memory are sequences of
        `rollout.sequence_steps`, with "start" and "state" (`morl.learning.ppo.Samples`).
    """
    reward_std = rollout.update_reward_std()
    arrays: dict[str, NDArray[Any]] = {
        "observations": rollout.observations,
        "actions": rollout.actions,
        "rewards": np.clip(rollout.rewards / reward_std[:, None], -10.0, 10.0),
        "dones": rollout.dones,
        "bootstrap values": rollout.bootstrap_values,
        "final observations": final_observations,
        "reward std": reward_std,
    }
    if rollout.masks is not None:
        arrays["masks"] = rollout.masks
    if rollout.pixels is not None:
        arrays["pixels"] = rollout.pixels
    if network.memory is not None:
        arrays |= {"states": rollout.states, "starts": rollout.starts}
        arrays |= {"running states": rollout.running_states, "running starts": rollout.running_starts}
    sent = Staging(parameters.device).send(arrays)

    def tensor(name: str) -> Tensor:
        return sent[name].to(parameters.dtype)

    def by_policy(column: Tensor) -> Tensor:
        """Return a column [step, policy, env, width] as [policy, step * env, width]."""
        return column.transpose(0, 1).flatten(1, 2)

    actor, critic = network.split(parameters)
    samples = {"observation": by_policy(tensor("observations")), "action": by_policy(tensor("actions"))}
    if rollout.masks is not None:
        samples["mask"] = by_policy(tensor("masks"))
    if rollout.pixels is not None:
        samples["pixels"] = by_policy(sent["pixels"])
    final_memory = None
    if network.memory is not None:  # every step is a sequence of its own here: the memory before it is known
        samples["state"] = by_policy(tensor("states"))
        samples["start"] = by_policy(tensor("starts").unsqueeze(3))
        final_memory = Memory(tensor("running states"), tensor("running starts").unsqueeze(2))
    parts = list(_parts(samples))
    values = torch.cat([network.values(critic, inputs_of(part), memory_of(part)) for part in parts], dim=1)
    stepwise = values.view(rollout.num_policies, rollout.num_steps, rollout.envs_per_policy, -1).transpose(0, 1)
    final_values = network.values(critic, tensor("final observations"), final_memory)
    dones = tensor("dones")
    next_values = torch.cat([stepwise[1:], final_values.unsqueeze(0)])
    next_values = next_values * (1.0 - dones).unsqueeze(-1) + tensor("bootstrap values")
    advantages = generalized_advantages(tensor("rewards"), stepwise, next_values, dones, rollout.discount, gae_lambda)

    distributions = [network.distribution(actor, inputs_of(part), part.get("mask"), memory_of(part)) for part in parts]
    chances = [each.log_probability(part["action"]) for each, part in zip(distributions, parts, strict=True)]
    samples["log_probability"] = torch.cat(chances, dim=1).unsqueeze(2)
    samples["value"] = values
    samples["target"] = by_policy(advantages) + values
    if network.memory is not None:
        samples = _sequences(samples, rollout)
    return samples, tensor("reward std")


def _sequences(samples: dict[str, Tensor], rollout: "RolloutBuffer") -> dict[str, Tensor]:
    """Return samples [policy, step * env, width] as sequences [policy, sequence * step, width]; "state" of the first.

    Args:
        samples: of a rollout, "state" of every step.
        rollout: that they come from.
    """
    num_policies = rollout.num_policies
    num_sequences = rollout.num_steps // rollout.sequence_steps  # not -1: beside images, there may be no other columns
    shape = (num_policies, num_sequences, rollout.sequence_steps, rollout.envs_per_policy)
    sequences = {name: column.view((*shape, column.shape[2])).transpose(2, 3) for name, column in samples.items()}
    sequences["state"] = sequences["state"][:, :, :, 0]
    return {name: column.flatten(1, -2) for name, column in sequences.items()}
