"""The updates of `morl.learning.sac` by the compiled loops of `sac_kernel`, policies spread over threads."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.backends.numba.cache import have_compiled
from morl.learning.backends.numba.sac_kernel import SoftMemory, SoftNetworks, SoftNumbers, take_soft_updates
from morl.learning.backends.numba.td3 import drawn_for
from morl.learning.backends.numba.threads import ALONE, ThreadTeam, Workers
from morl.learning.sampled_batches import SampledBatches

if TYPE_CHECKING:
    from morl.learning.sac import SAC


def can_compile(sac: "SAC") -> bool:
    """Return whether compiled updates are the same: single precision on a CPU, and no layers in common."""
    return sac.actors.device.type == "cpu" and sac.numbers.precision == torch.float32 and sac.shared == 0


class CompiledSoftUpdates:
    """Takes updates of a `SAC` under linear utilities, in place; equal to its own to rounding.

    Policies do not depend on each other, and a sum has one order: results do not depend on the number of threads.

    Args:
        sac: whose parameters change.
        log_stds: range of the logarithm of the Gaussian's deviation.
        threads: at most so many, and at most as many as there are processors.
    """

    def __init__(self, sac: "SAC", log_stds: tuple[float, float], threads: int = 64) -> None:
        self.sac, numbers = sac, sac.numbers
        self.networks = [_networks(sac, policy) for policy in range(len(sac.actors))]
        self.numbers = SoftNumbers(
            discount=numbers.discount,
            actor_learning_rate=numbers.actor_learning_rate,
            critic_learning_rate=numbers.critic_learning_rate,
            tau=numbers.tau,
            target_entropy=numbers.target_entropy,
            temperature=-1.0 if numbers.temperature is None else numbers.temperature,
            lowest=log_stds[0],
            highest=log_stds[1],
        )
        self.workers = Workers(threads, largest_crew=2)
        self.memory: dict[int, list[SoftMemory]] = {}

    def __call__(self, draws: SampledBatches, noise: NDArray[np.float32], number: int) -> None:
        """Take all updates that were drawn, `number` the first.

        Args:
            draws: without noise.
            noise: [policy, update, 1 + policy_delay, batch, action]; see `take_soft_updates`.
            number: see there.
        """
        sac, size, period = self.sac, draws.index.shape[-1], self.sac.numbers.policy_delay
        drawn = [drawn_for(draws, policy) for policy in range(len(self.networks))]
        critic, actor = (sac.optimizers[name].steps for name in ("critic", "actor"))
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
        due = sum(each % period == 0 for each in range(number, number + len(draws)))
        critic += len(draws)
        actor += due * period
        if sac.numbers.temperature is None:
            sac.optimizers["temperature"].steps += due * period
        sums = np.stack([each.sums for each in memory])
        sac.diagnostics["critic_loss"] = torch.tensor(sums[:, :, 0].sum(), dtype=torch.float32)
        if due:
            sac.diagnostics["entropy"] = torch.tensor(sums[:, 0, 1:2], dtype=torch.float32)
            sac.diagnostics["actor_loss"] = torch.tensor(sums[:, 0, 2].sum(), dtype=torch.float32)


def _networks(sac: "SAC", policy: int) -> SoftNetworks:
    """Return the parameters of a policy as the compiled loops take them; they share memory."""

    def row(tensor: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = tensor[policy].detach().numpy()
        return array

    def pair(tensor: Tensor) -> NDArray[np.float32]:
        return row(tensor).reshape(2, -1)

    actor, critic, temperature = (sac.optimizers[name] for name in ("actor", "critic", "temperature"))
    return SoftNetworks(
        actor=row(sac.actors),
        critics=pair(sac.critics),
        targets=pair(sac.targets),
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


def _memory(sac: "SAC", size: int) -> SoftMemory:
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
        "heads": (size, 2 * sac.actions),
        "actions": (size, sac.actions),
        "ranges": (size, sac.actions),
        "spread": (size, sac.actions),
        "densities": (size, sac.actions),
        "log_probability": (size,),
        "action_slopes": (2, size, sac.actions),
        "hidden": (3, size * units),
        "critic_gradient": (2, sac.critic.num_parameters),
        "actor_gradient": (sac.actor.num_parameters,),
    }
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    return SoftMemory(**arrays, sums=np.zeros((2, 8)))
