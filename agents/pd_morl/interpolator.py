"""PD-MORL's interpolator I(w): the direction in which the return for a preference should lie.

Key preferences, the best returns found for them, the radial basis functions through these, and the cosine similarity
S_c(I(w), Q) between that direction and a vector of values. Shared by MO-DDQN-HER and MO-TD3-HER.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from morl.learning.values import utility
from morl.protocols import BoolArray, Evaluate, FloatArray, IndexArray, StateDict

LARGEST_COSINE = 0.9999
"""Cosines are clamped to [0, 0.9999], as in the authors' code."""
COLLAPSE_SHARE = 0.5
"""Training may have collapsed where a key's utility is below this share of the best so far."""


def fit_interpolator(keys: Tensor, directions: Tensor) -> Tensor:
    """Return the coefficients [learner, key + 1, objective] of the interpolator through (keys, directions).

    Radial basis functions phi(r) = -r plus a constant: solve [[Phi, 1], [1', 0]] C = [U; 0] with
    Phi_ij = -||W_i - W_j||. For two objectives this is piecewise linear interpolation between the keys.

    Args:
        keys: [key, objective] key preferences W.
        directions: [learner, key, objective] unit vectors U, the directions of the best returns for the keys.
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
        keys: [key, objective] key preferences W.
        coefficients: [learner, key + 1, objective] C, the result of `fit_interpolator`.
    """
    distances = (preferences.unsqueeze(-2) - keys).norm(dim=-1)
    return torch.baddbmm(coefficients[:, -1:], distances, coefficients[:, :-1], alpha=-1.0)


def cosines_to(directions: Tensor, values: Tensor) -> Tensor:
    """Return S_c(I(w), Q) [..., action], the cosine similarity.

    Args:
        directions: [..., objective] I(w).
        values: [..., action, objective] Q(s, ., w).
    """
    return cosine_similarity(directions.unsqueeze(-2), values, dim=-1)


def paper_score(values: Tensor, preferences: Tensor, directions: Tensor, origin: Tensor) -> Tensor:
    """Return S_c(I(w), Q(s, a, w)) w.Q(s, a, w) [..., action], by which the target's action is chosen (paper, eq. 6).

    As in the authors' code cosines are clamped to [0, 0.9999] and measured from `origin`, utilities from zero. Where
    utilities are negative, the product prefers the *worse* aligned action; `aligned_score` does not.

    Args:
        values: [..., action, objective] Q(s, ., w).
        preferences: [..., objective] w.
        directions: [..., objective] I(w).
        origin: [objective] where the cone of returns starts.
    """
    cosines = cosines_to(directions, values - origin).clamp(0.0, LARGEST_COSINE)
    return cosines * utility(values, preferences.unsqueeze(-2))


def aligned_score(values: Tensor, preferences: Tensor, directions: Tensor, origin: Tensor) -> Tensor:
    """Return the paper's score with utilities measured from the origin too: S_c(I(w), Q - o) w.(Q - o) [..., action].

    Both factors are then positive. Where w.(Q - o) is not, the cosine has no meaning, and the score is w.(Q - o).

    Args:
        values: [..., action, objective] Q(s, ., w).
        preferences: [..., objective] w.
        directions: [..., objective] I(w).
        origin: [objective] o, where the cone of returns starts.
    """
    above = values - origin
    utilities = utility(above, preferences.unsqueeze(-2))
    cosines = cosines_to(directions, above).clamp(0.0, LARGEST_COSINE)
    return torch.where(utilities > 0, cosines * utilities, utilities)


class KeyPreferences:
    """The key preferences, the best return that each learner has found for each, and the interpolator through these.

    Args:
        origin: [objective] o, where the cone of returns starts; directions are measured from it.
        device: where the interpolator is evaluated.
        learners: number of learners, which have returns of their own.
        preferences: [key, objective]; None: one key for each objective, and their mean.
    """

    def __init__(
        self, origin: FloatArray, device: torch.device, learners: int = 1, preferences: FloatArray | None = None
    ) -> None:
        count = len(origin)
        corners_and_center = np.vstack([np.eye(count), np.full((1, count), 1.0 / count)])
        if count == 1:  # the only corner is the center
            corners_and_center = np.eye(1)
        self.preferences = corners_and_center if preferences is None else preferences
        """[key, objective]."""
        self.returns = np.zeros((learners, *self.preferences.shape))
        """[learner, key, objective] the best so far."""
        self.measured = np.zeros(self.returns.shape[:2], dtype=np.bool_)
        """[learner, key] whether there is a return yet."""
        self.latest = np.full(self.measured.shape, np.nan)
        """[learner, key] utility above the origin in the latest evaluation."""
        self._keys = torch.as_tensor(self.preferences, dtype=torch.float32, device=device)
        self._origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        self._coefficients = torch.zeros(learners, len(self.preferences) + 1, count, device=device)
        """[learner, key + 1, objective] of the interpolator; written in place, where captured updates read them."""
        self._fit()

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.preferences)

    def directions(self, preferences: Tensor) -> Tensor:
        """Return I(w) [learner, batch, objective].

        Args:
            preferences: [learner, batch, objective] w.
        """
        return interpolate(preferences, self._keys, self._coefficients)

    def measure(self, evaluates: Sequence[Evaluate], episodes: int, policies: IndexArray | None = None) -> None:
        """Evaluate the keys; a key's return is replaced where its utility has grown.

        Args:
            evaluates: one for each learner.
            episodes: for each key.
            policies: [key] policy ids; None: the conditioned policy, for all keys.
        """
        for learner, evaluate in enumerate(evaluates):
            self.offer(learner, evaluate(self.preferences, episodes, policies))

    def offer(self, learner: int, returns: FloatArray) -> None:
        """Keep the returns whose utility exceeds that of the best so far.

        Args:
            learner: number of the learner that has reached them.
            returns: [key, objective].
        """
        self.latest[learner] = self._utilities(returns)
        better = (self.latest[learner] > self.utilities()[learner]) | ~self.measured[learner]
        self.returns[learner, better] = returns[better]
        self.measured[learner, better] = True
        self._fit()

    def utilities(self) -> FloatArray:
        """Return the best utility so far above the origin [learner, key]; zero where nothing was measured."""
        return np.where(self.measured, self._utilities(self.returns), 0.0)

    def collapsed(self) -> BoolArray:
        """Return where the latest utility is less than half of the best so far, if that is positive [learner, key]."""
        best = self.utilities()
        return (best > 0) & (self.latest < COLLAPSE_SHARE * best)

    def take_from(self, front: FloatArray) -> None:
        """Set the returns to the best points of a front: the authors' oracle in discrete tasks.

        Args:
            front: [n, objective].
        """
        self.returns[:] = front[(self.preferences @ front.T).argmax(axis=1)]
        self.measured[:] = True
        self._fit()

    def _utilities(self, returns: FloatArray) -> FloatArray:
        """Return w.(J - o) [..., key] for returns J [..., key, objective]."""
        values: FloatArray = (self.preferences * (returns - self._origin.cpu().numpy())).sum(axis=-1)
        return values

    def _fit(self) -> None:
        """Fit I to the directions of the best returns.

        An objective below the origin counts as zero. A key whose return is unknown, or above the origin nowhere, has
        its preference as its direction.
        """
        vectors = torch.as_tensor(self.returns, dtype=torch.float32, device=self._keys.device) - self._origin
        vectors = vectors.clamp(min=0.0) * torch.as_tensor(self.measured, device=vectors.device).unsqueeze(-1)
        vectors = torch.where(vectors.sum(dim=-1, keepdim=True) > 0, vectors, self._keys)
        self._coefficients.copy_(fit_interpolator(self._keys, normalize(vectors, dim=-1)))

    def state_dict(self, learner: int = 0) -> StateDict:
        """Return one learner's returns, which of them are measured, and the latest utilities.

        Args:
            learner: number of the learner.
        """
        return {name: getattr(self, name)[learner].copy() for name in ("returns", "measured", "latest")}

    def load_state_dict(self, state: StateDict, learner: int = 0) -> None:
        """Restore one learner from the result of `state_dict`.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        for name, value in state.items():
            getattr(self, name)[learner] = value
        self._fit()


def alignment_metrics(
    latest_update: Mapping[str, Tensor],
    keys: KeyPreferences,
    origin: Tensor,
    learner: int,
    scales: Tensor | float = 1.0,
) -> dict[str, float]:
    """Return metrics of the latest update and of the keys; docs/agents/pd_morl.md explains each.

    Args:
        latest_update: loss [learner], values and preference [learner, batch, objective]; empty before the first.
        keys: key preferences and the returns found for them.
        origin: [objective] where the cone of returns starts.
        learner: whose metrics.
        scales: [objective] units of the values.
    """
    utilities = {
        f"key_utility_{key}": float(value) for key, value in enumerate(keys.latest[learner]) if np.isfinite(value)
    }
    if not latest_update:
        return utilities
    values = latest_update["values"][learner]
    directions = keys.directions(latest_update["preference"])[learner] / scales
    cosines = cosine_similarity(directions, values - origin / scales, dim=-1)
    return utilities | {
        "loss": latest_update["loss"][learner].item(),
        "q_magnitude": (values * scales).norm(dim=-1).mean().item(),
        "non_positive_cosines": (cosines <= 0).float().mean().item(),
        "angle_degrees": cosines.clamp(0.0, LARGEST_COSINE).arccos().rad2deg().mean().item(),
    }
