"""The updates of `morl.learning.td3` by the compiled loops of `td3_kernel`, policies spread over threads."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from morl.learning.backends.numba.cache import have_compiled
from morl.learning.backends.numba.mlp import NORMED_RELU, RELU, Array
from morl.learning.backends.numba.td3_kernel import Drawn, Memory, Networks, Numbers, take_updates
from morl.learning.backends.numba.threads import ALONE, ThreadTeam, Workers
from morl.learning.sampled_batches import SampledBatches

if TYPE_CHECKING:
    from morl.learning.td3 import TD3


class NumbaTD3:
    """Executes updates of a `TD3`, in place; equal to its own to rounding.

    Policies do not depend on each other, and a sum has one order: results do not depend on the number of threads.

    Args:
        td3: whose parameters change.
        threads: at most so many, and at most as many as there are processors.
    """

    backend = "numba"

    def __init__(self, td3: "TD3", threads: int = 64) -> None:
        self.td3 = td3
        settings = td3.settings
        self.networks = [_networks(td3, policy) for policy in range(td3.policies)]
        self.numbers = Numbers(
            discount=settings.discount,
            target_noise=settings.target_noise,
            target_noise_clip=settings.target_noise_clip,
            learning_rate=settings.learning_rate,
            max_grad_norm=settings.max_grad_norm,
            tau=settings.tau,
            huber=settings.loss == "huber",
            critic_angle=settings.critic_angle,
            actor_angle=settings.actor_angle,
            actor_starts=settings.actor_starts,
            leaky=settings.action_gradient == "leaky",
        )
        self.workers = Workers(threads, largest_crew=2)
        self.memory: dict[int, list[Memory]] = {}

    def __call__(self, batches: SampledBatches) -> dict[str, Tensor]:
        """Run the update of every batch; see `TD3.update`."""
        td3, size = self.td3, batches.index.shape[-1]
        drawn = [drawn_for(batches, policy) for policy in range(td3.policies)]
        numbers = self.numbers
        if batches.direction is None:
            numbers = numbers._replace(critic_angle=0.0, actor_angle=0.0)
        delay = td3.settings.policy_delay
        steps = [
            (
                int(td3.critic_optimizer.steps[2 * policy]),
                td3.updates,
                int(td3.actor_optimizer.steps[policy]),
                delay,
            )
            for policy in range(td3.policies)
        ]
        if size not in self.memory:
            self.memory[size] = [_memory(td3, size) for _ in range(td3.policies)]
            given = self.networks[0], numbers, drawn[0], self.memory[size][0], steps[0]
            have_compiled(take_updates, ALONE, *given)
        memory = self.memory[size]

        def work(policy: int, team: ThreadTeam) -> None:
            take_updates(team, self.networks[policy], numbers, drawn[policy], memory[policy], steps[policy])

        self.workers.each(td3.policies, work)
        td3.critic_optimizer.steps += len(batches)
        td3.actor_optimizer.steps += (td3.updates + len(batches)) // delay - td3.updates // delay
        td3.updates += len(batches)
        losses = np.array([each.sums[0, 1] + each.sums[1, 1] for each in memory], dtype=np.float32)
        values = np.stack([each.values[0] for each in memory])
        return {"critic_loss": torch.from_numpy(losses), "values": torch.from_numpy(values)}


def _networks(td3: "TD3", policy: int) -> Networks:
    """Return the parameters of a policy as the compiled loops take them; they share memory."""

    def critics(rows: Tensor) -> Array:
        return rows.detach().numpy()[policy].reshape(2, -1)

    return Networks(
        actor=td3.actors.detach().numpy()[policy],
        target_actor=td3.target_actors.numpy()[policy],
        critics=critics(td3.critics),
        target_critics=critics(td3.target_critics),
        actor_first=td3.actor_optimizer.first_moments.numpy()[policy],
        actor_second=td3.actor_optimizer.second_moments.numpy()[policy],
        critic_first=td3.critic_optimizer.first_moments.numpy()[2 * policy : 2 * policy + 2],
        critic_second=td3.critic_optimizer.second_moments.numpy()[2 * policy : 2 * policy + 2],
        actor_widths=np.array(td3.actor.widths),
        critic_widths=np.array(td3.critic.widths),
        kind=NORMED_RELU if td3.settings.layer_norm else RELU,
    )


def drawn_for(batches: SampledBatches, policy: int) -> Drawn:
    """Return what was drawn for one policy as the compiled loops take it."""
    assert batches.weight is not None
    noise = batches.noise[:, :, 0]
    columns = batches.condition, batches.weight, noise, batches.scale
    condition, weight, noise_, scale = (column[policy].contiguous().numpy() for column in columns)
    direction, origin = weight[:0], scale
    if batches.direction is not None and batches.origin is not None:
        direction, origin = batches.direction[policy].contiguous().numpy(), batches.origin[policy].contiguous().numpy()
    index = batches.index[policy].contiguous().numpy()
    return Drawn(batches.rows[policy].numpy(), index, condition, weight, noise_, scale, direction, origin)


def _memory(td3: "TD3", size: int) -> Memory:
    """Return what one policy's updates with batches of this size work in."""
    actions, objectives, inputs = td3.actor.widths[-1], td3.critic.widths[-1], td3.critic.widths[0]
    units = sum(td3.critic.widths[1:-1])
    shapes: dict[str, tuple[int, ...]] = {
        "inputs": (size, inputs),
        "next_inputs": (size, inputs),
        "action_errors": (size, actions),
        "rewards": (size, objectives),
        "continues": (size,),
        "values": (2, size, objectives),
        "next_values": (2, size, objectives),
        "errors": (2, size, objectives),
        "hidden": (2, size * units),
        "normed": (2, size * units),
        "scales": (2, size * (len(td3.critic.widths) - 2)),
        "critic_gradient": (2, td3.critic.num_parameters),
        "actor_gradient": (td3.actor.num_parameters,),
    }
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    return Memory(**arrays, sums=np.zeros((2, 8)))
