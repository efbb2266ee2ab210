"""Transitions over several steps: rewards are summed before anything is bootstrapped from values.

A reward that ends an episode, such as that of a fall, reaches the actions before it in a few updates instead of in one
update for each step (Sutton 1988; with a replay as in Rainbow, Hessel et al. 2018, arXiv 1710.02298). The actions after
the first are those of the policy that acted, under the preference that it had: targets lag behind the policy that
learns, which is why few steps are best.
"""

from typing import Any

import numpy as np

from morl.agents.pd_morl.hindsight import Transitions
from morl.protocols import BoolArray, StateDict


class MultiStep:
    """Turns transitions over one step into transitions over several.

    A transition that starts at step t has the reward R = sum_{k < m} gamma^k r_{t + k}, and the observation after m
    steps as its next one; m is less than `num_steps` only where the episode ends before. Targets are
    R + gamma^m Q(s_{t + m}, .), which learners compute as R + gamma (1 - d) Q: `terminated` d is 1 - gamma^(m - 1), and
    1 where the episode has terminated. Every transition leaves `num_steps` - 1 steps after it came in.

    Attributes:
        pending: the transitions that may still grow, the oldest first.
        open: [learner * env] of each pending transition, false where its episode has ended.

    Args:
        num_steps: largest number of steps, at least 1.
        discount: gamma.
    """

    def __init__(self, num_steps: int, discount: float) -> None:
        self.num_steps = num_steps
        self.discount = discount
        self.pending: list[Transitions] = []
        self.open: list[BoolArray] = []

    @property
    def discounts(self) -> float:
        """Return sum_{k < n} gamma^k: by how much larger a sum of n equal rewards is than each of them."""
        return float((self.discount ** np.arange(self.num_steps)).sum())

    def advance(self, new: Transitions, ended: BoolArray) -> Transitions | None:
        """Lengthen what is pending by a new transition of every environment; return the one that is complete, if any.

        Args:
            new: [learner * env, ...] over one step.
            ended: [learner * env] where an episode has ended, by a time limit too.
        """
        if self.num_steps == 1:
            return new
        older = zip(reversed(self.pending), reversed(self.open), strict=True)
        for age, (transitions, still_open) in enumerate(older, start=1):
            power = self.discount**age
            transitions.reward[still_open] += power * new.reward[still_open]
            transitions.next_observation[still_open] = new.next_observation[still_open]
            transitions.terminated[still_open] = 1.0 - power * (1.0 - new.terminated[still_open])
            if transitions.next_mask is not None and new.next_mask is not None:
                transitions.next_mask[still_open] = new.next_mask[still_open]
            still_open &= ~ended
        self.pending.append(_growing(new))
        self.open.append(~ended)
        if len(self.pending) < self.num_steps:
            return None
        self.open.pop(0)
        return self.pending.pop(0)

    def cut(self) -> None:
        """End all episodes: the environments were reset."""
        for still_open in self.open:
            still_open[:] = False

    def state_dict(self, envs: slice) -> StateDict:
        """Return what is pending in some of the environments.

        Args:
            envs: those of one learner.
        """
        return {
            "pending": [
                {name: None if column is None else column[envs] for name, column in transitions._asdict().items()}
                for transitions in self.pending
            ],
            "open": [still_open[envs] for still_open in self.open],
        }

    def load_state_dict(self, state: StateDict, envs: slice, total_envs: int) -> None:
        """Restore some of the environments from the result of `state_dict`; all must come from the same step.

        Args:
            state: result of `state_dict`.
            envs: those of one learner.
            total_envs: number of all environments.
        """
        if len(self.pending) != len(state["pending"]):
            self.pending = [_room_for(total_envs, columns) for columns in state["pending"]]
            self.open = [np.zeros(total_envs, dtype=np.bool_) for _ in state["open"]]
        for transitions, columns in zip(self.pending, state["pending"], strict=True):
            for name, column in columns.items():
                if column is not None:
                    getattr(transitions, name)[envs] = column
        for still_open, saved in zip(self.open, state["open"], strict=True):
            still_open[envs] = saved


def _growing(transitions: Transitions) -> Transitions:
    """Return a copy of transitions, so that environments may reuse their arrays; `terminated` becomes a share."""
    masks = transitions.next_mask
    return Transitions(
        observation=transitions.observation.copy(),
        action=transitions.action.copy(),
        reward=transitions.reward.copy(),
        next_observation=transitions.next_observation.copy(),
        terminated=transitions.terminated.astype(np.float64),
        preference=transitions.preference.copy(),
        next_mask=None if masks is None else masks.copy(),
    )


def _room_for(total_envs: int, columns: StateDict) -> Transitions:
    """Return transitions of all environments, for the columns [env, ...] of some."""
    room: dict[str, Any] = {
        name: None if column is None else np.zeros((total_envs, *column.shape[1:]), column.dtype)
        for name, column in columns.items()
    }
    return Transitions(**room)
