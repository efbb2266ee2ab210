"""PD-MORL's alignment: where the return for a preference should lie, and how well a value points there.

Shared by both variants of PD-MORL (docs/pd_morl.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from morl.learning.values import utility
from morl.protocols import Evaluate


def fit_interpolator(keys: Tensor, directions: Tensor) -> Tensor:
    """Return the coefficients [learner, key + 1, objective] of the interpolator through (keys, directions).

    Radial basis functions phi(r) = -r plus a constant: solve [[Phi, 1], [1', 0]] C = [U; 0] with
    Phi_ij = -||W_i - W_j||. For two objectives this is piecewise linear interpolation between the keys.

    Args:
        keys: [key, objective] key preferences W.
        directions: [learner, key, objective] unit vectors U of the returns that solve them.
    """
    count = len(keys)
    system = torch.ones(count + 1, count + 1, dtype=torch.float64, device=keys.device)
    system[:count, :count] = -torch.cdist(keys.double(), keys.double())
    system[count, count] = 0.0
    right_side = torch.cat([directions.double(), torch.zeros_like(directions[:, :1]).double()], dim=1)
    coefficients: Tensor = torch.linalg.solve(system, right_side).to(keys.dtype)
    return coefficients


def interpolate(preferences: Tensor, keys: Tensor, coefficients: Tensor) -> Tensor:
    """Return I(w) [learner, batch, objective], the directions in which the returns for preferences w should lie.

    Args:
        preferences: [learner, batch, objective] w.
        keys: [key, objective] as given to `fit_interpolator`.
        coefficients: [learner, key + 1, objective] that it returned.
    """
    distances = (preferences.unsqueeze(-2) - keys).norm(dim=-1)
    return torch.baddbmm(coefficients[:, -1:], distances, coefficients[:, :-1], alpha=-1.0)


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
    return cosines_to(directions, values - origin).clamp(0.0, 0.9999) * utility(values, preferences.unsqueeze(-2))


def aligned_score(values: Tensor, preferences: Tensor, directions: Tensor, origin: Tensor) -> Tensor:
    """Return the paper's score with utilities measured from the origin as well, so that both factors are positive.

    A value that is no better than the origin keeps its negative utility as its score: the cosine means nothing there.
    The arguments are those of `paper_score`.
    """
    above = values - origin
    utilities = utility(above, preferences.unsqueeze(-2))
    return torch.where(utilities > 0, cosines_to(directions, above).clamp(0.0, 0.9999) * utilities, utilities)


class KeyPreferences:
    """The keys, the best return that each learner found for them, and the interpolator through these.

    Args:
        origin: [objective] where the cone of returns starts; directions point from here.
        device: where the interpolator is asked.
        learners: how many learners have keys of their own.
        preferences: [key, objective]; one key per objective and their mean where not given.
    """

    def __init__(
        self,
        origin: NDArray[np.float64],
        device: torch.device,
        learners: int = 1,
        preferences: NDArray[np.float64] | None = None,
    ) -> None:
        count = len(origin)
        corners_and_centre = np.vstack([np.eye(count), np.full((1, count), 1.0 / count)])
        self.preferences = corners_and_centre if preferences is None else preferences  # [key, objective]
        self.returns = np.zeros((learners, *self.preferences.shape))  # [learner, key, objective]
        self.measured = np.zeros(self.returns.shape[:2], dtype=np.bool_)  # [learner, key] whether there is a return yet
        self.latest = np.full(self.measured.shape, np.nan)  # [learner, key] utility above the origin when last measured
        self._keys = torch.as_tensor(self.preferences, dtype=torch.float32, device=device)
        self._origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        self._fit()

    def directions(self, preferences: Tensor) -> Tensor:
        """Return I(w) [learner, batch, objective] for preferences [learner, batch, objective]."""
        return interpolate(preferences, self._keys, self._coefficients)

    def measure(self, evaluates: Sequence[Evaluate], episodes: int, policies: NDArray[np.int64] | None = None) -> None:
        """Evaluate the keys with the learners' policies; a key's return is replaced where its utility has grown."""
        for learner, evaluate in enumerate(evaluates):
            self.offer(learner, evaluate(self.preferences, episodes, policies))

    def offer(self, learner: int, returns: NDArray[np.float64]) -> None:
        """Take over the returns [key, objective] of a learner where they are better than the best so far."""
        self.latest[learner] = self._utilities(returns)
        better = (self.latest[learner] > self.utilities()[learner]) | ~self.measured[learner]
        self.returns[learner, better], self.measured[learner, better] = returns[better], True
        self._fit()

    def utilities(self) -> NDArray[np.float64]:
        """Return the best utility so far above the origin [learner, key]; zeros where nothing was measured."""
        return np.where(self.measured, self._utilities(self.returns), 0.0)

    def collapsed(self) -> NDArray[np.bool_]:
        """Return where the latest utility is less than half of the best so far, a positive one [learner, key]."""
        best = self.utilities()
        return (best > 0) & (self.latest < 0.5 * best)

    def take_from(self, front: NDArray[np.float64]) -> None:
        """Take the returns from a front [n, objective], as the authors' discrete experiments do with the true one."""
        self.returns[:] = front[(self.preferences @ front.T).argmax(axis=1)]
        self.measured[:] = True
        self._fit()

    def _utilities(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = (self.preferences * (returns - self._origin.cpu().numpy())).sum(axis=-1)
        return values

    def _fit(self) -> None:
        """Refit I to the returns seen from the origin; an objective below the origin counts as not reached at all."""
        vectors = torch.as_tensor(self.returns, dtype=torch.float32, device=self._keys.device) - self._origin
        vectors = vectors.clamp(min=0.0) * torch.as_tensor(self.measured, device=vectors.device).unsqueeze(-1)
        # A key without a return, or with one that is nowhere above the origin, leads where its preference points.
        vectors = torch.where(vectors.sum(dim=-1, keepdim=True) > 0, vectors, self._keys)
        self._coefficients = fit_interpolator(self._keys, normalize(vectors, dim=-1))

    def state_dict(self, learner: int = 0) -> dict[str, Any]:
        """Return a learner's returns, which of them are measured, and the latest utilities."""
        return {name: getattr(self, name)[learner].copy() for name in ("returns", "measured", "latest")}

    def load_state_dict(self, state: Mapping[str, Any], learner: int = 0) -> None:
        """Take over a state that `state_dict` returned."""
        for name, value in state.items():
            getattr(self, name)[learner] = value
        self._fit()


def alignment_metrics(
    diagnostics: Mapping[str, Tensor], keys: KeyPreferences, origin: Tensor, learner: int, scales: Tensor | float = 1.0
) -> dict[str, float]:
    """Return what tells whether values still point where they should; docs/pd_morl.md explains each number.

    Args:
        diagnostics: of the latest update: loss [learner], values and preference [learner, batch, objective].
        keys: key preferences and the returns found for them.
        origin: [objective] where the cone of returns starts.
        learner: which one to look at.
        scales: [objective] units that the values are in.
    """
    latest = {
        f"key_utility_{key}": float(value) for key, value in enumerate(keys.latest[learner]) if np.isfinite(value)
    }
    if not diagnostics:
        return latest
    loss, values = diagnostics["loss"][learner], diagnostics["values"][learner]
    directions = keys.directions(diagnostics["preference"])[learner] / scales
    cosines = cosine_similarity(directions, values - origin / scales, dim=-1)
    return latest | {
        "loss": loss.item(),
        "q_magnitude": (values * scales).norm(dim=-1).mean().item(),
        "non_positive_cosines": (cosines <= 0).float().mean().item(),
        "angle_degrees": cosines.clamp(0.0, 0.9999).arccos().rad2deg().mean().item(),
    }


def load_diagnostics(mine: dict[str, Tensor], saved: Mapping[str, Tensor], learner: int, learners: int) -> None:
    """Put what one learner saved [1, ...] into its row of `mine` [learner, ...]."""
    for name, tensor in saved.items():
        if name not in mine:
            mine[name] = tensor.new_zeros(learners, *tensor.shape[1:])
        mine[name][learner : learner + 1] = tensor
