"""Environments for worker processes, which import them: random walks that fail, die, or say what they know."""

import multiprocessing
import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

PLAIN = spaces.Box(-np.inf, np.inf, (2,), np.float64)
SPACES = {
    "plain": PLAIN,
    "dict": spaces.Dict({"where": PLAIN, "inner": spaces.Tuple((spaces.Discrete(20), spaces.MultiBinary(2)))}),
    "text": spaces.Text(5),
}


class Stroll(gymnasium.Env[Any, Any]):
    """A random walk that ends by chance or is cut at its ninth step; `trouble` strikes seed 42 at its `at`-th step."""

    def __init__(self, space: str = "plain", trouble: str = "", at: int = 3, seconds: float = 0.0) -> None:
        if trouble == "birth" and multiprocessing.parent_process() is not None:
            raise OSError("no licence")
        self.observation_space, self.action_space = SPACES[space], spaces.Box(-1, 1, (2,), np.float32)
        self.reward_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.space = space
        self.trouble = trouble
        self.at = at
        self.seconds = seconds
        self.life = 0
        self.secret: Any = iter([1]) if trouble == "secret" else None

    def observe(self) -> Any:
        if self.space == "plain":
            return self.place.copy()
        flags = (self.place > 0).astype(np.int8)
        return {"where": self.place.copy(), "inner": (np.int64(self.clock), flags)}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.clock = self.np_random.normal(size=2), 0
        return self.observe(), {"options": str(options)} if options else {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        time.sleep(self.seconds)
        self.place = self.place + action
        self.clock += 1
        self.life += 1
        if self.life == self.at and self._np_random_seed == 42:
            if self.trouble == "raise":
                raise ZeroDivisionError("the road ends")
            if self.trouble == "die":
                os._exit(7)
            if self.trouble == "nan":
                self.place[0] = np.nan
        info = {"clock": self.clock, "detail": {"place": self.place.copy()}} if self.clock % 2 else {}
        return self.observe(), self.place.copy(), bool(self.np_random.random() < 0.1), self.clock == 9, info
