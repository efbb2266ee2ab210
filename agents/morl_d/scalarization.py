"""What a vector return is worth to each policy of a population: utility, ideal point, scale, accrued reward."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl import utilities
from morl.learning.off_policy import UtilityFn

Array = NDArray[np.float64]
Utility = Callable[[Any, Any, Any], Any]
"""(returns, preferences, ideal) [..., objective] -> values [...]; of NumPy arrays and of tensors."""

BUILT_IN: dict[str, Utility] = {
    "linear": lambda returns, preferences, ideal: utilities.linear(returns, preferences),  # noqa: ARG005
    "tchebycheff": utilities.tchebycheff,
    "augmented-tchebycheff": utilities.augmented_tchebycheff,
    "smooth-tchebycheff": utilities.smooth_tchebycheff,
    "pbi": utilities.pbi,
}


def find_utility(name: str) -> Utility:
    """Return a utility by name, or the user's own function "module:name".

    Raises:
        ValueError: there is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ValueError(
            f"utility is {name!r}, but must be one of {', '.join(BUILT_IN)}, or your own 'module:function'"
        )
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"utility is {name!r}, but it cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(f"utility is {name!r}, but that is no function")
    return function  # type: ignore[no-any-return]


def check_utility(name: str, utility: Utility, objectives: int) -> None:
    """Try a utility on arrays and on tensors.

    Raises:
        ValueError: it fails, returns the wrong shape, or breaks the gradient.
    """
    returns, preferences = np.full((2, 3, objectives), 0.5), np.full((2, 1, objectives), 1.0 / objectives)
    ideal = np.ones((2, 1, objectives))
    tensors = [torch.as_tensor(each, dtype=torch.float32) for each in (returns, preferences, ideal)]
    climbed = tensors[0].requires_grad_()
    try:
        of_arrays, of_tensors = utility(returns, preferences, ideal), utility(*tensors)
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(
            f"utility is {name!r}, but on returns [2, 3, {objectives}] it raises {type(error).__name__}: {error}"
        ) from error
    shapes = tuple(np.shape(of_arrays)), tuple(getattr(of_tensors, "shape", ()))
    if shapes != ((2, 3), (2, 3)) or not isinstance(of_tensors, Tensor):
        raise ValueError(
            f"utility is {name!r}, but of returns [2, 3, {objectives}] as arrays and tensors it makes {shapes[0]} and"
            f" {shapes[1]}: it must sum up the last axis and return what it is given, arrays or tensors"
        )
    if not of_tensors.requires_grad or not torch.autograd.grad(of_tensors.sum(), climbed)[0].isfinite().all():
        raise ValueError(
            f"utility is {name!r}, but it has no finite gradient: it must be made of operations on tensors"
        )


class Bounds:
    """Between which returns each objective lies: the ideal point above, the worst of the archive below.

    Args:
        objectives: number of objectives.
        ideal: [objective], static; None for the best return seen so far in each objective, in training as well: an
            ideal that only evaluations move would give nobody a reason to go beyond it.
        margin: how far the ideal lies beyond the best, as a share of the range.
        lowest: [objective], where the range begins while the ideal is static.
    """

    def __init__(self, objectives: int, ideal: Array | None, margin: float, lowest: Array | None) -> None:
        self.static, self.margin = ideal is not None, margin
        self.ideal = np.zeros(objectives) if ideal is None else np.array(ideal, dtype=np.float64)
        self.lowest = self.ideal - 1.0 if lowest is None else np.array(lowest, dtype=np.float64)
        self.best, self.worst = np.full(objectives, -np.inf), np.full(objectives, np.inf)

    def see(self, returns: Array) -> None:
        """Remember the best of the returns [n, objective] of training episodes; `update` moves the ideal there."""
        self.best = np.maximum(self.best, returns.max(axis=0, initial=-np.inf))

    def update(self, values: Array, front: Array) -> None:
        """Take in new mean returns [n, objective] and the archive's points [k, objective].

        Where the archive knows one value only of an objective, the range begins at the worst return ever seen, or one
        below the best: a range of nothing would make every difference infinitely large.
        """
        if self.static:
            return
        self.best = np.maximum(self.best, values.max(axis=0))
        self.worst = np.minimum(self.worst, values.min(axis=0))
        self.lowest = front.min(axis=0)
        self.lowest = np.where(self.lowest < self.best, self.lowest, self.worst)
        self.lowest = np.where(self.lowest < self.best, self.lowest, self.best - 1.0)
        self.ideal = self.best + self.margin * (self.best - self.lowest)

    def rows(self) -> Array:
        """Return lowest and ideal [2, objective]."""
        return np.stack([self.lowest, self.ideal])

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen."""
        return {"best": self.best, "worst": self.worst, "lowest": self.lowest, "ideal": self.ideal}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.best, self.worst = state["best"], state["worst"]
        self.lowest, self.ideal = state["lowest"], state["ideal"]


def scaled_utility(utility: Utility, scaled: bool) -> Callable[[Any, Any, Any, Any], Any]:
    """Return u(returns, preferences, lowest, ideal), with every objective as a share of its range where `scaled`."""
    if not scaled:
        return lambda returns, preferences, lowest, ideal: utility(returns, preferences, ideal)  # noqa: ARG005

    def of_shares(returns: Any, preferences: Any, lowest: Any, ideal: Any) -> Any:
        span = ideal - lowest
        span = span.clip(1e-6)
        return utility((returns - lowest) / span, preferences, (ideal - lowest) / span)

    return of_shares


class Accrual:
    """How observations tell what their episode has paid so far: as further columns, in units of about one.

    The columns are the discounted sum of rewards of each objective, divided by `units`, and the discount gamma^t of the
    next reward. Policies that act on them can weigh what is to come against what has been (ESR, Roijers et al. 2018).
    """

    def __init__(self, width: int, units: Array, enabled: bool) -> None:
        self.first, self.units, self.enabled = width, units, enabled
        self.width = len(units) + 1 if enabled else 0

    def columns(self, accrued: Array) -> Array:
        """Return the columns [env, objective + 1] for what was accrued [env, objective + 1], discount last."""
        columns: Array = accrued / np.append(self.units, 1.0)
        return columns

    def total(self, values: Tensor, observations: Tensor) -> Tensor:
        """Return R- + gamma^t Q: the whole episode's return, if what is to come is `values` [policy, batch, ...]."""
        if not self.enabled:
            return values
        middle = self.first + len(self.units)
        before = observations[..., self.first : middle] * observations.new_tensor(self.units)
        factor = observations[..., middle : middle + 1]
        if values.dim() > before.dim():  # an action axis
            before, factor = before.unsqueeze(-2), factor.unsqueeze(-2)
        return before + factor * values


def worth_of(
    utility: Callable[[Any, Any, Any, Any], Any], accrual: Accrual, preferences: Tensor, bounds: Tensor
) -> UtilityFn:
    """Return the utility of vector values to each policy.

    Args:
        utility: as `scaled_utility` returns it.
        accrual: what observations tell of the past.
        preferences: [policy, 1 or batch, objective].
        bounds: [policy, 2, objective], lowest and ideal of each policy.
    """
    lowest, ideal = bounds[:, 0:1], bounds[:, 1:2]

    def worth(values: Tensor, observations: Tensor) -> Tensor:
        returns = accrual.total(values, observations)
        parts = (preferences, lowest, ideal)
        if values.dim() > 3:
            parts = tuple(part.unsqueeze(2) for part in parts)  # type: ignore[assignment]
        return utility(returns, *parts)  # type: ignore[no-any-return]

    return worth
