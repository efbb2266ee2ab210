"""Executes the updates of `morl.learning.sac` by the compiled loops of `sac_kernel`, policies spread over threads."""

import numpy as np
import torch
from torch import Tensor

from morl.learning.backends.numba.batches import gathered_batch, policy_batches
from morl.learning.backends.numba.cache import compile_in_subprocess
from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.mlp import Moments
from morl.learning.backends.numba.sac_kernel import (
    SACCounters,
    SACKernelConfig,
    SACNetworks,
    SACWorkspace,
    run_sac_updates,
)
from morl.learning.backends.numba.threads import ALONE, ThreadTeam, Workers
from morl.learning.distributions import LOG_STD_RANGE
from morl.learning.sac import SAC
from morl.learning.sampled_batches import SampledBatches


class NumbaSAC:
    """Executes updates of a `SAC` under linear utilities, in place; equal to its own to rounding.

    Policies do not depend on each other, and a sum has one order: results do not depend on the number of threads.

    Args:
        sac: whose parameters change.
        max_threads: at most as many as there are processors.
    """

    backend = "numba"

    def __init__(self, sac: SAC, max_threads: int = 64) -> None:
        self.sac = sac
        self.networks = [_networks(sac, policy) for policy in range(sac.policies)]
        self.config = _kernel_config(sac)
        self.workers = Workers(max_threads, max_team_size=2)
        self.workspaces: dict[int, list[SACWorkspace]] = {}

    def __call__(self, batches: SampledBatches) -> dict[str, Tensor]:
        """Run the update of every batch; return the latest metrics of `SAC.update`.

        Raises:
            ValueError: the batches have no weights, because the utility is not linear.
        """
        sac = self.sac
        of_policy = [policy_batches(batches, policy) for policy in range(sac.policies)]
        counters = [self._counters(policy) for policy in range(sac.policies)]
        size = batches.index.shape[-1]
        if size not in self.workspaces:
            workspaces = [_workspace(sac, size) for _ in range(sac.policies)]
            compile_in_subprocess(
                run_sac_updates, ALONE, self.networks[0], self.config, of_policy[0], workspaces[0], counters[0]
            )
            self.workspaces[size] = workspaces
        workspaces = self.workspaces[size]

        def work(policy: int, team: ThreadTeam) -> None:
            run_sac_updates(
                team, self.networks[policy], self.config, of_policy[policy], workspaces[policy], counters[policy]
            )

        self.workers.each(sac.policies, work)
        actor_steps = self._count(len(batches))
        sums = np.stack([each.sums for each in workspaces])
        dtype = sac.actors.dtype
        metrics = {"critic_loss": torch.tensor(sums[:, :, 0].sum(), dtype=dtype)}
        if actor_steps:
            metrics["entropy"] = torch.tensor(sums[:, 0, 1:2], dtype=dtype)
            metrics["actor_loss"] = torch.tensor(sums[:, 0, 2].sum(), dtype=dtype)
        return metrics

    def _counters(self, policy: int) -> SACCounters:
        return SACCounters(
            updates=self.sac.updates,
            critic_steps=int(self.sac.critic_optimizer.steps[policy]),
            actor_steps=int(self.sac.actor_optimizer.steps[policy]),
        )

    def _count(self, updates: int) -> int:
        """Count updates; return the number of Adam steps that actors took in them."""
        sac = self.sac
        due = sum(sac.actor_is_due(update) for update in range(sac.updates, sac.updates + updates))
        actor_steps = due * sac.settings.policy_delay
        sac.critic_optimizer.steps += updates
        sac.actor_optimizer.steps += actor_steps
        if sac.settings.temperature is None:
            sac.temperature_optimizer.steps += actor_steps
        sac.updates += updates
        return actor_steps


def _kernel_config(sac: SAC) -> SACKernelConfig:
    settings = sac.settings
    low, high = LOG_STD_RANGE
    return SACKernelConfig(
        discount=float(settings.discount),
        actor_learning_rate=float(settings.actor_learning_rate),
        critic_learning_rate=float(settings.critic_learning_rate),
        tau=float(settings.tau),
        policy_delay=settings.policy_delay,
        target_entropy=float(settings.target_entropy),
        temperature=-1.0 if settings.temperature is None else float(settings.temperature),
        min_log_std=low,
        max_log_std=high,
    )


def _networks(sac: SAC, policy: int) -> SACNetworks:
    """Return the parameters of a policy as compiled loops take them; they share memory."""

    def row(tensor: Tensor) -> Array:
        found: Array = tensor.detach().numpy()[policy]
        return found

    def pair(tensor: Tensor) -> Array:
        return row(tensor).reshape(2, -1)

    actor = sac.actor_optimizer
    critic = sac.critic_optimizer
    temperature = sac.temperature_optimizer
    return SACNetworks(
        actor=row(sac.actors),
        critics=pair(sac.critics),
        target_critics=pair(sac.target_critics),
        log_temperature=row(sac.log_temperature),
        actor_moments=Moments(row(actor.first_moments), row(actor.second_moments)),
        critic_moments=Moments(pair(critic.first_moments), pair(critic.second_moments)),
        temperature_moments=Moments(row(temperature.first_moments), row(temperature.second_moments)),
        actor_widths=np.array(sac.actor.widths),
        critic_widths=np.array(sac.critic.widths),
    )


def _workspace(sac: SAC, size: int) -> SACWorkspace:
    """Return buffers for the updates of one policy with batches of this size."""
    objectives = sac.critic.widths[-1]
    units = sum(sac.critic.widths[1:-1])
    actions = sac.action_width
    dtype = sac.actors.detach().numpy().dtype
    return SACWorkspace(
        batch=gathered_batch(size, sac.critic.widths[0], objectives, dtype),
        values=np.zeros((2, size, objectives), dtype),
        next_values=np.zeros((2, size, objectives), dtype),
        value_gradient=np.zeros((2, size, objectives), dtype),
        heads=np.zeros((size, 2 * actions), dtype),
        actions=np.zeros((size, actions), dtype),
        ranges=np.zeros((size, actions), dtype),
        spread=np.zeros((size, actions), dtype),
        densities=np.zeros((size, actions), dtype),
        log_probability=np.zeros(size, dtype),
        action_gradient=np.zeros((2, size, actions), dtype),
        hidden=np.zeros((3, size * units), dtype),
        critic_gradient=np.zeros((2, sac.critic.num_parameters), dtype),
        actor_gradient=np.zeros(sac.actor.num_parameters, dtype),
        sums=np.zeros((2, 8)),
    )
