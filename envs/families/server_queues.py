"""One server, many queues: whom to serve next (the environment of MO-TSIVR-PG, Guidobene et al.).

Customers join queue m at Poisson rate `first + step * m` per time step; serving a queue that is not empty takes one
customer out of it and pays 1 in that queue's objective, so that a return is what each queue got of the server. Each
step serves first and lets customers arrive afterwards. An episode lasts 500 steps and begins with empty queues.

The action mask allows the queues that hold customers, all of them when none does. Serving an empty queue is legal and
pays nothing, and by an exchange argument no policy gains by it while another queue waits. With the mask every policy
serves nearly everybody, as fewer customers come than can be served: `action_masks=False` is the paper's task, in which
policies have to learn whom to serve.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.single import single_form
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, Sheet
from morl.envs.families.quantiles import poisson

CAPACITY = 500
HORIZON = 500
RATES = {6: (0.05, 0.033), 8: (0.0125, 0.025), 12: (0.0115, 0.01), 16: (0.005, 0.006), 32: (0.00175, 0.0015)}
RATES[64] = (0.00053, 0.00038)
"""Rate of the first queue and what each further one has more, by the number of queues (customers per step)."""


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    lengths: Array,
    arrivals: Array,
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
    allowed: Array,
) -> None:
    """Serve a queue, then let customers arrive.

    `lengths`, `allowed`: [env, queue]; `arrivals`: [2, queue] rate of arrivals, and chance that nobody arrives.
    """
    rates = arrivals[0]
    none = arrivals[1]
    for env in range(actions.size):
        served = actions[env]
        if lengths[env, served] > 0:
            lengths[env, served] -= 1
            rewards[env, served] = 1.0
        waiting = False
        for queue in range(rates.size):
            arrived = poisson(draws[env, positions[env] + queue], rates[queue], none[queue])
            lengths[env, queue] = min(lengths[env, queue] + arrived, CAPACITY)
            waiting |= lengths[env, queue] > 0
        positions[env] += rates.size
        for queue in range(rates.size):
            observations[env, queue] = lengths[env, queue]
            allowed[env, queue] = lengths[env, queue] > 0 or not waiting


class ServerQueuesKernel(KernelVectorEnv):
    """The batch form of server-queues-v0; `queues` is 6, 8, 12, 16, 32 or 64, and the number of objectives.

    Args:
        num_envs: number of environments.
        max_episode_steps: steps of an episode.
        queues: number of queues.
        action_masks: whether infos hold action masks.
    """

    picture_size = (640, 400)

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = HORIZON,
        queues: int = 6,
        action_masks: bool = True,
    ) -> None:
        if queues not in RATES:
            raise ValueError(f"queues must be one of {', '.join(map(str, RATES))}, got {queues!r}")
        super().__init__(
            num_envs,
            observation_space=Box(0.0, CAPACITY, (queues,), np.float32),
            action_space=Discrete(queues),
            reward_space=Box(0.0, 1.0, (queues,), np.float32),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=queues, num_envs=num_envs, length=32 * queues),
        )
        self.action_masks = action_masks
        first, step = RATES[queues]
        rates = first + step * np.arange(queues)
        self.arrivals = np.stack([rates, np.exp(-rates)])
        self.arrays = {
            "lengths": np.zeros((num_envs, queues), dtype=np.int64),
            "allowed": np.ones((num_envs, queues), dtype=np.int8),
        }

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the queues as bars, the one that was served last in orange."""
        lengths = self.arrays["lengths"][0]
        sheet.text((16, 22), f"{int(lengths.sum())} customers wait; orange: served last", "faint")
        scale = max(20.0, float(lengths.max()))
        width = 608.0 / len(lengths)
        for queue, length in enumerate(lengths.tolist()):
            left = 16 + width * queue
            chosen = action is not None and int(action) == queue
            color = "orange" if chosen else "blue"
            sheet.rectangle((left + 0.15 * width, 360), (left + 0.85 * width, 360 - 290 * length / scale), color)
            if len(lengths) <= 16:
                middle = left + width / 2
                sheet.text((middle, 376), f"{queue}", "ink", 13, "middle")
                sheet.text((middle, 348 - 290 * length / scale), f"{length}", "ink", 13, "middle")
        sheet.line([(16, 360), (624, 360)], "faint", 1)

    def _start(self, mask: Array, observations: Array) -> None:
        self.arrays["lengths"][mask] = observations[mask] = 0
        self.arrays["allowed"][mask] = 1

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws = self.streams.draws
        positions = self.streams.position
        terminated[:] = False
        lengths = self.arrays["lengths"]
        advance(actions, lengths, self.arrivals, draws, positions, observations, rewards, self.arrays["allowed"])

    def _infos(self) -> dict[str, Array]:
        return {"action_mask": self.arrays["allowed"]} if self.action_masks else {}


server_queues = single_form(ServerQueuesKernel)
"""The single form of server-queues-v0."""
