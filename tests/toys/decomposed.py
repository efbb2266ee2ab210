"""Small MORL/D agents on toy environments, and an evaluation whose front is known."""

from typing import Any

import numpy as np
import torch
import toys

import morl
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.settings_in_use import ineffective
from morl.agents.morl_d.validation import choose_solver
from morl.envs.core.registry import problem

CPU = torch.device("cpu")
WALK, CONTINUOUS = "toy-walk-v0", "toy-continuous-walk-v0"


def config_of(preset: str = "vanilla", **settings: Any) -> Config:
    return Config.preset(preset, **settings)


def tiny(env: str = WALK, **settings: Any) -> dict[str, Any]:
    """Settings, with those that make an agent small wherever they have an effect."""
    small = toys.TINY_MORLD | settings
    config = config_of(**small)
    solver = choose_solver(config, problem(env))
    defaults = {
        name: value for name, value in toys.TINY_MORLD_OFF_POLICY.items() if not ineffective(config, solver, name)
    }
    return defaults | small


def build(env: str = WALK, num_envs: int = 6, **settings: Any) -> MORLD:
    return MORLD(problem(env), config_of(**tiny(env, **settings)), 3, num_envs, CPU)


def answer(preferences: Any, episodes: int, policies: Any = None) -> Any:
    """An evaluation in which policy i returns a point of its own on a concave front, the same in every episode."""
    angle = 0.3 + 0.5 * (policies % 3)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * 10.0


def learn(agent: MORLD, env: str = WALK, num_envs: int = 6, steps: int = 130) -> MORLD:
    for _ in agent.learn(morl.make_vec(env, num_envs), steps, answer):
        pass
    return agent
