"""What was drawn from a replay for some updates to come, gathered only when it is needed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SampledBatches:
    """Transitions for several updates of every policy, by the rows of a replay in which they stand.

    A row begins with observation, action, reward, next observation, and 1 where an episode has terminated. Values are
    in units of `scale`: w.Q = (w * scale).(Q / scale).
    """

    rows: Tensor
    """[policy, row, ...]."""
    width: int
    """Of an observation."""
    index: Tensor
    """[policy, update, batch] rows of the policy's own."""
    condition: Tensor
    """[policy, update, batch, condition]: what states end with, after the observation; perhaps nothing."""
    weight: Tensor
    """[policy, update, batch, objective]: the w of utilities w.Q, in units of values."""
    noise: Tensor
    """[policy, update, batch, action], standard normal."""
    scale: Tensor
    """[policy, objective]."""
    direction: Tensor | None = None
    """[policy, update, batch, objective] where values shall point, from `origin`, in units of values."""
    origin: Tensor | None = None
    """[policy, objective]."""

    def __len__(self) -> int:
        """Return the number of updates."""
        return self.index.shape[1]

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Yield one batch an update, as `morl.learning.td3.TD3.update` takes it."""
        policies = torch.arange(len(self.rows), device=self.rows.device).unsqueeze(1)
        parts = [self.width, self.noise.shape[-1], self.weight.shape[-1], self.width, 1]
        for number, index in enumerate(self.index.unbind(dim=1)):
            rows = self.rows[policies, index][..., : sum(parts)]
            observation, action, reward, following, terminated = torch.split(rows, parts, dim=-1)
            condition = self.condition[:, number]
            batch = {
                "state": torch.cat([observation, condition], dim=-1),
                "next_state": torch.cat([following, condition], dim=-1),
                "action": action,
                "noise": self.noise[:, number],
                "reward": reward / self.scale.unsqueeze(1),
                "weight": self.weight[:, number],
                "continues": 1.0 - terminated,
            }
            if self.direction is not None and self.origin is not None:
                batch |= {"direction": self.direction[:, number], "origin": self.origin.unsqueeze(1)}
            yield batch

    @staticmethod
    def of(batch: Mapping[str, Tensor]) -> "SampledBatches":
        """Return the draws whose only batch is this one."""
        state = batch["state"]
        policies, size, width = state.shape
        columns = (batch[name] for name in ("state", "action", "reward", "next_state"))
        rows = torch.cat([*columns, 1.0 - batch["continues"]], dim=-1)
        direction, origin = batch.get("direction"), batch.get("origin")
        return SampledBatches(
            rows=rows,
            width=width,
            index=torch.arange(size, device=state.device).expand(policies, 1, size),
            condition=state[:, None, :, :0],
            weight=batch["weight"].unsqueeze(1),
            noise=batch["noise"].unsqueeze(1),
            scale=torch.ones_like(batch["weight"][:, 0]),
            direction=None if direction is None else direction.unsqueeze(1),
            origin=None if origin is None else origin.squeeze(1),
        )
