"""Small MORL/D agents on toy environments, and an evaluation whose front is known."""

from typing import Any

import numpy as np
import torch
import toys

import morl
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config
from morl.envs.core.registry import problem

CPU = torch.device("cpu")
WALK, CONTINUOUS = "toy-walk-v0", "toy-continuous-walk-v0"


def build(env: str = WALK, lanes: int = 6, **settings: Any) -> MORLD:
    return MORLD(problem(env), Config(**toys.TINY_MORLD | settings), 3, lanes, CPU)


def answer(preferences: Any, episodes: int, policies: Any = None) -> Any:
    """An evaluation in which policy i returns a point of its own on a concave front, the same in every episode."""
    angle = 0.3 + 0.5 * (policies % 3)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * 10.0


def learn(agent: MORLD, env: str = WALK, lanes: int = 6, steps: int = 130) -> MORLD:
    for _ in agent.learn(morl.make_vec(env, lanes), steps, answer):
        pass
    return agent
