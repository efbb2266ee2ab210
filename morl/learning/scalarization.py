"""From vector values to utilities: checks and scaling, the augmented state, and utilities bound to policies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.protocols import FloatArray
from morl.utilities import Utility, Vectors, failure, find_utility

ScaledUtility: TypeAlias = Callable[[Vectors, Vectors, Vectors, Vectors], Vectors]
"""(returns, preferences, lowest, ideal) [..., objective] -> utilities [...]."""

UtilityFn: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(vector values [policy, batch, (action,) objective], observations [policy, batch, width]) -> utilities [...]."""


def check_utility(name: str, utility: Utility, num_objectives: int) -> None:
    """Try a utility on arrays and on tensors.

    Args:
        name: of the utility, for the message.
        utility: the function.
        num_objectives: length of a return.

    Raises:
        ValueError: it fails, returns the wrong shape, or breaks the gradient.
    """
    returns = np.full((2, 3, num_objectives), 0.5)
    preferences = np.full((2, 1, num_objectives), 1.0 / num_objectives)
    ideal = np.ones((2, 1, num_objectives))
    return_tensor = torch.as_tensor(returns, dtype=torch.float32).requires_grad_()
    preference_tensor = torch.as_tensor(preferences, dtype=torch.float32)
    ideal_tensor = torch.as_tensor(ideal, dtype=torch.float32)
    try:
        of_arrays = utility(returns, preferences, ideal)
        of_tensors = utility(return_tensor, preference_tensor, ideal_tensor)
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(
            f"utility is {name!r}, but on returns [2, 3, {num_objectives}] it raises {failure(error)}"
        ) from error
    array_shape = tuple(np.shape(of_arrays))
    tensor_shape = tuple(getattr(of_tensors, "shape", ()))
    if array_shape != (2, 3) or tensor_shape != (2, 3) or not isinstance(of_tensors, Tensor):
        raise ValueError(
            f"utility is {name!r}, but for returns [2, 3, {num_objectives}] as arrays and tensors it returns"
            f" {array_shape} and {tensor_shape}: it must reduce the last axis and keep arrays arrays, tensors tensors"
        )
    if not of_tensors.requires_grad or not torch.autograd.grad(of_tensors.sum(), return_tensor)[0].isfinite().all():
        raise ValueError(f"utility is {name!r}, but it has no finite gradient: use operations of tensors")


def scaled_utility(utility: Utility | str, scale: bool) -> ScaledUtility:
    """Return u(returns, preferences, lowest, ideal).

    Args:
        utility: u(returns, preferences, ideal), or its name.
        scale: whether u sees each objective as a share of its range between `lowest` and `ideal`.
    """
    function = find_utility(utility) if isinstance(utility, str) else utility
    if not scale:
        return lambda returns, preferences, lowest, ideal: function(returns, preferences, ideal)  # noqa: ARG005

    def of_shares(returns: Vectors, preferences: Vectors, lowest: Vectors, ideal: Vectors) -> Vectors:
        span = ideal - lowest
        span = span.clip(1e-6)
        return function((returns - lowest) / span, preferences, (ideal - lowest) / span)

    return of_shares


class AugmentedState:
    """The accrued reward as further columns of an observation, in units of about one.

    The columns are the discounted sum of rewards of each objective so far, divided by `units`, and the discount gamma^t
    of the next reward. A policy that sees them can weigh future rewards against past ones (ESR, Roijers et al. 2018).

    Args:
        observation_width: columns of the observation itself; the accrued reward follows them.
        units: [objective] size of a typical return.
        enabled: False leaves observations as they are.
    """

    def __init__(self, observation_width: int, units: FloatArray, enabled: bool) -> None:
        self.observation_width = observation_width
        self.units = units
        self.enabled = enabled
        self.width = len(units) + 1 if enabled else 0
        self._units_on: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def start(self, count: int) -> FloatArray:
        """Return the accrued reward at the start of `count` episodes: [count, objective + 1], the discount 1 last."""
        accrued = np.zeros((count, len(self.units) + 1))
        accrued[:, -1] = 1.0
        return accrued

    def augment(self, encoded: NDArray[np.float32], accrued: FloatArray | None) -> NDArray[np.float32]:
        """Return the rows [env, observation_width + width] that networks see.

        Args:
            encoded: [env, observation_width] float32.
            accrued: [env, objective + 1] the discounted sum of rewards so far and the discount of the next reward;
                default: the start of an episode.
        """
        if not self.enabled:
            return encoded
        if accrued is None:
            accrued = self.start(len(encoded))
        columns = accrued / np.append(self.units, 1.0)
        augmented: NDArray[np.float32] = np.hstack([encoded, columns]).astype(np.float32)
        return augmented

    def episode_return(self, values: Tensor, observations: Tensor) -> Tensor:
        """Return R- + gamma^t Q: the return of the whole episode, if its remainder returns `values`.

        Args:
            values: [policy, batch, (action,) objective] Q.
            observations: [policy, batch, width] augmented.
        """
        if not self.enabled:
            return values
        last = self.observation_width + len(self.units)
        accrued = observations[..., self.observation_width : last] * self._units_like(observations)
        discount = observations[..., last : last + 1]
        if values.dim() > accrued.dim():  # an action axis
            accrued = accrued.unsqueeze(-2)
            discount = discount.unsqueeze(-2)
        return accrued + discount * values

    def _units_like(self, observations: Tensor) -> Tensor:
        """Return the units [objective] as a tensor where the observations are.

        They are copied to a GPU once: every copy waits for it, and updates must not wait.
        """
        if observations.device.type == "cpu":
            return observations.new_tensor(self.units)
        place = (observations.device, observations.dtype)
        if place not in self._units_on:
            self._units_on[place] = observations.new_tensor(self.units)
        return self._units_on[place]


@dataclass(frozen=True)
class BoundUtility:
    """The utility of vector values to each policy; a `UtilityFn` that shows the tensors that it depends on.

    Attributes:
        utility: u(returns, preferences, lowest, ideal), as `scaled_utility` returns it.
        augmented: how observations hold the accrued reward.
        preferences: [policy, 1 or batch, objective].
        bounds: [policy, 2, objective] lowest and ideal return of each policy.
    """

    utility: ScaledUtility
    augmented: AugmentedState
    preferences: Tensor
    bounds: Tensor

    def __call__(self, values: Tensor, observations: Tensor) -> Tensor:
        """Return the utilities [policy, batch, (action)].

        Args:
            values: [policy, batch, (action,) objective].
            observations: [policy, batch, width].
        """
        preferences = self.preferences
        lowest = self.bounds[:, 0:1]
        ideal = self.bounds[:, 1:2]
        returns = self.augmented.episode_return(values, observations)
        if values.dim() > 3:  # an action axis
            preferences = preferences.unsqueeze(2)
            lowest = lowest.unsqueeze(2)
            ideal = ideal.unsqueeze(2)
        return self.utility(returns, preferences, lowest, ideal)  # type: ignore[no-any-return]


def bind_utility(
    utility: ScaledUtility, augmented: AugmentedState, preferences: Tensor, bounds: Tensor
) -> BoundUtility:
    """Return the utility of vector values to each policy.

    Args:
        utility: u(returns, preferences, lowest, ideal), as `scaled_utility` returns it.
        augmented: how observations hold the accrued reward.
        preferences: [policy, 1 or batch, objective].
        bounds: [policy, 2, objective] lowest and ideal return of each policy.
    """
    return BoundUtility(utility, augmented, preferences, bounds)
