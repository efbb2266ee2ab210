"""The update of `morl.learning.td3` by the compiled loops of `td3_kernel`, policies spread over threads."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.network_kernel import NORMED_RELU, RELU
from morl.learning.td3_kernel import actor_backward, actor_forward, critic_backward, critic_errors, critic_forward

if TYPE_CHECKING:
    from morl.learning.td3 import TD3, Penalty

COLUMNS = ("state", "next_state", "action", "noise", "reward", "weight", "continues")


def can_compile(td3: "TD3") -> bool:
    """Return whether the compiled update is the same: single precision on a CPU."""
    return td3.actors.device.type == "cpu" and td3.settings.precision == "float32"


class CompiledUpdate:
    """Takes gradient steps for a `TD3`, in place; equal to its own update to rounding.

    Policies do not depend on each other, so results do not depend on the number of threads.
    """

    def __init__(self, td3: "TD3") -> None:
        self.td3 = td3
        self.actor_widths, self.critic_widths = np.array(td3.actor.widths), np.array(td3.critic.widths)
        self.kind = NORMED_RELU if td3.settings.layer_norm else RELU
        shape = (td3.policies, 2, -1)
        self.actors, self.critics = td3.actors.detach().numpy(), td3.critics.detach().numpy().reshape(shape)
        self.target_actors, self.target_critics = td3.target_actors.numpy(), td3.target_critics.numpy().reshape(shape)
        self.moments = {
            "actor": (td3.actor_optimiser.first_moments.numpy(), td3.actor_optimiser.second_moments.numpy()),
            "critic": (
                td3.critic_optimiser.first_moments.numpy().reshape(shape),
                td3.critic_optimiser.second_moments.numpy().reshape(shape),
            ),
        }
        threads = min(td3.policies, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.buffers: dict[int, dict[str, Any]] = {}

    def __call__(
        self, batch: Mapping[str, Tensor], critic_penalty: "Penalty | None", actor_penalty: "Penalty | None"
    ) -> dict[str, Tensor]:
        """Take one update; arguments and result are those of `TD3.update`."""
        columns = [batch[name].contiguous().numpy() for name in COLUMNS]
        buffers, td3 = self._buffers(columns), self.td3
        td3.critic_optimiser.steps += 1
        losses = self._update_critics(columns, buffers, critic_penalty)
        looked_at = torch.from_numpy(buffers["values"][:, 0].copy())
        td3.updates += 1
        if td3.updates % td3.settings.policy_delay == 0:
            td3.actor_optimiser.steps += 1
            self._update_actors(columns, buffers, actor_penalty)
        return {"loss": torch.from_numpy(losses.astype(np.float32)), "values": looked_at}

    def _update_critics(
        self, columns: list[Any], buffers: dict[str, Any], penalty: "Penalty | None"
    ) -> NDArray[np.float64]:
        """Take a step with all critics; return the loss of each policy [policy]."""
        settings, kind = self.td3.settings, self.kind
        step, losses = float(self.td3.critic_optimiser.steps[0]), np.zeros(self.td3.policies)

        def forward(policy: int) -> None:
            mine = tuple(column[policy] for column in columns)
            noise = settings.discount, settings.target_noise, settings.target_noise_clip
            work, inputs, values = self._work(buffers, policy), buffers["inputs"][policy], buffers["values"][policy]
            targets, errors = buffers["targets"][policy], buffers["errors"][policy]
            widths = self.actor_widths, self.critic_widths
            critic_forward(self._parts(policy), *widths, kind, mine, *noise, work, inputs, values, targets)
            losses[policy] = critic_errors(values, targets, settings.loss == "huber", errors)

        def backward(policy: int) -> None:
            work, inputs, errors = self._work(buffers, policy), buffers["inputs"][policy], buffers["errors"][policy]
            moments = self.moments["critic"][0][policy], self.moments["critic"][1][policy]
            given = self.critics[policy], self.critic_widths, kind, inputs, work, errors
            rates = step, settings.learning_rate, settings.gradient_clip
            critic_backward(*given, buffers["critic_gradient"][policy], moments, *rates)

        if penalty is None:
            self._each(forward, backward)
        else:
            self._each(forward)
            losses += self._penalise(penalty, buffers["values"], buffers["errors"])
            self._each(backward)
        return losses

    def _update_actors(self, columns: list[Any], buffers: dict[str, Any], penalty: "Penalty | None") -> None:
        """Take a step with all actors, then move the targets."""
        settings, kind = self.td3.settings, self.kind
        states, weights = columns[0], columns[5]
        step, size = float(self.td3.actor_optimiser.steps[0]), states.shape[1]
        values, errors = buffers["values"][:, :1], buffers["errors"][:, :1]
        errors[:] = -weights[:, None] / np.float32(size)  # of the loss -w.Q_1, a mean over the batch

        def forward(policy: int) -> None:
            work, inputs = self._work(buffers, policy), buffers["inputs"][policy]
            rows = self.actors[policy], self.critics[policy, 0]
            actor_forward(
                *rows, self.actor_widths, self.critic_widths, kind, states[policy], work, inputs, values[policy, 0]
            )

        def backward(policy: int) -> None:
            work, inputs = self._work(buffers, policy), buffers["inputs"][policy]
            moments = self.moments["actor"][0][policy], self.moments["actor"][1][policy]
            rates = step, self.td3.actor_rate(), settings.gradient_clip, settings.target_rate
            leaky = settings.action_gradient == "leaky"
            given = self._parts(policy), self.actor_widths, self.critic_widths, kind, states[policy], work, inputs
            actor_backward(*given, errors[policy, 0], buffers["actor_gradient"][policy], moments, *rates, leaky)

        if penalty is None:
            self._each(forward, backward)
        else:
            self._each(forward)
            self._penalise(lambda values: penalty(values.squeeze(1)).unsqueeze(1), values, errors)
            self._each(backward)

    def _each(self, *parts: Callable[[int], None]) -> None:
        """Do all parts of the work for every policy."""

        def work(policy: int) -> None:
            for part in parts:
                part(policy)

        if self.pool is None:
            for policy in range(self.td3.policies):
                work(policy)
        else:
            list(self.pool.map(work, range(self.td3.policies)))

    @staticmethod
    def _penalise(penalty: "Penalty", values: NDArray[np.float32], errors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Add the gradient of a penalty's mean over the batch to errors [policy, critic, batch, objective].

        Returns the penalty of each policy [policy], summed over critics.
        """
        leaf = torch.from_numpy(values).requires_grad_()
        penalties = penalty(leaf).mean(dim=-1)
        (slopes,) = torch.autograd.grad(penalties.sum(), leaf)
        errors += slopes.numpy()
        found: NDArray[np.float64] = penalties.detach().sum(dim=1).double().numpy()
        return found

    def _parts(self, policy: int) -> tuple[NDArray[np.float32], ...]:
        return self.target_actors[policy], self.target_critics[policy], self.actors[policy], self.critics[policy]

    @staticmethod
    def _work(buffers: dict[str, Any], policy: int) -> tuple[NDArray[np.float32], ...]:
        names = ("hidden", "normed", "scales", "spare", "action_errors")
        return tuple(buffers[name][policy] for name in names)

    def _buffers(self, columns: list[Any]) -> dict[str, Any]:
        """Return the memory that an update of this batch size works in."""
        policies, size, width = columns[0].shape
        if size not in self.buffers:
            actions, objectives = columns[2].shape[2], columns[4].shape[2]
            units, layers = int(self.critic_widths[1:-1].sum()), len(self.critic_widths) - 2
            widest = int(max(*self.actor_widths, *self.critic_widths))
            shapes = {
                "hidden": (2, size * units),
                "normed": (2, size * units),
                "scales": (2, size * layers),
                "spare": (size * (width + actions + widest),),
                "action_errors": (size, actions),
                "inputs": (size, width + actions),
                "values": (2, size, objectives),
                "errors": (2, size, objectives),
                "targets": (size, objectives),
                "critic_gradient": self.critics.shape[1:],
                "actor_gradient": self.actors.shape[1:],
            }
            self.buffers[size] = {
                name: np.zeros((policies, *shape), dtype=np.float32) for name, shape in shapes.items()
            }
        found: dict[str, Any] = self.buffers[size]
        return found
