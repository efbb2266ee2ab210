"""Utility functions: the value of a vector return for a preference. Higher is always better.

Every function takes returns [..., objective] and preferences [..., objective] (non-negative, broadcast against each
other) and gives utilities [...]. NumPy arrays, lists and torch tensors all work. With a torch tensor as returns the
result is a tensor with gradients; torch is not imported here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.plugins import imported

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = NDArray[np.float64]
Values = TypeVar("Values", FloatArray, "Tensor")
"""The type of returns and utilities: what goes in comes out."""
Weights: TypeAlias = "ArrayLike | Tensor"
"""Preferences and points of the objective space; they become what the returns are."""
Vectors: TypeAlias = Any
"""Vectors of numbers [..., objective], or numbers [...]: a NumPy array or a tensor."""
Utility: TypeAlias = Callable[[Vectors, Vectors, Vectors], Vectors]
"""(returns, preferences, ideal) [..., objective] -> utilities [...]; of NumPy arrays and of tensors."""


def linear(returns: Values, preferences: Weights) -> Values:
    """Return sum_k w_k r_k. Its maxima are the convex part of the front, whatever the weights.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
    """
    returns, weights = _alike(returns, preferences)
    return _sum(weights * returns)


def tchebycheff(returns: Values, preferences: Weights, ideal: Weights) -> Values:
    """Return min_k w_k (r_k - z_k), the weighted shortfall in the worst objective; 0 at the ideal.

    Reaches concave parts of the front too. Signed, not absolute, differences: exceeding an outdated ideal is good.
    Source: Bowman 1976.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
        ideal: [..., objective], z: at least as good as every return in every objective.
    """
    returns, weights, best = _alike(returns, preferences, ideal)
    return _minimum(weights * (returns - best))


def augmented_tchebycheff(returns: Values, preferences: Weights, ideal: Weights, augmentation: float = 0.05) -> Values:
    """Return min_k w_k (r_k - z_k) + augmentation * sum_k (r_k - z_k).

    The sum separates points that Tchebycheff alone calls equal, so every maximum is Pareto optimal. Source: Steuer and
    Choo 1983.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
        ideal: [..., objective], z.
        augmentation: weight of the sum, small and positive.
    """
    returns, weights, best = _alike(returns, preferences, ideal)
    shortfall = returns - best
    return _minimum(weights * shortfall) + augmentation * _sum(shortfall)


def smooth_tchebycheff(returns: Values, preferences: Weights, ideal: Weights, smoothing: float = 0.1) -> Values:
    """Return -s log sum_k exp(w_k (z_k - r_k) / s): Tchebycheff with a gradient everywhere.

    At most s log m below `tchebycheff`, and never above it. Source: Lin et al. 2024.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
        ideal: [..., objective], z.
        smoothing: s, positive, in the units of the weighted objectives.

    Raises:
        ValueError: smoothing is not positive.
    """
    if not smoothing > 0.0:
        raise ValueError(f"smoothing must be positive, got {smoothing}")
    returns, weights, best = _alike(returns, preferences, ideal)
    worst_first = weights * (best - returns) / smoothing
    largest = -_minimum(-worst_first)[..., None]
    return -smoothing * (_log(_sum(_exp(worst_first - largest))) + largest[..., 0])


def pbi(returns: Values, preferences: Weights, ideal: Weights, penalty: float = 5.0) -> Values:
    """Return -(d1 + penalty * d2), penalty-based boundary intersection from the ideal point.

    With u = w / |w|_2: d1 = (z - r).u is the distance left along the preference direction, d2 = |z - r - d1 u|_2 the
    distance from it. Not monotone: a better return far from the direction can have a lower utility. Source: Zhang and
    Li 2007.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
        ideal: [..., objective], z.
        penalty: theta, not negative.
    """
    returns, weights, best = _alike(returns, preferences, ideal)
    direction = weights / (_sum(weights**2) ** 0.5)[..., None]
    along = _sum((best - returns) * direction)
    away = (_sum(((best - returns) - along[..., None] * direction) ** 2) + 1e-24) ** 0.5  # 0 has no gradient
    return -(along + penalty * away)


def nash(returns: Values, preferences: Weights, reference: Weights) -> Values:
    """Return sum_k w_k log(r_k - d_k), the log of the weighted Nash product over the disagreement point d.

    Minus infinity where an objective with positive weight does not exceed d. Source: Nash 1950; Kaneko and Nakamura
    1979.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
        reference: [..., objective], d: the return without agreement.
    """
    returns, weights, point = _alike(returns, preferences, reference)
    gains = returns - point
    if isinstance(gains, np.ndarray):
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = np.where(weights > 0.0, weights * np.log(np.maximum(gains, 0.0)), 0.0)
        return _sum(logarithms)
    return _sum(weights.xlogy(gains.clamp(min=0.0)))


def linear_above_minimum(returns: Values, preferences: Weights, minimum: Weights) -> Values:
    """Return sum_k w_k r_k where r_k >= minimum_k in every objective, minus infinity elsewhere.

    Requirements first ("energy at least -50"), then the preference among the returns that meet them.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w.
        minimum: [..., objective]; minus infinity requires nothing.
    """
    returns, weights, least = _alike(returns, preferences, minimum)
    falls_short = (returns < least).any(-1)
    values = _sum(weights * returns)
    if isinstance(values, np.ndarray | np.generic):
        return np.where(falls_short, -np.inf, values)
    return values.masked_fill(falls_short, -float("inf"))


def maximin(returns: Values, preferences: Weights, reference: Weights) -> Values:
    """Return min_k (r_k - d_k) / w_k over objectives with positive weight: how far returns reach along the preference.

    Equal weights give the egalitarian (Rawlsian) utility times the number of objectives. Reaches concave parts of the
    front. Source: achievement function, Wierzbicki 1980.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w, at least one weight positive.
        reference: [..., objective], d.
    """
    returns, weights, point = _alike(returns, preferences, reference)
    idle = weights <= 0.0
    scaled = (returns - point) / (weights + idle * 1.0)
    if isinstance(scaled, np.ndarray):
        return _minimum(np.where(idle, np.inf, scaled))
    return _minimum(scaled.masked_fill(idle, float("inf")))


def desirability(returns: Values, preferences: Weights, ideal: Weights) -> Values:
    """Return prod_k d_k^(w_k / sum w), the weighted geometric mean of desirabilities d_k = r_k / z_k, cut to [1e-6, 1].

    A return of 0 is useless and a return of z ideal: measure returns from the worst acceptable one (MORL/D's
    `scale = "range"` does). No objective compensates for a useless one. Source: Derringer and Suich 1980.

    Args:
        returns: [..., objective], r.
        preferences: [..., objective], w, at least one weight positive.
        ideal: [..., objective], z, positive.
    """
    returns, weights, best = _alike(returns, preferences, ideal)
    shares = (returns / best).clip(1e-6, 1.0)
    return _exp(_sum(weights * _log(shares)) / _sum(weights))


def _linear(returns: Vectors, preferences: Vectors, ideal: Vectors) -> Vectors:  # noqa: ARG001
    return linear(returns, preferences)


UTILITIES: dict[str, Utility] = {
    "linear": _linear,
    "tchebycheff": tchebycheff,
    "augmented-tchebycheff": augmented_tchebycheff,
    "smooth-tchebycheff": smooth_tchebycheff,
    "pbi": pbi,
    "desirability": desirability,
}
"""Utilities by name: functions of returns, preferences and the ideal point."""


def register_utility(name: str, function: Utility) -> None:
    """Register a utility of your own under a name for this process, for use in settings and policies.

    A process that loads such a policy must register it too; "module:function" needs no registration.

    Args:
        name: such as "fair", without a colon.
        function: of returns, preferences and the ideal point [..., objective], for arrays and tensors.

    Raises:
        ValueError: the name is taken by another function or invalid, or `function` is not callable.
    """
    if not name or ":" in name or name.startswith("-"):
        raise ValueError(f"name is {name!r}, but must be a word without a colon, such as 'fair'")
    if not callable(function):
        raise ValueError(f"utility {name!r} is {function!r:.100}, but must be a function")
    if UTILITIES.get(name, function) is not function:
        raise ValueError(f"name is {name!r}, but there is another utility of this name")
    UTILITIES[name] = function


def find_utility(name: str) -> Utility:
    """Return a utility by name, or the user's own function "module:name".

    Args:
        name: one of `UTILITIES`, registered ones included, or "module:name", which is imported.

    Raises:
        ValueError: there is no such utility; the message lists all of them.
    """
    if name in UTILITIES:
        return UTILITIES[name]
    if ":" not in name:
        raise ValueError(
            f"utility is {name!r}, but must be one of {', '.join(UTILITIES)}, or your own 'module:function'"
        )
    return cast(Utility, imported("utility", name))


NO_BRANCHES = "it gets many returns at once, so take numpy.where or torch.where instead of if"
"""What to do about a utility that branches on its values."""


def checked_utilities(name: str, compute: Callable[[], object], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the utilities of points, where they are one number for each.

    Args:
        name: of the utility, for the message.
        compute: calls the utility.
        shape: of the points, without the axis of objectives.

    Raises:
        ValueError: the utility raises, or returns another shape, or one is not a number.
    """
    try:
        utilities = compute()
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(f"utility {name} raised {failure(error)}") from error
    values = np.asarray(utilities)
    if values.dtype.kind not in "fiub" or values.shape != shape:
        count = f"{shape[0]} points" if len(shape) == 1 else f"{' x '.join(map(str, shape))} returns"
        raise ValueError(
            f"utility {name} returned {type(utilities).__name__} of shape {values.shape}, but must return one number"
            f" for each of {count}"
        )
    numbers = values.astype(np.float64)
    if np.isnan(numbers).any():
        raise ValueError(f"utility {name} is not a number for {int(np.isnan(numbers).sum())} of {values.size} points")
    return numbers


def failure(error: Exception) -> str:
    """Return what a user's utility raised, as words, with advice where it branches on its values."""
    words = f"{type(error).__name__}: {error}"
    return f"{words}; {NO_BRANCHES}" if "ambiguous" in str(error) else words  # what NumPy and torch say of an if


def _alike(returns: Values, *others: Weights) -> tuple[Values, ...]:
    """Return all arguments as what `returns` is: torch tensors of its type and device, or float64 arrays."""
    given: tuple[Any, ...] = (returns, *others)  # lists too, whatever the annotations promise
    if hasattr(returns, "new_tensor"):
        arrays = tuple(value if hasattr(value, "new_tensor") else returns.new_tensor(value) for value in given)
    else:
        arrays = tuple(np.asarray(value, dtype=np.float64) for value in given)
    if len({array.shape[-1] if array.ndim else 0 for array in arrays}) != 1 or arrays[0].ndim == 0:
        shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(f"returns, preferences and points must have shape [..., objective] alike, got {shapes}")
    return arrays


def _sum(values: Values) -> Values:
    total: Values = values.sum(-1)
    return total


def _minimum(values: Values) -> Values:
    return cast(Values, values.amin(-1) if hasattr(values, "amin") else values.min(-1))


def _exp(values: Values) -> Values:
    return cast(Values, values.exp() if hasattr(values, "exp") else np.exp(values))


def _log(values: Values) -> Values:
    return cast(Values, values.log() if hasattr(values, "log") else np.log(values))
