"""Executes the updates of `morl.learning.td3` by the compiled loops of `td3_kernel`, policies spread over threads."""

import numpy as np
import torch
from torch import Tensor

from morl.learning.backends.numba.batches import gathered_batch, policy_batches
from morl.learning.backends.numba.cache import compile_in_subprocess
from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.mlp import NORMALIZED_RELU, RELU, Moments
from morl.learning.backends.numba.td3_kernel import (
    TD3Counters,
    TD3KernelConfig,
    TD3Networks,
    TD3Workspace,
    run_td3_updates,
)
from morl.learning.backends.numba.threads import ALONE, ThreadTeam, Workers
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import MIN_INWARD_DERIVATIVE, TD3


class NumbaTD3:
    """Executes updates of a `TD3`, in place; equal to its own to rounding.

    Policies do not depend on each other, and a sum has one order: results do not depend on the number of threads.

    Args:
        td3: whose parameters change.
        max_threads: at most as many as there are processors.
    """

    backend = "numba"

    def __init__(self, td3: TD3, max_threads: int = 64) -> None:
        self.td3 = td3
        self.networks = [_networks(td3, policy) for policy in range(td3.policies)]
        self.config = _kernel_config(td3)
        self.workers = Workers(max_threads, max_team_size=2)
        self.workspaces: dict[int, list[TD3Workspace]] = {}

    def __call__(self, batches: SampledBatches) -> dict[str, Tensor]:
        """Run the update of every batch; return the metrics of `TD3.update`, of the last."""
        td3 = self.td3
        config = self.config
        if batches.direction is None:
            config = config._replace(critic_angle=0.0, actor_angle=0.0)
        of_policy = [policy_batches(batches, policy) for policy in range(td3.policies)]
        counters = [self._counters(policy) for policy in range(td3.policies)]
        size = batches.index.shape[-1]
        if size not in self.workspaces:
            workspaces = [_workspace(td3, size) for _ in range(td3.policies)]
            compile_in_subprocess(
                run_td3_updates, ALONE, self.networks[0], config, of_policy[0], workspaces[0], counters[0]
            )
            self.workspaces[size] = workspaces
        workspaces = self.workspaces[size]

        def work(policy: int, team: ThreadTeam) -> None:
            run_td3_updates(
                team, self.networks[policy], config, of_policy[policy], workspaces[policy], counters[policy]
            )

        self.workers.each(td3.policies, work)
        delay = td3.settings.policy_delay
        td3.critic_optimizer.steps += len(batches)
        td3.actor_optimizer.steps += (td3.updates + len(batches)) // delay - td3.updates // delay
        td3.updates += len(batches)
        losses = torch.tensor([each.sums[0, 1] + each.sums[1, 1] for each in workspaces], dtype=td3.actors.dtype)
        values = torch.from_numpy(np.stack([each.values[0] for each in workspaces]))
        return {"critic_loss": losses, "values": values}

    def _counters(self, policy: int) -> TD3Counters:
        return TD3Counters(
            updates=self.td3.updates,
            critic_steps=int(self.td3.critic_optimizer.steps[2 * policy]),
            actor_steps=int(self.td3.actor_optimizer.steps[policy]),
        )


def _kernel_config(td3: TD3) -> TD3KernelConfig:
    settings = td3.settings
    return TD3KernelConfig(
        discount=float(settings.discount),
        learning_rate=float(settings.learning_rate),
        tau=float(settings.tau),
        policy_delay=settings.policy_delay,
        target_noise=float(settings.target_noise),
        target_noise_clip=float(settings.target_noise_clip),
        max_grad_norm=float(settings.max_grad_norm),
        actor_starts=settings.actor_starts,
        critic_angle=float(settings.critic_angle),
        actor_angle=float(settings.actor_angle),
        huber=settings.loss == "huber",
        utility_loss=float(settings.utility_loss),
        leaky=settings.action_gradient == "leaky",
        min_inward_derivative=MIN_INWARD_DERIVATIVE,
    )


def _networks(td3: TD3, policy: int) -> TD3Networks:
    """Return the parameters of a policy as compiled loops take them; they share memory."""

    def row(tensor: Tensor) -> Array:
        found: Array = tensor.detach().numpy()[policy]
        return found

    def pair(tensor: Tensor) -> Array:
        return row(tensor.detach().view(td3.policies, -1)).reshape(2, -1)

    actor = td3.actor_optimizer
    critic = td3.critic_optimizer
    return TD3Networks(
        actor=row(td3.actors),
        target_actor=row(td3.target_actors),
        critics=pair(td3.critics),
        target_critics=pair(td3.target_critics),
        actor_moments=Moments(row(actor.first_moments), row(actor.second_moments)),
        critic_moments=Moments(pair(critic.first_moments), pair(critic.second_moments)),
        actor_widths=np.array(td3.actor.widths),
        critic_widths=np.array(td3.critic.widths),
        critic_activation=NORMALIZED_RELU if td3.settings.layer_norm else RELU,
    )


def _workspace(td3: TD3, size: int) -> TD3Workspace:
    """Return buffers for the updates of one policy with batches of this size."""
    objectives = td3.critic.widths[-1]
    units = sum(td3.critic.widths[1:-1])
    hidden_layers = len(td3.critic.widths) - 2
    dtype = td3.actors.detach().numpy().dtype
    return TD3Workspace(
        batch=gathered_batch(size, td3.critic.widths[0], objectives, dtype),
        actions=np.zeros((size, td3.action_width), dtype),
        values=np.zeros((2, size, objectives), dtype),
        next_values=np.zeros((2, size, objectives), dtype),
        value_gradient=np.zeros((2, size, objectives), dtype),
        hidden=np.zeros((2, size * units), dtype),
        normalized=np.zeros((2, size * units), dtype),
        scales=np.zeros((2, size * hidden_layers), dtype),
        critic_gradient=np.zeros((2, td3.critic.num_parameters), dtype),
        actor_gradient=np.zeros(td3.actor.num_parameters, dtype),
        sums=np.zeros((2, 8)),
    )
