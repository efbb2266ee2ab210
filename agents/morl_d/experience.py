"""What the lanes of the policies that train see, and what their episodes have paid so far."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from morl.agents.morl_d.scalarization import Accrual
from morl.learning.observations import Encoder, final_observations

Array = NDArray[Any]


class Lanes:
    """The state of the lanes; every policy that trains has a block of neighbouring ones.

    Args:
        count: number of lanes.
        encode: observations -> rows.
        accrual: what rows tell of the past.
        discount: of learning, by which rewards accrue.
    """

    def __init__(self, count: int, encode: Encoder, accrual: Accrual, discount: float) -> None:
        self.count, self.encode, self.accrual, self.discount = count, encode, accrual, discount
        self.observations: NDArray[np.float32] | None = None  # [lane, width]; None: episodes have not begun
        self.accrued = self._nothing()  # [lane, objective + 1]: discounted rewards so far, discount of the next

    def begin(self, envs: VectorEnv[Any, Any, Any], seed: int) -> None:
        """Begin new episodes in all lanes."""
        observations, _ = envs.reset(seed=seed)
        self.accrued = self._nothing()
        self.observations = self._rows(self.encode(observations), self.accrued)

    def step(self, envs: VectorEnv[Any, Any, Any], actions: Array) -> dict[str, Array]:
        """Step all lanes and return the transitions, by column [lane, width]; "ended" has the ends of all kinds."""
        before = self.observations
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        ended = terminated | truncated
        self.accrued[:, :-1] += self.accrued[:, -1:] * rewards
        self.accrued[:, -1] *= self.discount
        encoded = self.encode(observations)
        following = encoded
        if ended.any():
            following = encoded.copy()
            lanes = np.flatnonzero(ended)
            following[lanes] = self.encode(final_observations(infos, lanes))
        following = self._rows(following, self.accrued)
        total = self.accrued[:, :-1].copy()
        self.accrued[ended] = self._nothing()[ended]
        self.observations = self._rows(encoded, self.accrued)
        columns = {"observation": before, "reward": rewards, "next_observation": following, "total": total}
        return columns | {"terminated": terminated[:, None], "ended": ended[:, None]}

    def rows_of(self, observations: Any, accrued: Array | None) -> NDArray[np.float32]:
        """Return what networks see [env, width] of any observations, and what their episodes have paid so far."""
        encoded = self.encode(observations)
        if accrued is None:
            accrued = np.tile(np.append(np.zeros(len(self.accrual.units)), 1.0), (len(encoded), 1))
        return self._rows(encoded, accrued)

    def _rows(self, encoded: NDArray[np.float32], accrued: Array) -> NDArray[np.float32]:
        if not self.accrual.enabled:
            return encoded
        return np.hstack([encoded, self.accrual.columns(accrued)]).astype(np.float32)

    def _nothing(self) -> Array:
        nothing = np.zeros((self.count, len(self.accrual.units) + 1))
        nothing[:, -1] = 1.0
        return nothing

    def state_dict(self) -> dict[str, Any]:
        """Return all that goes on."""
        return {"observations": self.observations, "accrued": self.accrued}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.observations, self.accrued = state["observations"], state["accrued"].copy()
