"""A corridor whose doors can only be told apart by who remembers what the first step showed (`recall-v0`).

The first observation shows a side, left or right, each with probability one half; no later one does. Every step walks
one place further along the corridor. At three places there is a door on either side: the action opens one of them,
which ends the episode, or walks on. Behind the door on the side that was shown lies the prize of that place, larger the
further the place; behind the other there is nothing.

    prize: that of the place, where the opened door is on the side that was shown
    time: -1 for each step

A policy that remembers the side opens the right door at any place: its returns make the front. Without a memory the
expected prize is half of that of the place, whatever the policy: the first step, the only one that sees the side, walks
on whatever the action, so that all that is seen and done later is independent of the side.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.single import single_form
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.protocols import FloatArray

PLACES = np.array([2, 5, 8])
"""Of the doors, in steps from the start; the last is the end of the corridor."""
PRIZES = np.array([4.0, 10.0, 12.0])
LENGTH = int(PLACES[-1])
HORIZON = 20
LEFT = 1
RIGHT = 2  # actions; 0 walks on


class RecallKernel(KernelVectorEnv):
    """The batch form of recall-v0.

    Observation: the side (-1 left, 1 right, 0 after the first step), the place as a share of the corridor, and whether
    there are doors. Actions: walk on, the left door, the right door; where there are no doors, all walk on.
    """

    picture_size = (640, 360)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = HORIZON) -> None:
        super().__init__(
            num_envs,
            observation_space=Box(-1.0, 1.0, (3,), np.float32),
            action_space=Discrete(3),
            reward_space=Box(np.array([0.0, -1.0], np.float32), np.array([PRIZES.max(), 0.0], np.float32)),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.arrays = {"side": np.zeros(num_envs, dtype=np.int64), "place": np.zeros(num_envs, dtype=np.int64)}

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        envs = np.flatnonzero(mask)
        draws = self.streams.draws[envs, self.streams.position[envs]]
        self.streams.position[envs] += 1
        self.arrays["side"][envs] = np.where(draws < 0.5, LEFT, RIGHT)
        self.arrays["place"][envs] = 0
        observations[envs] = 0.0
        observations[envs, 0] = np.where(draws < 0.5, -1.0, 1.0)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        side = self.arrays["side"]
        place = self.arrays["place"]
        here = place[:, None] == PLACES  # [env, door]
        terminated[:] = here.any(axis=1) & (actions != 0)
        rewards[:, 0] = (here @ PRIZES) * (actions == side)
        rewards[:, 1] = -1.0
        place[:] = np.minimum(place + 1, LENGTH)
        observations[:, 0] = 0.0
        observations[:, 1] = place / LENGTH
        observations[:, 2] = np.isin(place, PLACES)

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the corridor, its doors and who walks in it; the prize is behind the orange doors."""
        place = int(self.arrays["place"][0])
        side = int(self.arrays["side"][0])
        for door, prize in zip(PLACES.tolist(), PRIZES.tolist(), strict=True):
            x = 60.0 + 60.0 * door
            for hand, top in ((LEFT, 90.0), (RIGHT, 210.0)):
                sheet.rectangle((x - 14.0, top), (x + 14.0, top + 30.0), "orange" if hand == side else "faint")
            sheet.text((x, 70.0), f"{prize:g}", "ink", 13, "middle")
        sheet.line([(30.0, 120.0), (580.0, 120.0)], "faint", 1)
        sheet.line([(30.0, 210.0), (580.0, 210.0)], "faint", 1)
        sheet.circle((60.0 + 60.0 * place, 165.0), 14.0, "blue")
        if place == 0:
            sheet.text((60.0, 290.0), "left" if side == LEFT else "right", "ink", 13, "middle")
        if action is not None:
            sheet.text((320.0, 320.0), ("walk on", "left door", "right door")[int(action)], "ink", 13, "middle")


recall = single_form(RecallKernel)


def front(discount: float, max_episode_steps: int | None = HORIZON, **_: EnvOption) -> FloatArray:
    """Return the exact returns [prize, time] of who remembers, one point for each place or two of them.

    With the place of the doors depending on the side, the return is the mean of two places'.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    limit = LENGTH + 1 if max_episode_steps in (None, -1) else max_episode_steps
    assert limit is not None
    steps = np.minimum(PLACES + 1, limit)
    prizes = np.where(limit > PLACES, discount**PLACES * PRIZES, 0.0)
    time = np.array([-np.sum(discount ** np.arange(number)) for number in steps])
    places = np.stack([prizes, time], axis=1)
    pairs = (places[:, None] + places).reshape(-1, 2) / 2.0
    points = np.unique(pairs, axis=0)  # by prize
    dominated = [bool((points[row + 1 :, 1] >= time).any()) for row, time in enumerate(points[:, 1])]
    undominated: FloatArray = points[~np.array(dominated)]
    return undominated
