"""Transitions that were sampled from a replay buffer for some updates, gathered only when an update needs them."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from morl.learning.scalarization import BoundUtility, UtilityFn
from morl.learning.values import utility


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The transitions of one update, with what decides how vectors of values are compared.

    Attributes:
        observation: [policy, batch, observation], the condition of conditioned networks included.
        action: [policy, batch, action]; a discrete action is its number, width 1.
        reward: [policy, batch, objective].
        next_observation: [policy, batch, observation].
        terminated: [policy, batch, 1], 1 where nothing is bootstrapped from the next observation.
        noise: [policy, draw, batch, action] standard normal, as many draws as the algorithm's update needs.
        utility: utility of vectors of values.
        weight: [policy, batch, objective] w where the utility is w.Q, else None.
        direction: [policy, batch, objective] in which values should point, or None.
        origin: [policy, 1, objective] that values are seen from, or None.
        mask: [policy, batch, choice] what the observations allow, or None: everything.
        next_mask: [policy, batch, choice] what the next observations allow, or None: everything.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor
    noise: Tensor
    utility: UtilityFn
    weight: Tensor | None = None
    direction: Tensor | None = None
    origin: Tensor | None = None
    mask: Tensor | None = None
    next_mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class SampledBatches:
    """The transitions of several updates of every policy, as indices of rows of a replay buffer.

    A row begins with observation (without its pixels), action, reward, next observation, and 1 where the episode
    terminated. Values are in
    units of `scale`: w.Q = (w * scale).(Q / scale).

    Attributes:
        rows: [policy, row, column], contiguous, or the same rows expanded to all policies.
        index: [policy, update, batch] rows of each policy.
        observation_width: columns of an observation in `rows`.
        action_width: columns of an action.
        condition: [policy, update, batch, condition] appended to observation and next observation; may be empty.
        noise: [policy, update, draw, batch, action] standard normal.
        scale: [policy, objective].
        weight: [policy, update, batch, objective] w of linear utilities w.Q, in units of values; None if the utility is
            not linear.
        utility: utility of vectors of values; default: w.Q.
        direction: [policy, update, batch, objective] in which values should point from `origin`, in units of values.
        origin: [policy, objective].
        byte_rows: [policy, row, column] uint8: pixels and action masks, in the places of `rows`; None: there are none.
        byte_columns: "pixels" and "next_pixels", with which observations begin, "mask" or "next_mask" -> number of
            columns of `byte_rows`, in their order.

    Raises:
        ValueError: neither `weight` nor `utility` is given.
    """

    rows: Tensor
    index: Tensor
    observation_width: int
    action_width: int
    condition: Tensor
    noise: Tensor
    scale: Tensor
    weight: Tensor | None = None
    utility: UtilityFn | None = None
    direction: Tensor | None = None
    origin: Tensor | None = None
    byte_rows: Tensor | None = None
    byte_columns: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse batches that nothing can be compared by."""
        if self.weight is None and self.utility is None:
            raise ValueError("weight and utility are None, but one of them must be given")

    def __len__(self) -> int:
        """Return the number of updates."""
        return self.index.shape[1]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batch of one update after the other."""
        for update in range(len(self)):
            yield self._gather(update)

    # --- Parts, for backends that capture updates ---------------------------------------------------------------------

    def parts(self, largest: int) -> "Iterator[SampledBatches]":
        """Yield the same updates in their order, at most `largest` at a time."""
        for start in range(0, len(self), largest):
            part = slice(start, start + largest)
            yield replace(
                self,
                index=self.index[:, part],
                condition=self.condition[:, part],
                noise=self.noise[:, part],
                weight=None if self.weight is None else self.weight[:, part],
                direction=None if self.direction is None else self.direction[:, part],
            )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors in which batches of the same kind differ, by name: all but the rows."""
        tensors = {
            "index": self.index,
            "condition": self.condition,
            "noise": self.noise,
            "scale": self.scale,
            "weight": self.weight,
            "direction": self.direction,
            "origin": self.origin,
        }
        if isinstance(self.utility, BoundUtility):
            tensors |= {"preferences": self.utility.preferences, "bounds": self.utility.bounds}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "SampledBatches":
        """Return batches of the same kind with other tensors.

        Args:
            tensors: all those that `tensors` returns.
        """
        utility = self.utility
        if isinstance(utility, BoundUtility):
            utility = replace(utility, preferences=tensors["preferences"], bounds=tensors["bounds"])
        return replace(
            self,
            index=tensors["index"],
            condition=tensors["condition"],
            noise=tensors["noise"],
            scale=tensors["scale"],
            weight=tensors.get("weight"),
            direction=tensors.get("direction"),
            origin=tensors.get("origin"),
            utility=utility,
        )

    def fixed_parts(self) -> Hashable:
        """Return what batches are made of beside `tensors`: batches of the same kind have the same."""
        utility: object = self.utility
        if isinstance(utility, BoundUtility):
            utility = (utility.utility, utility.augmented)
        byte_rows = None if self.byte_rows is None else self.byte_rows.data_ptr()
        widths = (self.observation_width, self.action_width, *self.byte_columns.items())
        return (self.rows.data_ptr(), byte_rows, widths, utility)

    def _gather(self, update: int) -> Batch:
        widths = [self.observation_width, self.action_width, self.scale.shape[-1], self.observation_width, 1]
        rows = _select_rows(self.rows, self.index[:, update])[..., : sum(widths)]
        observation, action, reward, next_observation, terminated = torch.split(rows, widths, dim=-1)
        condition = self.condition[:, update]
        bytes_ = self._gather_bytes(update)
        if condition.shape[-1] > 0 or "pixels" in bytes_:
            observation = _joined(bytes_.get("pixels"), observation, condition)
            next_observation = _joined(bytes_.get("next_pixels"), next_observation, condition)
        weight = None if self.weight is None else self.weight[:, update]
        return Batch(
            observation=observation,
            action=action,
            reward=reward / self.scale.unsqueeze(1),
            next_observation=next_observation,
            terminated=terminated,
            noise=self.noise[:, update],
            utility=self.utility or linear_utility(weight),
            weight=weight,
            direction=None if self.direction is None else self.direction[:, update],
            origin=None if self.origin is None else self.origin.unsqueeze(1),
            **{name: bytes_[name].bool() for name in ("mask", "next_mask") if name in bytes_},
        )

    def _gather_bytes(self, update: int) -> dict[str, Tensor]:
        """Return pixels and masks [policy, batch, column] of a batch by name, as bytes; empty where there are none."""
        if self.byte_rows is None:
            return {}
        found = _select_rows(self.byte_rows, self.index[:, update])
        columns = torch.split(found, list(self.byte_columns.values()), dim=-1)
        return dict(zip(self.byte_columns, columns, strict=True))


def _joined(pixels: Tensor | None, observation: Tensor, condition: Tensor) -> Tensor:
    """Return [policy, batch, pixels + observation + condition] as numbers."""
    parts = [observation] if pixels is None else [pixels.to(observation.dtype), observation]
    return torch.cat([*parts, condition], dim=-1)


def _select_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Return rows [policy, batch, column] by their index [policy, batch]: one gather, never a copy of all rows."""
    policies, count, width = rows.shape
    if rows.stride(0) == 0:  # the same rows for all policies
        flat = rows[0]
    else:
        flat = rows.view(-1, width)
        index = index + torch.arange(policies, device=index.device).unsqueeze(1) * count
    return flat.index_select(0, index.reshape(-1)).view((*index.shape, width))


def linear_utility(weight: Tensor | None) -> UtilityFn:
    """Return the utility w.Q for weights [policy, batch, objective]."""
    assert weight is not None

    def linear(values: Tensor, observations: Tensor) -> Tensor:  # noqa: ARG001
        return utility(values, weight if values.dim() == weight.dim() else weight.unsqueeze(2))

    return linear


def linear_weights(utility: UtilityFn, observations: Tensor, objectives: int) -> Tensor:
    """Return the weights w [policy, batch, objective] of a utility w.Q + constant: its values at the unit vectors.

    Args:
        utility: linear in the values.
        observations: [policy, batch, observation].
        objectives: number of objectives.
    """
    shape = (*observations.shape[:2], objectives, objectives)
    units = torch.eye(objectives, device=observations.device).expand(shape)
    return utility(units, observations) - utility(torch.zeros_like(units), observations)
