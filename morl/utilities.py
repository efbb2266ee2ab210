"""Utility functions: what a vector return is worth to a user with some preference. Higher is always better.

Every function takes returns [..., objective] and preferences [..., objective] (non-negative, broadcast against each
other) and gives values [...]. NumPy arrays, lists and torch tensors all work; with a torch tensor as returns the result
is a tensor with gradients, and torch is not imported here.
"""

from typing import Any

import numpy as np


def linear(returns: Any, preferences: Any) -> Any:
    """Returns sum_k w_k r_k. Its maxima are the convex part of the front, whatever the weights."""
    returns, preferences = _alike(returns, preferences)
    return (preferences * returns).sum(-1)


def tchebycheff(returns: Any, preferences: Any, ideal: Any) -> Any:
    """Returns min_k w_k (r_k - z_k), the weighted shortfall in the worst objective; 0 at the ideal.

    Reaches concave parts of the front too. Signed, not absolute, differences: exceeding an outdated ideal is good.
    Source: Bowman 1976.

    Args:
        returns: [..., objective].
        preferences: [..., objective].
        ideal: [..., objective], z: at least as good as every return in every objective.
    """
    returns, preferences, ideal = _alike(returns, preferences, ideal)
    return _minimum(preferences * (returns - ideal))


def augmented_tchebycheff(returns: Any, preferences: Any, ideal: Any, augmentation: float = 0.05) -> Any:
    """Returns min_k w_k (r_k - z_k) + augmentation * sum_k (r_k - z_k).

    The sum separates points that Tchebycheff alone calls equal, so every maximum is Pareto optimal. Source: Steuer and
    Choo 1983.

    Args:
        returns: [..., objective].
        preferences: [..., objective].
        ideal: [..., objective].
        augmentation: small and positive.
    """
    returns, preferences, ideal = _alike(returns, preferences, ideal)
    return _minimum(preferences * (returns - ideal)) + augmentation * (returns - ideal).sum(-1)


def smooth_tchebycheff(returns: Any, preferences: Any, ideal: Any, smoothing: float = 0.1) -> Any:
    """Returns -s log sum_k exp(w_k (z_k - r_k) / s): Tchebycheff with a gradient everywhere.

    At most s log m below `tchebycheff`, and never above it. Source: Lin et al. 2024.

    Args:
        returns: [..., objective].
        preferences: [..., objective].
        ideal: [..., objective].
        smoothing: s, positive, in the units of the weighted objectives.

    Raises:
        ValueError: smoothing is not positive.
    """
    if not smoothing > 0.0:
        raise ValueError(f"smoothing must be positive, got {smoothing}")
    returns, preferences, ideal = _alike(returns, preferences, ideal)
    worst_first = preferences * (ideal - returns) / smoothing
    largest = -_minimum(-worst_first)[..., None]
    return -smoothing * (_log(_exp(worst_first - largest).sum(-1)) + largest[..., 0])


def pbi(returns: Any, preferences: Any, ideal: Any, penalty: float = 5.0) -> Any:
    """Returns -(d1 + penalty * d2), penalty-based boundary intersection from the ideal point.

    With u = w / |w|_2: d1 = (z - r).u is the distance left along the preference direction, d2 = |z - r - d1 u|_2 the
    distance from it. Not monotone: a better return far from the direction can be worth less. Source: Zhang and Li 2007.

    Args:
        returns: [..., objective].
        preferences: [..., objective].
        ideal: [..., objective].
        penalty: theta, not negative.
    """
    returns, preferences, ideal = _alike(returns, preferences, ideal)
    direction = preferences / ((preferences**2).sum(-1) ** 0.5)[..., None]
    along = ((ideal - returns) * direction).sum(-1)
    away = ((((ideal - returns) - along[..., None] * direction) ** 2).sum(-1) + 1e-24) ** 0.5  # 0 has no gradient
    return -(along + penalty * away)


def nash(returns: Any, preferences: Any, reference: Any) -> Any:
    """Returns sum_k w_k log(r_k - d_k), the log of the weighted Nash product over the disagreement point d.

    Minus infinity where an objective with positive weight does not exceed d. Source: Nash 1950; Kaneko and Nakamura
    1979.

    Args:
        returns: [..., objective].
        preferences: [..., objective].
        reference: [..., objective], d: what everybody gets without agreement.
    """
    returns, preferences, reference = _alike(returns, preferences, reference)
    gains = returns - reference
    if isinstance(gains, np.ndarray):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(preferences > 0.0, preferences * np.log(np.maximum(gains, 0.0)), 0.0).sum(-1)
    return preferences.xlogy(gains.clamp(min=0.0)).sum(-1)


def linear_above_minimum(returns: Any, preferences: Any, minimum: Any) -> Any:
    """Returns sum_k w_k r_k where r_k >= minimum_k in every objective, minus infinity elsewhere.

    Requirements first ("energy at least -50"), the preference among what meets them.

    Args:
        returns: [..., objective].
        preferences: [..., objective].
        minimum: [..., objective]; minus infinity requires nothing.
    """
    returns, preferences, minimum = _alike(returns, preferences, minimum)
    falls_short = (returns < minimum).any(-1)
    values = (preferences * returns).sum(-1)
    if isinstance(values, np.ndarray | np.generic):
        return np.where(falls_short, -np.inf, values)
    return values.masked_fill(falls_short, -float("inf"))


def maximin(returns: Any, preferences: Any, reference: Any) -> Any:
    """Returns min_k (r_k - d_k) / w_k over objectives with positive weight: how far returns reach along the preference.

    Equal weights give the egalitarian (Rawlsian) utility times the number of objectives. Reaches concave parts of the
    front. Source: achievement function, Wierzbicki 1980.

    Args:
        returns: [..., objective].
        preferences: [..., objective], at least one weight positive.
        reference: [..., objective], d.
    """
    returns, preferences, reference = _alike(returns, preferences, reference)
    idle = preferences <= 0.0
    scaled = (returns - reference) / (preferences + idle * 1.0)
    if isinstance(scaled, np.ndarray):
        return _minimum(np.where(idle, np.inf, scaled))
    return _minimum(scaled.masked_fill(idle, float("inf")))


def _alike(returns: Any, *others: Any) -> tuple[Any, ...]:
    """Returns all arguments as what `returns` is: torch tensors of its type and device, or float64 arrays."""
    if hasattr(returns, "new_tensor"):
        arrays = (returns, *(other if hasattr(other, "new_tensor") else returns.new_tensor(other) for other in others))
    else:
        arrays = tuple(np.asarray(array, dtype=np.float64) for array in (returns, *others))
    if len({array.shape[-1] if array.ndim else 0 for array in arrays}) != 1 or arrays[0].ndim == 0:
        shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(f"returns, preferences and points must have shape [..., objective] alike, got {shapes}")
    return arrays


def _minimum(values: Any) -> Any:
    return values.amin(-1) if hasattr(values, "amin") else values.min(-1)


def _exp(values: Any) -> Any:
    return values.exp() if hasattr(values, "exp") else np.exp(values)


def _log(values: Any) -> Any:
    return values.log() if hasattr(values, "log") else np.log(values)
