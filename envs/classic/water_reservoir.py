"""The water reservoir in batch (Castelletti, Pianosi and Restelli 2012; rules as in mo-gymnasium).

A dam releases water: too little, and the fields go dry; too much held back, and the upstream bank is flooded. Rewards,
the first two by default: [flood upstream, irrigation, hydroelectricity, flood downstream], all of them deficits <= 0.

An episode draws its first level, an integer or a choice, and then a normal inflow every step, all from one generator.
`LaneStreams` holds draws of one kind, so the inflows of a whole episode are drawn at its start, and what an early reset
leaves unused is given back. This file is the pattern for environments that mix their draws.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams, single

Array = NDArray[Any]

MAXIMUM_RELEASE = 100.0
IRRIGATION = 50.0  # water demand
BANK = 50.0  # level from which the upstream bank is flooded
INFLOW, INFLOW_DEVIATION = 40.0, 10.0
POWER = 4.36  # hydroelectric demand
POTENTIAL = 1.0 * 9.81 * 1000.0  # efficiency * gravity * density of water
HOUR = 3.6e6
DOWNSTREAM = 30.0  # release from which the downstream bank is flooded
HIGHEST_START = 160  # of the starts that are drawn from a range


@njit(cache=True, nogil=True)
def like(value: float, wide: bool) -> float:
    """Return `value` as the original has it: float64 where the action is one (`wide`), else rounded to float32."""
    return value if wide else single(value)


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
    demand = like(POWER, wide)
    for lane in range(actions.shape[0]):
        most, wanted, fine = np.float64(level[lane]), np.float64(actions[lane, 0]), 0.0
        least = max(single(most - MAXIMUM_RELEASE), 0.0)
        if share:
            amount = like(like(wanted * single(most - least), wide) + least, wide)
        else:
            amount = min(max(wanted, least), most)
            fine = -penalty * abs(like(amount - wanted, wide))
        inflow = INFLOW + INFLOW_DEVIATION * draws[lane, positions[lane]]
        positions[lane] += 1
        level[lane] = observations[lane, 0] = max(most + inflow - amount, 0.0)
        now = np.float64(level[lane])
        rewards[lane, 0] = single(-max(single(now - BANK), 0.0) + fine)
        rewards[lane, 1] = single(-max(like(IRRIGATION - amount, wide), 0.0) + fine)
        if rewards.shape[1] > 2:
            power = like(like(single(single(POTENTIAL) * now) * max(amount, 0.0), wide) / HOUR, wide)
            rewards[lane, 2] = single(-max(like(demand - power, wide), 0.0) + fine)
        if rewards.shape[1] > 3:
            rewards[lane, 3] = single(-max(like(amount - DOWNSTREAM, wide), 0.0) + fine)


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
            streams=LaneStreams("standard_normal", reserve=0, num_envs=num_envs, length=limit),
        )
        self.starts = np.array(DamEnv.s_init, dtype=np.float32)
        self.share, self.penalty = bool(normalized_action), float(penalize)
        self.initial_state = None if initial_state is None else float(np.asarray(initial_state, np.float32).item())
        self.lanes_state = {"level": np.zeros(num_envs, dtype=np.float32)}

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        level = self.lanes_state["level"]
        for lane in np.flatnonzero(mask).tolist():
            generator = self.streams.give_back(lane)
            if self.initial_state is not None:
                level[lane] = self.initial_state
            elif self.penalty:
                level[lane] = generator.integers(0, HIGHEST_START)
            else:
                level[lane] = self.starts[generator.integers(0, self.starts.size)]  # what `choice` draws
            self.streams.fill(lane)
        observations[mask, 0] = level[mask]

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        draws, positions, level = self.streams.draws, self.streams.position, self.lanes_state["level"]
        release(actions, level, draws, positions, self.share, self.penalty, observations, rewards)
