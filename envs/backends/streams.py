"""Random numbers for batch kernels: one generator and a row of its next draws for each environment."""

from typing import Any, Literal

import numpy as np
from gymnasium.utils import seeding
from numba import njit

from morl.envs.core.types import Array, SavedState
from morl.protocols import StateDict

DrawKind = Literal["random", "standard_normal"]
"""A method of NumPy's Generator without arguments."""


@njit(cache=True, nogil=True)
def any_beyond(positions: Array, limit: int) -> bool:
    """Return whether any position exceeds the limit."""
    return bool(positions.max() > limit)


class RandomStreams:
    """One `numpy` generator per environment and a row of its next draws, for kernels that draw one kind only.

    The generators are those of the single environments, and draws are taken in order, so that stochastic environments
    too follow the same trace from the same seed. `draws[env, position[env]:]` are the next numbers; the kernel advances
    `position`.

    A kernel that mixes kinds of draws takes the others from `rewound_generator(env)`, then `fill`s the row with what
    the rest of the episode can use at most; its `reserve` is 0. `water_reservoir.py` shows how.

    Args:
        kind: of the draws.
        reserve: the most draws that one step or reset can use; a row with fewer left is refilled. 0: never refilled.
        num_envs: number of environments.
        length: of a row; a longer one is refilled less often.
    """

    def __init__(self, kind: DrawKind, reserve: int, num_envs: int, length: int = 128) -> None:
        self.kind = kind
        self.reserve = reserve
        self.length = length
        self.generators: list[np.random.Generator | None] = [None] * num_envs
        self.before: list[dict[str, Any] | None] = [None] * num_envs  # the generators' states before `fill`
        self.draws = np.zeros((num_envs, self.length))
        self.position = np.full(num_envs, self.length, dtype=np.int64)

    def seed(self, env: int, seed: int | None) -> None:
        """Give the environment the generator that `env.reset(seed=seed)` makes; None keeps the one it has."""
        if seed is not None or self.generators[env] is None:
            self.generators[env], _ = seeding.np_random(seed)
            self.position[env] = self.length

    def top_up(self) -> None:
        """Refill the rows that could run out within one step."""
        if not self.reserve or not any_beyond(self.position, self.length - self.reserve):  # 0: rows are never used
            return
        for env in np.flatnonzero(self.position > self.length - self.reserve).tolist():
            used = self.position[env]
            self.draws[env, : self.length - used] = self.draws[env, used:]
            self.draws[env, self.length - used :] = getattr(self.generators[env], self.kind)(used)
            self.position[env] = 0

    def fill(self, env: int) -> None:
        """Draw the whole row of an environment."""
        generator = self.generators[env]
        assert generator is not None
        self.before[env] = dict(generator.bit_generator.state)
        self.draws[env] = getattr(generator, self.kind)(self.length)
        self.position[env] = 0

    def rewound_generator(self, env: int) -> np.random.Generator:
        """Return the generator where the single environment's would be: unused draws of `fill` are undone."""
        generator = self.generators[env]
        used = self.position[env]
        assert generator is not None
        if used < self.length:
            generator.bit_generator.state = self.before[env]  # type: ignore[assignment]
            getattr(generator, self.kind)(used)
            self.position[env] = self.length
        return generator

    def state_dict(self) -> SavedState:
        """Return draws, positions and generator states; 128-bit integers as decimal strings."""
        generators = [None if g is None else _state_as_text(g.bit_generator.state) for g in self.generators]
        return {
            "draws": self.draws.copy(),
            "position": self.position.copy(),
            "generators": generators,
            "before": [None if state is None else _state_as_text(state) for state in self.before],
        }

    def load_state_dict(self, saved: StateDict) -> None:
        """Restore what `state_dict` returned."""
        self.draws[...] = saved["draws"]
        self.position[...] = saved["position"]
        self.before = [None if text is None else _state_from_text(text) for text in saved["before"]]
        for env, text in enumerate(saved["generators"]):
            generator = None if text is None else np.random.Generator(np.random.PCG64())
            if generator is not None:
                generator.bit_generator.state = _state_from_text(text)
            self.generators[env] = generator


def _state_as_text(state: StateDict) -> dict[str, Any]:
    """Return a PCG64 state with every integer as a string: some exceed 64 bits."""
    inner = {name: str(value) for name, value in state["state"].items()}
    return {"state": inner, "has_uint32": str(state["has_uint32"]), "uinteger": str(state["uinteger"])}


def _state_from_text(text: StateDict) -> dict[str, Any]:
    """Return the PCG64 state that `_state_as_text` wrote."""
    inner = {name: int(value) for name, value in text["state"].items()}
    counters = {"has_uint32": int(text["has_uint32"]), "uinteger": int(text["uinteger"])}
    return {"bit_generator": "PCG64", "state": inner, **counters}
