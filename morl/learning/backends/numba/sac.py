"""The updates of `morl.learning.sac` by the compiled loops of `sac_kernel`, policies spread over threads."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.backends.numba.cache import have_compiled
from morl.learning.backends.numba.sac_kernel import SoftMemory, SoftNetworks, SoftNumbers, take_soft_updates
from morl.learning.backends.numba.td3 import drawn_for
from morl.learning.backends.numba.threads import ALONE, ThreadTeam, Workers
from morl.learning.sac import LOG_STD_RANGE, SAC
from morl.learning.sampled_batches import SampledBatches


class NumbaSAC:
    """Executes updates of a `SAC` under linear utilities, in place; equal to its own to rounding.

    Policies do not depend on each other, and a sum has one order: results do not depend on the number of threads.

    Args:
        sac: whose parameters change.
        threads: at most so many, and at most as many as there are processors.
    """

    backend = "numba"

    def __init__(self, sac: SAC, threads: int = 64) -> None:
        self.sac, settings = sac, sac.settings
        self.networks = [_networks(sac, policy) for policy in range(sac.policies)]
        self.numbers = SoftNumbers(
            discount=settings.discount,
            actor_learning_rate=settings.actor_learning_rate,
            critic_learning_rate=settings.critic_learning_rate,
            tau=settings.tau,
            target_entropy=settings.target_entropy,
            temperature=-1.0 if settings.temperature is None else settings.temperature,
            lowest=LOG_STD_RANGE[0],
            highest=LOG_STD_RANGE[1],
        )
        self.workers = Workers(threads, largest_crew=2)
        self.memory: dict[int, list[SoftMemory]] = {}

    def __call__(self, batches: SampledBatches) -> dict[str, Tensor]:
        """Run the update of every batch; see `SAC.update`."""
        sac, size, period = self.sac, batches.index.shape[-1], self.sac.settings.policy_delay
        drawn = [drawn_for(batches, policy) for policy in range(sac.policies)]
        noise = [batches.noise[policy].contiguous().numpy() for policy in range(sac.policies)]
        critic, actor = sac.critic_optimizer.steps, sac.actor_optimizer.steps
        number = sac.updates
        steps = [(int(critic[policy]), number, int(actor[policy]), period) for policy in range(len(self.networks))]
        if size not in self.memory:
            self.memory[size] = [_memory(sac, size) for _ in self.networks]
            given = self.networks[0], self.numbers, drawn[0], noise[0], self.memory[size][0], steps[0]
            have_compiled(take_soft_updates, ALONE, *given)
        memory = self.memory[size]

        def work(policy: int, team: ThreadTeam) -> None:
            given = team, self.networks[policy], self.numbers, drawn[policy], noise[policy], memory[policy]
            take_soft_updates(*given, steps[policy])

        self.workers.each(len(self.networks), work)
        due = sum(sac.actor_is_due(each) for each in range(number, number + len(batches)))
        critic += len(batches)
        actor += due * period
        if sac.settings.temperature is None:
            sac.temperature_optimizer.steps += due * period
        sac.updates += len(batches)
        sums = np.stack([each.sums for each in memory])
        metrics = {"critic_loss": torch.tensor(sums[:, :, 0].sum(), dtype=torch.float32)}
        if due:
            metrics["entropy"] = torch.tensor(sums[:, 0, 1:2], dtype=torch.float32)
            metrics["actor_loss"] = torch.tensor(sums[:, 0, 2].sum(), dtype=torch.float32)
        return metrics


def _networks(sac: SAC, policy: int) -> SoftNetworks:
    """Return the parameters of a policy as the compiled loops take them; they share memory."""

    def row(tensor: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = tensor[policy].detach().numpy()
        return array

    def pair(tensor: Tensor) -> NDArray[np.float32]:
        return row(tensor).reshape(2, -1)

    actor, critic, temperature = sac.actor_optimizer, sac.critic_optimizer, sac.temperature_optimizer
    return SoftNetworks(
        actor=row(sac.actors),
        critics=pair(sac.critics),
        targets=pair(sac.target_critics),
        log_temperature=row(sac.log_temperature),
        actor_first=row(actor.first_moments),
        actor_second=row(actor.second_moments),
        critic_first=pair(critic.first_moments),
        critic_second=pair(critic.second_moments),
        temperature_first=row(temperature.first_moments),
        temperature_second=row(temperature.second_moments),
        actor_widths=np.array(sac.actor.widths),
        critic_widths=np.array(sac.critic.widths),
    )


def _memory(sac: SAC, size: int) -> SoftMemory:
    """Return what one policy's updates with batches of this size work in."""
    inputs, objectives, units = sac.critic.widths[0], sac.critic.widths[-1], sum(sac.critic.widths[1:-1])
    shapes: dict[str, tuple[int, ...]] = {
        "inputs": (size, inputs),
        "next_inputs": (size, inputs),
        "rewards": (size, objectives),
        "continues": (size,),
        "values": (2, size, objectives),
        "next_values": (2, size, objectives),
        "errors": (2, size, objectives),
        "heads": (size, 2 * sac.action_width),
        "actions": (size, sac.action_width),
        "ranges": (size, sac.action_width),
        "spread": (size, sac.action_width),
        "densities": (size, sac.action_width),
        "log_probability": (size,),
        "action_slopes": (2, size, sac.action_width),
        "hidden": (3, size * units),
        "critic_gradient": (2, sac.critic.num_parameters),
        "actor_gradient": (sac.actor.num_parameters,),
    }
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    return SoftMemory(**arrays, sums=np.zeros((2, 8)))
