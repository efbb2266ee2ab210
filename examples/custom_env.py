"""Your own environment in five minutes: write it, register it, check it, train on it, read the front.

Run it with `.venv/bin/python examples/custom_env.py`; docs/guide/your_environment.md explains it line by line.
"""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

import morl
from morl.envs import check_env, register
from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Array, Info, Options, Step

ROAD = 12  # cells to the goal
FUEL = np.array([0.1, 0.5, 1.2])  # burnt by moving 1, 2 or 3 cells


class Van(gymnasium.Env[Array, int]):
    """A van drives to its goal: the faster, the thirstier. Reward: [-1 per step, -fuel]."""

    def __init__(self) -> None:
        self.observation_space = Box(0.0, ROAD + 2.0, (1,), np.float32)
        self.action_space = Discrete(3)
        self.reward_space = Box(np.array([-1.0, -2.0], np.float32), np.zeros(2, np.float32))

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Array, Info]:
        """Put the van at the start of the road."""
        super().reset(seed=seed)
        self.position = 0
        return np.array([0.0], np.float32), {}

    def step(self, action: int) -> Step:
        """Drive 1, 2 or 3 cells."""
        self.position += int(action) + 1
        reward = np.array([-1.0, -FUEL[action]])
        return np.array([self.position], np.float32), reward, self.position >= ROAD, False, {}


@njit
def advance(actions: Array, position: Array, observations: Array, rewards: Array, terminated: Array) -> None:
    for env in range(actions.size):
        position[env] += actions[env] + 1
        observations[env, 0] = position[env]
        rewards[env, 0] = -1.0
        rewards[env, 1] = -FUEL[actions[env]]
        terminated[env] = position[env] >= ROAD


class VanBatch(KernelVectorEnv):
    """The same van in batch: optional, and some hundred times faster. `check_env` compares the two."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        van = Van()
        super().__init__(num_envs, van.observation_space, van.action_space, van.reward_space, max_episode_steps)
        self.arrays = {"position": np.zeros(num_envs, dtype=np.int64)}

    def _start(self, mask: Array, observations: Array) -> None:
        self.arrays["position"][mask] = 0
        observations[mask] = 0.0

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, self.arrays["position"], observations, rewards, terminated)


register(
    "van-v0",
    entry_point=Van,
    vector_entry_point=VanBatch,
    objectives=("time", "fuel"),
    reference_point=(-15.0, -6.0),
    discount=0.99,
    max_episode_steps=50,
)


def main(total_steps: int = 3_000, run_dir: str = "runs/van") -> None:
    check_env("van-v0")
    run = morl.train(
        "pd-morl",
        "van-v0",
        total_steps=total_steps,
        seed=0,
        run_dir=run_dir,
        overwrite=True,
        evaluate_every=total_steps,
        evaluation_divisions=10,
        config={"hidden_sizes": (64, 64), "updates_per_step": 0.2},  # a small network is enough for a van
    )
    for point, preference in zip(run.front.points, run.front.preferences, strict=True):
        print(f"time {-point[0]:6.2f}   fuel {-point[1]:5.2f}   preference {np.round(preference, 2)}")


if __name__ == "__main__":
    main()
