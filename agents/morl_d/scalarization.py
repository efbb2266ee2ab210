"""The utility of a vector return to each policy of a population: scalarization, ideal point, scale, accrued reward."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl import utilities
from morl.learning.off_policy import UtilityFn
from morl.protocols import FloatArray

Values = TypeVar("Values", FloatArray, Tensor)
"""A NumPy array or a tensor; what a function takes of one kind it returns of the same."""


class Utility(Protocol):
    """A scalarization of vector returns, of NumPy arrays and of tensors."""

    def __call__(self, returns: Values, preferences: Values, ideal: Values, /) -> Values:
        """Return the utilities [...] of returns, preferences and ideal points [..., objective]."""
        ...


class ScaledUtility(Protocol):
    """A utility that also takes the lower end of every objective's range."""

    def __call__(self, returns: Values, preferences: Values, lowest: Values, ideal: Values, /) -> Values:
        """Return the utilities [...] of returns, preferences, lowest returns and ideal points [..., objective]."""
        ...


BindUtility: TypeAlias = Callable[[Tensor, Tensor], UtilityFn]
"""(preferences [policy, 1 or batch, objective], bounds [policy, 2, objective]) -> the utility under them."""

BUILT_IN: dict[str, Utility] = {
    "linear": lambda returns, preferences, ideal: utilities.linear(returns, preferences),  # noqa: ARG005
    "tchebycheff": utilities.tchebycheff,
    "augmented-tchebycheff": utilities.augmented_tchebycheff,
    "smooth-tchebycheff": utilities.smooth_tchebycheff,
    "pbi": utilities.pbi,
}


def find_utility(name: str) -> Utility:
    """Return a utility by name, or a user's own function "module:name".

    Args:
        name: key of `BUILT_IN`, or "module:name".

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
    """Call a user's utility on arrays and on tensors.

    Args:
        name: of the utility, for messages.
        utility: the function.
        objectives: number of objectives.

    Raises:
        ValueError: it fails, returns the wrong shape, or has no finite gradient.
    """
    returns = np.full((2, 3, objectives), 0.5)
    preferences = np.full((2, 1, objectives), 1.0 / objectives)
    ideal = np.ones((2, 1, objectives))
    returns_tensor, preferences_tensor, ideal_tensor = (
        torch.as_tensor(array, dtype=torch.float32) for array in (returns, preferences, ideal)
    )
    returns_tensor.requires_grad_()
    try:
        of_arrays: object = utility(returns, preferences, ideal)
        of_tensors: object = utility(returns_tensor, preferences_tensor, ideal_tensor)
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(
            f"utility is {name!r}, but on returns [2, 3, {objectives}] it raises {type(error).__name__}: {error}"
        ) from error
    array_shape = np.shape(of_arrays)  # type: ignore[call-overload]
    tensor_shape = tuple(getattr(of_tensors, "shape", ()))
    if not isinstance(of_tensors, Tensor) or (array_shape, tensor_shape) != ((2, 3), (2, 3)):
        raise ValueError(
            f"utility is {name!r}, but of returns [2, 3, {objectives}] as arrays and tensors it makes {array_shape} and"
            f" {tensor_shape}: it must sum up the last axis and return what it is given, arrays or tensors"
        )
    if not of_tensors.requires_grad or not torch.autograd.grad(of_tensors.sum(), returns_tensor)[0].isfinite().all():
        raise ValueError(
            f"utility is {name!r}, but it has no finite gradient: it must be made of operations on tensors"
        )


def scaled_utility(utility: Utility, scaled: bool) -> ScaledUtility:
    """Return the utility as a function of returns, preferences, lowest returns and ideal points.

    Args:
        utility: of returns, preferences and ideal points.
        scaled: whether returns and ideal points enter it as shares of each objective's range.
    """

    def of_returns(returns: Values, preferences: Values, lowest: Values, ideal: Values) -> Values:  # noqa: ARG001
        return utility(returns, preferences, ideal)

    def of_shares(returns: Values, preferences: Values, lowest: Values, ideal: Values) -> Values:
        span = (ideal - lowest).clip(1e-6)
        return utility((returns - lowest) / span, preferences, (ideal - lowest) / span)

    return of_shares if scaled else of_returns


class ReturnBounds:
    """The range of returns in each objective: from the worst of the archive to the ideal point.

    Args:
        objectives: number of objectives.
        ideal: static ideal point [objective]; None: the best return seen so far in each objective, in training
            episodes too. With an ideal that only evaluations move, no policy gains by exceeding the best evaluation.
        margin: distance of the running ideal beyond the best return, as a share of the range.
        lowest: lower end of the range [objective] with a static ideal; None: one below the ideal.
    """

    def __init__(self, objectives: int, ideal: FloatArray | None, margin: float, lowest: FloatArray | None) -> None:
        self.static = ideal is not None
        self.margin = margin
        self.ideal = np.zeros(objectives) if ideal is None else np.array(ideal, dtype=np.float64)
        self.lowest = self.ideal - 1.0 if lowest is None else np.array(lowest, dtype=np.float64)
        self.best = np.full(objectives, -np.inf)
        self.worst = np.full(objectives, np.inf)

    def observe(self, returns: FloatArray) -> None:
        """Record the best of the returns of training episodes; the next `update` moves the ideal there.

        Args:
            returns: [episode, objective], discounted.
        """
        self.best = np.maximum(self.best, returns.max(axis=0, initial=-np.inf))

    def update(self, returns: FloatArray, front: FloatArray) -> None:
        """Move a running ideal and the lower end after an evaluation.

        Where the archive holds a single value of an objective, the range starts at the worst return ever seen, or one
        below the best: an empty range would make every difference infinitely large.

        Args:
            returns: mean returns of the policies [policy, objective].
            front: points of the archive [point, objective].
        """
        if self.static:
            return
        self.best = np.maximum(self.best, returns.max(axis=0))
        self.worst = np.minimum(self.worst, returns.min(axis=0))
        self.lowest = front.min(axis=0)
        self.lowest = np.where(self.lowest < self.best, self.lowest, self.worst)
        self.lowest = np.where(self.lowest < self.best, self.lowest, self.best - 1.0)
        self.ideal = self.best + self.margin * (self.best - self.lowest)

    def as_array(self) -> FloatArray:
        """Return lowest and ideal returns [2, objective]."""
        return np.stack([self.lowest, self.ideal])

    def state_dict(self) -> dict[str, FloatArray]:
        """Return the state for a checkpoint."""
        return {"best": self.best, "worst": self.worst, "lowest": self.lowest, "ideal": self.ideal}

    def load_state_dict(self, state: Mapping[str, FloatArray]) -> None:
        """Restore a state that `state_dict` returned."""
        self.best = state["best"]
        self.worst = state["worst"]
        self.lowest = state["lowest"]
        self.ideal = state["ideal"]


class AugmentedState:
    """The observation with the episode's accrued reward as further columns, each in units of about one.

    The columns are the discounted sum of rewards so far of each objective, divided by `units`, and the discount gamma^t
    of the next reward. A policy that observes them can weigh the future rewards against the accrued ones (ESR, Roijers
    et al. 2018).

    Args:
        observation_size: number of columns of the observation itself.
        units: unit of the accrued reward of each objective [objective].
        enabled: whether policies observe the further columns.
    """

    def __init__(self, observation_size: int, units: FloatArray, enabled: bool) -> None:
        self.observation_size = observation_size
        self.units = units
        self.enabled = enabled
        self.extra_columns = len(units) + 1 if enabled else 0

    @property
    def size(self) -> int:
        """Return the number of columns of the whole."""
        return self.observation_size + self.extra_columns

    def start(self, num_envs: int) -> FloatArray:
        """Return the accrued reward [env, objective + 1] at the start of an episode: zeros, and the discount 1."""
        accrued = np.zeros((num_envs, len(self.units) + 1))
        accrued[:, -1] = 1.0
        return accrued

    def augment(self, observations: NDArray[np.float32], accrued: FloatArray) -> NDArray[np.float32]:
        """Return observations [env, size] with the accrued reward, where enabled.

        Args:
            observations: encoded [env, observation_size].
            accrued: discounted rewards so far and the discount of the next reward [env, objective + 1].
        """
        if not self.enabled:
            return observations
        return np.hstack([observations, self.columns(accrued)]).astype(np.float32)

    def columns(self, accrued: FloatArray) -> FloatArray:
        """Return the further columns [env, objective + 1] for the accrued reward [env, objective + 1]."""
        columns: FloatArray = accrued / np.append(self.units, 1.0)
        return columns

    def episode_return(self, values: Tensor, observations: Tensor) -> Tensor:
        """Return R- + gamma^t Q, the return of the whole episode; Q itself where not enabled.

        Args:
            values: Q, the expected return from here on [policy, batch, (action,) objective].
            observations: augmented [policy, batch, size].
        """
        if not self.enabled:
            return values
        last = self.observation_size + len(self.units)
        accrued = observations[..., self.observation_size : last] * observations.new_tensor(self.units)
        discount = observations[..., last : last + 1]
        if values.dim() > accrued.dim():  # an action axis
            accrued = accrued.unsqueeze(-2)
            discount = discount.unsqueeze(-2)
        return accrued + discount * values


def bind_utility(utility: ScaledUtility, state: AugmentedState, preferences: Tensor, bounds: Tensor) -> UtilityFn:
    """Return the utility of vector values to each policy.

    Args:
        utility: of returns, preferences, lowest returns and ideal points.
        state: layout of the observations, which may hold the accrued reward.
        preferences: [policy, 1 or batch, objective].
        bounds: lowest and ideal returns of each policy [policy, 2, objective].
    """
    lowest = bounds[:, 0:1]
    ideal = bounds[:, 1:2]

    def utility_fn(values: Tensor, observations: Tensor) -> Tensor:
        returns = state.episode_return(values, observations)
        if values.dim() > 3:  # an action axis
            return utility(returns, preferences.unsqueeze(2), lowest.unsqueeze(2), ideal.unsqueeze(2))
        return utility(returns, preferences, lowest, ideal)

    return utility_fn
