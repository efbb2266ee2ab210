"""One server, many queues: whom to serve next (the environment of MO-TSIVR-PG, Guidobene et al.).

Customers join queue m at Poisson rate `first + step * m` per time step; serving a queue that is not empty takes one
customer out of it and pays 1 in that queue's objective, so that a return is what each queue got of the server. Each
step serves first and lets customers arrive afterwards. An episode lasts 500 steps and begins with empty queues.

The action mask allows the queues that hold customers, all of them when none does. Serving an empty queue is legal and
pays nothing, and by an exchange argument no policy gains by it while another queue waits.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams
from morl.envs.core.single import single_lane
from morl.envs.families.quantiles import poisson

Array = NDArray[Any]

CAPACITY = 500
HORIZON = 500
RATES = {6: (0.05, 0.033), 8: (0.0125, 0.025), 12: (0.0115, 0.01), 16: (0.005, 0.006), 32: (0.00175, 0.0015)}
RATES[64] = (0.00053, 0.00038)
"""Rate of the first queue and what each further one has more, by the number of queues (customers per step)."""


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    lengths: Array,
    rates: Array,
    none: Array,
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
    allowed: Array,
) -> None:
    """Serve, then let arrive. `lengths`, `allowed`: [env, queue]; `rates`, `none`: [queue]."""
    for lane in range(actions.size):
        served = actions[lane]
        if lengths[lane, served] > 0:
            lengths[lane, served] -= 1
            rewards[lane, served] = 1.0
        waiting = False
        for queue in range(rates.size):
            arrived = poisson(draws[lane, positions[lane] + queue], rates[queue], none[queue])
            lengths[lane, queue] = min(lengths[lane, queue] + arrived, CAPACITY)
            waiting |= lengths[lane, queue] > 0
        positions[lane] += rates.size
        for queue in range(rates.size):
            observations[lane, queue] = lengths[lane, queue]
            allowed[lane, queue] = lengths[lane, queue] > 0 or not waiting


class ServerQueuesKernel(KernelVectorEnv):
    """The batch form of server-queues-v0; `queues` is 6, 8, 12, 16, 32 or 64, and the number of objectives."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = HORIZON, queues: int = 6) -> None:
        if queues not in RATES:
            raise ValueError(f"queues must be one of {', '.join(map(str, RATES))}, got {queues!r}")
        super().__init__(
            num_envs,
            observation_space=Box(0.0, CAPACITY, (queues,), np.float32),
            action_space=Discrete(queues),
            reward_space=Box(0.0, 1.0, (queues,), np.float32),
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=queues, num_envs=num_envs, length=32 * queues),
        )
        first, step = RATES[queues]
        self.rates = first + step * np.arange(queues)
        self.none = np.exp(-self.rates)  # the chance that nobody joins a queue
        self.lanes_state = {
            "lengths": np.zeros((num_envs, queues), dtype=np.int64),
            "allowed": np.ones((num_envs, queues), dtype=np.int8),
        }

    def _start(self, mask: Array, observations: Array) -> None:
        self.lanes_state["lengths"][mask] = observations[mask] = 0
        self.lanes_state["allowed"][mask] = 1

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws, positions, lanes = self.streams.draws, self.streams.position, self.lanes_state
        chances = (self.rates, self.none, draws, positions)
        terminated[:] = False
        advance(actions, lanes["lengths"], *chances, observations, rewards, lanes["allowed"])

    def _infos(self) -> dict[str, Array]:
        return {"action_mask": self.lanes_state["allowed"]}


server_queues = single_lane(ServerQueuesKernel)
"""The single form of server-queues-v0."""
