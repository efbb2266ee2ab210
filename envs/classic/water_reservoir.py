"""The water reservoir in batch (Castelletti, Pianosi and Restelli 2012; rules as in mo-gymnasium).

A dam releases water: too little, and the fields go dry; too much held back, and the upstream bank is flooded. Rewards,
the first two by default: [flood upstream, irrigation, hydroelectricity, flood downstream], all of them deficits <= 0.

An episode draws its first level, an integer or a choice, and then a normal inflow every step, all from one generator.
`RandomStreams` holds draws of one kind, so the inflows of a whole episode are drawn at its start, and an early reset
undoes the unused ones. This file is the pattern for environments that mix their draws.
"""

import numpy as np
from gymnasium.spaces import Box
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, as_float32
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Array

MAXIMUM_RELEASE = 100.0
IRRIGATION = 50.0  # water demand
BANK = 50.0  # level from which the upstream bank is flooded
INFLOW = 40.0
INFLOW_DEVIATION = 10.0
POWER = 4.36  # hydroelectric demand
POTENTIAL = 1.0 * 9.81 * 1000.0  # efficiency * gravity * density of water
HOUR = 3.6e6
DOWNSTREAM = 30.0  # release from which the downstream bank is flooded
HIGHEST_START = 160  # of the starts that are drawn from a range


@njit(cache=True, nogil=True)
def rounded(value: float, wide: bool) -> float:
    """Return `value` as the original has it: float64 where the action is one (`wide`), else rounded to float32."""
    return value if wide else as_float32(value)


@njit(cache=True, nogil=True)
def release(
    actions: Array,
    level: Array,
    draws: Array,
    positions: Array,
    share: bool,
    penalty: float,
    observations: Array,
    rewards: Array,
) -> None:
    """Release water and let the river in. Rounded where the original rounds: levels always, amounts as actions are.

    Args:
        actions: [env, 1] float32 or float64: an amount of water, or with `share` the share of what may be released.
        level: [env] float32 water in the reservoir.
        draws: [env, step] standard normal inflows.
        positions: [env] the next of them.
        share: whether actions are shares.
        penalty: price of each unit that an amount lies outside what is possible; 0 or 1.
        observations: [env, 1] the new level.
        rewards: [env, objective], two to four objectives.
    """
    wide = actions.itemsize == 8
    demand = rounded(POWER, wide)
    for env in range(actions.shape[0]):
        most = np.float64(level[env])
        wanted = np.float64(actions[env, 0])
        fine = 0.0
        least = max(as_float32(most - MAXIMUM_RELEASE), 0.0)
        if share:
            amount = rounded(rounded(wanted * as_float32(most - least), wide) + least, wide)
        else:
            amount = min(max(wanted, least), most)
            fine = -penalty * abs(rounded(amount - wanted, wide))
        inflow = INFLOW + INFLOW_DEVIATION * draws[env, positions[env]]
        positions[env] += 1
        level[env] = observations[env, 0] = max(most + inflow - amount, 0.0)
        now = np.float64(level[env])
        rewards[env, 0] = as_float32(-max(as_float32(now - BANK), 0.0) + fine)
        rewards[env, 1] = as_float32(-max(rounded(IRRIGATION - amount, wide), 0.0) + fine)
        if rewards.shape[1] > 2:
            power = rounded(rounded(as_float32(as_float32(POTENTIAL) * now) * max(amount, 0.0), wide) / HOUR, wide)
            rewards[env, 2] = as_float32(-max(rounded(demand - power, wide), 0.0) + fine)
        if rewards.shape[1] > 3:
            rewards[env, 3] = as_float32(-max(rounded(amount - DOWNSTREAM, wide), 0.0) + fine)


class WaterReservoirKernel(KernelVectorEnv):
    """The batch form of water-reservoir-v0; options have the original's names."""

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        time_limit: int = 100,
        nO: int = 2,
        penalize: bool = False,
        normalized_action: bool = False,
        initial_state: Array | None = None,
    ) -> None:
        from mo_gymnasium.envs.water_reservoir.dam_env import DamEnv

        limit = min(time_limit, max_episode_steps or time_limit)
        super().__init__(
            num_envs,
            observation_space=Box(0.0, np.inf, (1,), np.float32),
            action_space=Box(0.0, 1.0 if normalized_action else np.inf, (1,), np.float32),
            reward_space=Box(np.full(nO, -np.inf, np.float32), np.zeros(nO, np.float32)),
            max_episode_steps=limit,
            streams=RandomStreams("standard_normal", reserve=0, num_envs=num_envs, length=limit),
        )
        self.starts = np.array(DamEnv.s_init, dtype=np.float32)
        self.share = bool(normalized_action)
        self.penalty = float(penalize)
        self.initial_state = None if initial_state is None else float(np.asarray(initial_state, np.float32).item())
        self.arrays = {"level": np.zeros(num_envs, dtype=np.float32)}

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        level = self.arrays["level"]
        for env in np.flatnonzero(mask).tolist():
            generator = self.streams.rewound_generator(env)
            if self.initial_state is not None:
                level[env] = self.initial_state
            elif self.penalty:
                level[env] = generator.integers(0, HIGHEST_START)
            else:
                level[env] = self.starts[generator.integers(0, self.starts.size)]  # what `choice` draws
            self.streams.fill(env)
        observations[mask, 0] = level[mask]

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        draws = self.streams.draws
        positions = self.streams.position
        level = self.arrays["level"]
        release(actions, level, draws, positions, self.share, self.penalty, observations, rewards)
