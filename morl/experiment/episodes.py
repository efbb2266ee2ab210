"""Training curves: the return and length of every episode that an agent trains in, in the environment's own units."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from morl.envs import MultiObjectiveVectorEnv
from morl.envs.core.contract import MultiObjectiveVectorWrapper
from morl.envs.core.types import ActionBatch, Info, ObservationBatch, Options, Seed, VectorStep
from morl.protocols import IndexArray, StateDict


def _do_nothing() -> None:
    pass


class RecordEpisodes(MultiObjectiveVectorWrapper):
    """Environments that add up the rewards of every episode, whoever steps them; the sums are saved with the run.

    Args:
        env: pays in the environment's units.
        objectives: the name of each objective.

    Attributes:
        before_step: called before each step; what it raises stops the agent.
    """

    def __init__(self, env: MultiObjectiveVectorEnv, objectives: Sequence[str]) -> None:
        super().__init__(env)
        self.objectives = tuple(objectives)
        self.before_step: Callable[[], None] = _do_nothing
        self._time = 0  # steps of each environment so far
        self._starts = np.zeros(env.num_envs, dtype=np.int64)  # [env] time at which the episode under way began
        self._returns = np.zeros((env.num_envs, env.num_objectives))  # [env, objective] of the episode under way
        self._ended = 0  # episodes since the last summary
        self._return_sum = np.zeros(env.num_objectives)  # of these episodes
        self._length_sum = 0
        self._novelty = np.zeros(3)  # of these: sum of their novelty, number that violated the bound, number

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments, or those that `options["reset_mask"]` names; episodes under way are not counted."""
        reset = np.ones(len(self._starts), dtype=np.bool_)
        if options and "reset_mask" in options:
            reset = np.asarray(options["reset_mask"], dtype=np.bool_)
        self._starts[reset] = self._time
        self._returns[reset] = 0.0
        return super().reset(seed=seed, options=options)

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments."""
        self.before_step()
        result = self.inner.step(actions)
        _, rewards, terminated, truncated, infos = result
        self._time += 1
        with np.errstate(over="ignore"):  # evaluations say where rewards are too large
            self._returns += rewards
        ended = (terminated | truncated).nonzero()[0]
        if ended.size:
            self._count(ended)
            if "novelty" in infos:  # of `NoveltyConstraint`
                sums = [infos[name][ended].sum() for name in ("novelty", "novelty_violated")]
                self._novelty += [*sums, ended.size]
        return result

    def _count(self, ended: IndexArray) -> None:
        """Count the episodes of some environments, and begin their next ones.

        Args:
            ended: [n] indices of environments whose episode has ended.
        """
        self._ended += ended.size
        with np.errstate(over="ignore"):
            self._return_sum += np.add.reduce(self._returns[ended])
        self._length_sum += ended.size * self._time - int(np.add.reduce(self._starts[ended]))
        self._returns[ended] = 0.0
        self._starts[ended] = self._time

    def summarize(self, prefix: str = "rollout") -> dict[str, float]:
        """Return the number of episodes that ended since the last call, and their mean length and undiscounted returns.

        Without an episode, there are no means. Where training must differ from other policies, their mean novelty and
        the share of those that violated the bound are there too.

        Args:
            prefix: what the names of the numbers begin with.
        """
        count = self._ended
        values = {f"{prefix}/episodes": float(count)}
        if count > 0:
            values[f"{prefix}/length"] = self._length_sum / count
            means = zip(self.objectives, (self._return_sum / count).tolist(), strict=True)
            values |= {f"{prefix}/return/{name}": mean for name, mean in means}
            if self._novelty[2] > 0:
                novelty, violated = (self._novelty[:2] / self._novelty[2]).tolist()
                values |= {f"{prefix}/novelty": novelty, f"{prefix}/novelty_violated": violated}
        self._ended = 0
        self._return_sum = np.zeros_like(self._return_sum)
        self._length_sum = 0
        self._novelty = np.zeros(3)
        return values

    def episodes_state_dict(self) -> dict[str, Any]:
        """Return the episodes under way, and those that no summary has counted yet, as plain data."""
        return {
            "lengths": self._time - self._starts,
            "returns": self._returns.copy(),
            "ended": self._ended,
            "return_sum": self._return_sum.copy(),
            "length_sum": self._length_sum,
            "novelty": self._novelty.copy(),
        }

    def load_episodes_state_dict(self, state: StateDict) -> None:
        """Restore a state that `episodes_state_dict` returned, for as many environments."""
        self._starts = self._time - np.array(state["lengths"], dtype=np.int64)
        self._returns = np.array(state["returns"], dtype=np.float64)
        self._ended = int(state["ended"])
        self._return_sum = np.array(state["return_sum"], dtype=np.float64)
        self._length_sum = int(state["length_sum"])
        self._novelty = np.array(state["novelty"], dtype=np.float64)
