"""PD-MORL's alignment: where the return for a preference should lie, and how well a value points there.

Shared by both variants of PD-MORL (docs/pd_morl.md).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from morl.protocols import Evaluate


def fit_interpolator(keys: Tensor, directions: Tensor) -> Tensor:
    """Return the coefficients [key + 1, objective] of the interpolator through (keys, directions).

    Radial basis functions phi(r) = -r plus a constant: solve [[Phi, 1], [1', 0]] C = [U; 0] with
    Phi_ij = -||W_i - W_j||. For two objectives this is piecewise linear interpolation between the keys.

    Args:
        keys: [key, objective] key preferences W.
        directions: [key, objective] unit vectors U of the returns that solve them.
    """
    count = len(keys)
    system = torch.ones(count + 1, count + 1, dtype=torch.float64, device=keys.device)
    system[:count, :count] = -torch.cdist(keys.double(), keys.double())
    system[count, count] = 0.0
    right_side = torch.cat([directions.double(), torch.zeros_like(directions[:1]).double()])
    coefficients: Tensor = torch.linalg.solve(system, right_side).to(keys.dtype)
    return coefficients


def interpolate(preferences: Tensor, keys: Tensor, coefficients: Tensor) -> Tensor:
    """Return I(w) [..., objective], the direction in which the return for each w [..., objective] should lie."""
    distances = (preferences.unsqueeze(-2) - keys).norm(dim=-1)
    directions: Tensor = coefficients[-1] - distances @ coefficients[:-1]
    return directions


def cosines_to(directions: Tensor, values: Tensor) -> Tensor:
    """Return S_c(I(w), Q) [..., action] between directions [..., objective] and values [..., action, objective]."""
    return cosine_similarity(directions.unsqueeze(-2), values, dim=-1)


def paper_score(values: Tensor, preferences: Tensor, directions: Tensor, origin: Tensor) -> Tensor:
    """Return S_c(I(w), Q(s, a, w)) w.Q(s, a, w) [..., action], by which the target's action is chosen (paper, eq. 6).

    As in the authors' code cosines are clamped to [0, 0.9999] and measured from `origin`, utilities from zero. Where
    utilities are negative this prefers the *worse* aligned action: see `aligned_score`.

    Args:
        values: [..., action, objective] Q(s, ., w).
        preferences: [..., objective] w.
        directions: [..., objective] I(w).
        origin: [objective] where the cone of returns starts.
    """
    return cosines_to(directions, values - origin).clamp(0.0, 0.9999) * utility(values, preferences)


def aligned_score(values: Tensor, preferences: Tensor, directions: Tensor, origin: Tensor) -> Tensor:
    """Return the paper's score with utilities measured from the origin as well, so that both factors are positive.

    A value that is no better than the origin keeps its negative utility as its score: the cosine means nothing there.
    The arguments are those of `paper_score`.
    """
    above = values - origin
    utilities = utility(above, preferences)
    return torch.where(utilities > 0, cosines_to(directions, above).clamp(0.0, 0.9999) * utilities, utilities)


def utility(values: Tensor, preferences: Tensor) -> Tensor:
    """Return w.Q [..., action] for values [..., action, objective] and preferences [..., objective]."""
    return (values @ preferences.unsqueeze(-1)).squeeze(-1)


class KeyPreferences:
    """The keys, one per objective and their mean; the best return found for each; and the interpolator through them.

    Args:
        origin: [objective] where the cone of returns starts; directions point from here.
        device: where the interpolator is asked.
    """

    def __init__(self, origin: NDArray[np.float64], device: torch.device) -> None:
        count = len(origin)
        self.preferences = np.vstack([np.eye(count), np.full((1, count), 1.0 / count)])  # [key, objective]
        self.returns = np.zeros_like(self.preferences)  # [key, objective]
        self.measured = np.zeros(count + 1, dtype=np.bool_)  # [key] whether there is a return yet
        self._keys = torch.as_tensor(self.preferences, dtype=torch.float32, device=device)
        self._origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        self._fit()

    def directions(self, preferences: Tensor) -> Tensor:
        """Return I(w) [..., objective] for preferences [..., objective]."""
        return interpolate(preferences, self._keys, self._coefficients)

    def measure(self, evaluate: Evaluate, episodes: int) -> None:
        """Evaluate the keys with the current policy; a key's return is replaced where its utility has grown."""
        returns = evaluate(self.preferences, episodes)
        grown = (self.preferences * (returns - self.returns)).sum(axis=1) > 0
        better = grown | ~self.measured
        self.returns[better], self.measured[better] = returns[better], True
        self._fit()

    def take_from(self, front: NDArray[np.float64]) -> None:
        """Take the returns from a front [n, objective], as the authors' discrete experiments do with the true one."""
        self.returns = front[(self.preferences @ front.T).argmax(axis=1)]
        self.measured[:] = True
        self._fit()

    def _fit(self) -> None:
        """Refit I to the returns seen from the origin; an objective below the origin counts as not reached at all."""
        vectors = torch.as_tensor(self.returns, dtype=torch.float32, device=self._keys.device) - self._origin
        vectors = vectors.clamp(min=0.0) * torch.as_tensor(self.measured, device=vectors.device).unsqueeze(1)
        # A key without a return, or with one that is nowhere above the origin, leads where its preference points.
        vectors = torch.where(vectors.sum(dim=1, keepdim=True) > 0, vectors, self._keys)
        self._coefficients = fit_interpolator(self._keys, normalize(vectors, dim=1))

    def state_dict(self) -> dict[str, Any]:
        """Return the returns and which of them are measured."""
        return {"returns": self.returns.copy(), "measured": self.measured.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.returns, self.measured = state["returns"], state["measured"]
        self._fit()
