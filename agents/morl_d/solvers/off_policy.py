"""Solvers that learn from replay: the policies that train, in a few groups, each in a thread of its own."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.cooperation import copy_members
from morl.learning.off_policy import Learner, UtilityFn, linear_weights
from morl.learning.sampled_batches import SampledBatches
from morl.learning.shared_replay import SharedReplayBuffer
from morl.seeding import derived_seed

Indices = NDArray[np.int64]
Judge = Callable[[Tensor, Tensor], UtilityFn]
"""(preferences [policy, 1 or batch, objective], bounds [policy, 2, objective]) -> utility."""


class OffPolicy:
    """Trains `slots` policies at a time, each on batches from the rings it may draw from.

    With conditioned networks there is one policy for all weights: the batches of all slots are one long batch, and
    every row is judged, and observed, under the weights of its slot.

    Args:
        build: number of policies, generator -> learner.
        judge: see there.
        columns: of the replay, name -> width.
        config: resolved settings.
        slots: policies that train side by side.
        seed: of all random streams.
        device: where everything lives.
    """

    def __init__(
        self,
        build: Callable[[int, torch.Generator], Learner],
        judge: Judge,
        columns: Mapping[str, int],
        config: Config,
        slots: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.config, self.judge, self.slots, self.device = config, judge, slots, device
        self.conditioned = config.networks == "conditioned"
        first = torch.Generator().manual_seed(derived_seed(seed, "network"))
        rows = 1 if self.conditioned else config.population
        everybody = build(rows, first)
        self.members = {name: tensor.clone() for name, tensor in everybody.tensors().items()}
        linear = config.utility == "linear" and not config.augmented_state and not self.conditioned
        self.at_once = linear and getattr(everybody, "compiled", None) is not None  # has threads of its own
        workers = config.workers or (2 if max(config.hidden_sizes) >= 128 and not self.at_once else 1)
        groups = 1 if self.conditioned else min(workers, slots)
        self.groups = [slice(0, 1)] if self.conditioned else _split(slots, groups)
        unused = torch.Generator().manual_seed(0)
        self.learners = [build(group.stop - group.start, unused) for group in self.groups]
        capacity = config.buffer_size // (config.population if config.replay == "shared" else 1)
        self.rings = SharedReplayBuffer(max(1, capacity), columns, device, config.population)
        names = ("replay", "exploration", *(f"learner {number}" for number in range(groups)))
        self.generators = [torch.Generator(device).manual_seed(derived_seed(seed, name)) for name in names]
        self.threads: ThreadPoolExecutor | None = None
        self.active = np.arange(slots)
        self.preferences = self.bounds = torch.empty(0)
        self.number = 0  # of gradient steps, for the policy's delay

    # --- Who trains ---------------------------------------------------------------------------------------------------

    def load(self, active: Indices, preferences: Tensor, bounds: Tensor, values: Tensor) -> None:  # noqa: ARG002
        """Let `active` policies train, for preferences [slot, objective] and bounds [2, objective]."""
        self.active, self.preferences = active, preferences
        self.bounds = bounds.expand(len(active), *bounds.shape)
        for name, group, learner in self._tensors():
            learner.copy_(self.members[name][[0] if self.conditioned else active[group]])

    def store(self, rows: int | None = None) -> None:
        """Write the policies that train, or the first of them, back to the members."""
        for name, group, learner in self._tensors():
            active = np.zeros(1, np.int64) if self.conditioned else self.active[: rows or self.slots][group]
            self.members[name][active] = learner[: len(active)]

    def _tensors(self) -> Any:
        for group, learner in zip(self.groups, self.learners, strict=True):
            for name, tensor in learner.tensors().items():
                yield name, group, tensor

    def replace(self, sources: Indices) -> None:
        """Replace every member by a copy of the one it continues from."""
        copy_members(self.members, sources)

    # --- Acting and learning ------------------------------------------------------------------------------------------

    def explore(self, observations: Tensor) -> Tensor:
        """Return actions [slot, lane, width] for observations [slot, lane, width]."""
        if self.conditioned:
            inputs, worth = self._joined(observations)
            actions = self.learners[0].explore(inputs, worth, self.generators[1])
            return actions.view(*observations.shape[:2], -1)
        parts = zip(self.groups, self.learners, strict=True)
        explored = [each.explore(observations[group], self._worth(group), self.generators[1]) for group, each in parts]
        return torch.cat(explored)

    def observe(self, transitions: Mapping[str, Tensor]) -> None:
        """Store transitions [slot, lane, width] of the active policies."""
        self.rings.add(self.active, **{name: transitions[name] for name in self.rings.columns})

    def ready(self, sources: Indices) -> NDArray[np.bool_]:
        """Return which policies have something to learn from in their rings `sources` [policy, k]."""
        filled: NDArray[np.bool_] = self.rings.sizes[sources].sum(axis=1) > 0
        return filled

    def learn(self, count: int, sources: Indices) -> int:
        """Take `count` gradient steps with every slot, from the rings `sources` [slot, k]; return how many in all."""
        if count == 0:
            return 0
        if self.at_once:
            self._learn_at_once(count, sources)
            return count * self.slots
        batches = self.rings.sample(sources, self.config.batch_size, self.generators[0], count)

        def train(job: int) -> None:
            group, learner, generator = self.groups[job], self.learners[job], self.generators[2 + job]
            for number, batch in enumerate(batches, start=self.number):
                if self.conditioned:
                    learner.update(*self._one_batch(batch), number, generator)
                else:
                    part = {name: column[group] for name, column in batch.items()}
                    learner.update(part, self._worth(group), number, generator)

        if len(self.learners) == 1:
            train(0)
        else:
            self.threads = self.threads or ThreadPoolExecutor(len(self.learners), initializer=_flush_denormal_numbers)
            list(self.threads.map(train, range(len(self.learners))))
        self.number += count
        return count * self.slots

    def _learn_at_once(self, count: int, sources: Indices) -> None:
        """Do the same with compiled loops, which share out the processors themselves."""
        index = self.rings.draw(sources, self.config.batch_size, self.generators[0], count)
        actions, objectives = self.rings.columns["action"], self.rings.columns["reward"]
        for group, learner, generator in zip(self.groups, self.learners, self.generators[2:], strict=True):
            drawn = index[group]
            shape, seen = drawn.shape, torch.zeros(len(drawn), 1, self.rings.columns["observation"])
            weights = linear_weights(self._worth(group), seen, objectives).unsqueeze(1)
            draws = SampledBatches(
                rows=self.rings.rows.expand(shape[0], -1, -1),
                width=self.rings.columns["observation"],
                index=drawn,
                condition=torch.zeros(*shape, 0),
                weight=weights.expand(*shape, objectives),
                noise=torch.zeros(*shape[:2], 0, actions),  # learners draw their own
                scale=torch.ones(shape[0], objectives),
            )
            learner.learn_linear(draws, self.number, generator)  # type: ignore[attr-defined]
        self.number += count

    def greedy(self, actors: Tensor, observations: Tensor, preferences: Tensor, bounds: Tensor) -> Tensor:
        """Return the best actions [policy, batch, width] of any actors [policy, n], under their own preferences."""
        preferences = preferences.unsqueeze(1)
        if self.conditioned:
            observations = torch.cat([observations, preferences.expand(-1, observations.shape[1], -1)], dim=2)
        return self.learners[0].greedy(actors, observations, self.judge(preferences, bounds))

    def _worth(self, group: slice) -> UtilityFn:
        return self.judge(self.preferences[group].unsqueeze(1), self.bounds[group])

    def _joined(self, observations: Tensor) -> tuple[Tensor, UtilityFn]:
        """Return observations [1, slot * batch, width + objective] with weights, and the utility under those."""
        weights = self.preferences.unsqueeze(1).expand(-1, observations.shape[1], -1)
        inputs = torch.cat([observations, weights], dim=2).flatten(0, 1).unsqueeze(0)
        return inputs, self.judge(weights.flatten(0, 1).unsqueeze(0), self.bounds[:1])

    def _one_batch(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], UtilityFn]:
        joined, worth = self._joined(batch["observation"])
        following, _ = self._joined(batch["next_observation"])
        columns = {name: column.flatten(0, 1).unsqueeze(0) for name, column in batch.items()}
        return columns | {"observation": joined, "next_observation": following}, worth

    def metrics(self) -> dict[str, float]:
        """Return what learners have to say, the mean over groups."""
        names = self.learners[0].diagnostics
        return {
            name: float(np.mean([each.diagnostics[name].mean().item() for each in self.learners])) for name in names
        }

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that exact resuming needs."""
        return {
            "members": self.members,
            "learners": [learner.tensors() for learner in self.learners],
            "diagnostics": [learner.diagnostics for learner in self.learners],
            "rings": self.rings.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
            "number": self.number,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned; `load` comes first."""
        for name, tensor in self.members.items():
            tensor.copy_(state["members"][name])
        for learner, tensors, diagnostics in zip(self.learners, state["learners"], state["diagnostics"], strict=True):
            for name, tensor in learner.tensors().items():
                tensor.copy_(tensors[name])
            learner.diagnostics = dict(diagnostics)
        self.rings.load_state_dict(state["rings"])
        for generator, value in zip(self.generators, state["generators"], strict=True):
            generator.set_state(value)
        self.number = state["number"]


def _split(count: int, parts: int) -> list[slice]:
    bounds = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _flush_denormal_numbers() -> None:
    torch.set_flush_denormal(True)  # as `prepared_processor` does for the main thread
