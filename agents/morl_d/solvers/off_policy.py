"""Solvers that learn from replay: SAC, TD3, DQN. The active policies train side by side, perhaps in several threads."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.morl_d.cooperation import copy_members
from morl.learning.backends import choose_backend, make_update
from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.processor import restore_generator
from morl.learning.replay import split_pixels
from morl.learning.sampled_batches import SampledBatches, linear_weights
from morl.learning.scalarization import UtilityFn
from morl.learning.shared_replay import SharedReplayBuffer
from morl.protocols import BoolArray, IndexArray
from morl.seeding import derived_seed

if TYPE_CHECKING:
    from morl.agents.morl_d.config import Config
    from morl.agents.morl_d.solvers.protocol import Following

BindUtility: TypeAlias = Callable[[Tensor, Tensor], UtilityFn]
"""(preferences [policy, 1 or batch, objective], bounds [policy, 2, objective]) -> utility."""

BuildAlgorithm: TypeAlias = Callable[[int, torch.Generator], OffPolicyAlgorithm]
"""(number of policies, random stream of the initial parameters) -> algorithm."""

METRICS = ("critic_loss", "entropy", "actor_loss")

WIDE = 128
"""Units of a hidden layer from which eager updates are worth two threads; for smaller ones they wait for each other."""


class OffPolicy:
    """Trains `num_active` policies at a time, each on batches from the replay buffers that it may sample from.

    The active policies are split into groups, each with an algorithm, a random stream and a thread of its own. With
    conditioned networks there is one policy for all weights: the batches of all active weights are one long batch, in
    which every row is observed, and its values are compared, under its own weights.

    Args:
        build: builds the algorithm for a number of policies.
        bind_utility: binds the utility to preferences and bounds.
        columns: of the replay buffers, name -> width.
        config: settings.
        num_active: policies that train side by side.
        seed: of all random streams.
        device: where networks and replay buffers live.
        byte_columns: pixels of the observations, "pixels" and "next_pixels", and action masks that the algorithm reads,
            "mask" or "next_mask" -> number of columns; empty where there are none.

    Raises:
        ValueError: the backend does not support the settings.
    """

    def __init__(
        self,
        build: BuildAlgorithm,
        bind_utility: BindUtility,
        columns: Mapping[str, int],
        config: "Config",
        num_active: int,
        seed: int,
        device: torch.device,
        byte_columns: Mapping[str, int],
    ) -> None:
        self.config = config
        self.bind_utility = bind_utility
        self.num_active = num_active
        self.device = device
        self.conditioned = config.conditioned
        first = torch.Generator().manual_seed(derived_seed(seed, "network"))
        everybody = build(1 if self.conditioned else config.population, first)
        self.members = {name: tensor.clone() for name, tensor in everybody.tensors().items()}
        self.linear = config.utility == "linear" and not config.augmented_state
        self.backend = choose_backend(everybody, config.backend, linear_utility=self.linear)
        self.groups = self._split_active()
        unused = torch.Generator().manual_seed(0)
        self.algorithms = [build(group.stop - group.start, unused) for group in self.groups]
        self.updates = [
            make_update(algorithm, self.backend, linear_utility=self.linear) for algorithm in self.algorithms
        ]
        self.latest: list[dict[str, Tensor]] = [{} for _ in self.groups]
        """Metrics of the latest updates of each group."""
        capacity = config.buffer_size // (config.population if config.replay == "shared" else 1)
        self.replay = SharedReplayBuffer(max(1, capacity), columns, device, config.population)
        self.bytes: SharedReplayBuffer | None = None  # of the transitions in the same places of `replay`
        if byte_columns:
            self.bytes = SharedReplayBuffer(
                max(1, capacity), byte_columns, device, config.population, dtype=torch.uint8
            )
        names = ("replay", "exploration", *(f"learner {group}" for group in range(len(self.groups))))
        self.generators = [torch.Generator(device).manual_seed(derived_seed(seed, name)) for name in names]
        self.threads: ThreadPoolExecutor | None = None
        self.active = np.arange(num_active)
        self.sources: IndexArray | None = None
        """[active, k] replay buffers that the latest updates sampled from; None: there were none."""
        self.preferences = torch.empty(0)
        self.bounds = torch.empty(0)

    def _split_active(self) -> list[slice]:
        """Return the active policies of each group: one on a GPU; compiled updates distribute the work themselves."""
        if self.conditioned:
            return [slice(0, 1)]
        wide = max(self.config.hidden_sizes) >= WIDE
        workers = self.config.workers or (2 if wide and self.backend == "eager" else 1)
        if self.device.type != "cpu":  # two threads would launch twice as many operations, one after the other
            workers = 1
        groups = min(workers, self.num_active)
        bounds = [self.num_active * group // groups for group in range(groups + 1)]
        return [slice(start, stop) for start, stop in pairwise(bounds)]

    # --- Who trains ---------------------------------------------------------------------------------------------------

    def load(self, active: IndexArray, preferences: Tensor, bounds: Tensor, values: Tensor) -> None:  # noqa: ARG002
        """Let policies train, from their state in `members`.

        Args:
            active: indices of the policies [active].
            preferences: their weight vectors [active, objective].
            bounds: lowest and ideal returns [2, objective].
            values: mean returns [active, objective]; not used.
        """
        self.active = active
        self.preferences = preferences.to(self.device)
        self.bounds = bounds.to(self.device).expand((len(active), *bounds.shape))
        self._load_members()

    def _load_members(self) -> None:
        """Copy the active policies from `members` to the algorithms."""
        for name, group, tensor in self._tensors():
            tensor.copy_(self.members[name][[0] if self.conditioned else self.active[group]])

    def store(self, rows: int | None = None) -> None:
        """Write the active policies, or the first `rows` of them, back to `members`."""
        for name, group, tensor in self._tensors():
            active = np.zeros(1, np.int64) if self.conditioned else self.active[: rows or self.num_active][group]
            self.members[name][active] = tensor[: len(active)]

    def _tensors(self) -> Iterator[tuple[str, slice, Tensor]]:
        """Yield the state of the algorithms: name, group and tensor [policy of the group, ...]."""
        for group, algorithm in zip(self.groups, self.algorithms, strict=True):
            for name, tensor in algorithm.tensors().items():
                yield name, group, tensor

    def replace(self, sources: IndexArray) -> None:
        """Replace every member by a copy of the member `sources` [policy] that it continues from."""
        copy_members(self.members, sources)

    # --- Acting -------------------------------------------------------------------------------------------------------

    def explore(self, observations: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return exploring actions [active, env, action].

        Args:
            observations: [active, env, observation].
            masks: [active, env, choice] 1 where a choice is allowed; None: all are.
        """
        generator = self.generators[1]
        arrays = {"observations": observations} if masks is None else {"observations": observations, "masks": masks}
        sent = self.replay.staging.take({name: tensor.numpy() for name, tensor in arrays.items()})
        observations = sent["observations"]
        allowed = None if masks is None else sent["masks"].bool()
        if self.conditioned:
            weights = self.preferences.unsqueeze(1).expand(-1, observations.shape[1], -1)
            inputs = torch.cat([observations, weights], dim=2).flatten(0, 1).unsqueeze(0)
            utility = self._bound_utility(slice(0, 1), observations.shape[1])
            if allowed is not None:
                allowed = allowed.flatten(0, 1).unsqueeze(0)
            actions = self.algorithms[0].explore(inputs, utility, generator, allowed)
            return actions.view((*observations.shape[:2], -1))
        explored = []
        for group, algorithm in zip(self.groups, self.algorithms, strict=True):
            own = None if allowed is None else allowed[group]
            explored.append(algorithm.explore(observations[group], self._bound_utility(group), generator, own))
        return torch.cat(explored)

    def _bound_utility(self, group: slice, rows: int = 1) -> UtilityFn:
        """Return the utility of values of a group; of conditioned networks, for `rows` rows of each weight."""
        if not self.conditioned:
            return self.bind_utility(self.preferences[group].unsqueeze(1), self.bounds[group])
        return self.bind_utility(self.preferences.repeat_interleave(rows, dim=0).unsqueeze(0), self.bounds[:1])

    # --- Learning -----------------------------------------------------------------------------------------------------

    def observe(self, transitions: Mapping[str, Tensor], following: "Following") -> None:
        """Store transitions of the active policies; one copy to the device, which takes along what is needed next.

        Args:
            transitions: [active, env, width] by name.
            following: returns "observations" and "masks" of the next call of `explore`.
        """
        pixels = 0 if self.bytes is None else self.bytes.columns.get("pixels", 0)
        columns = split_pixels(transitions, pixels)
        rows = self.replay.join(columns)
        arrays = {"rows": rows, "places": self.replay.reserve(self.active, rows.shape[1])}
        if self.bytes is not None:
            arrays["byte rows"] = self.bytes.join(columns)
            self.bytes.reserve(self.active, rows.shape[1])

        def ahead() -> dict[str, NDArray[Any]]:
            tables = {} if self.sources is None else self.replay.tables(self.sources)
            return {name: tensor.numpy() for name, tensor in following().items()} | tables

        sent = self.replay.staging.send(arrays, ahead)
        self.replay.write(sent["rows"], sent["places"])
        if self.bytes is not None:
            self.bytes.write(sent["byte rows"], sent["places"])

    def ready(self, sources: IndexArray) -> BoolArray:
        """Return which policies can learn [policy]: those with transitions in their buffers `sources` [policy, k]."""
        filled: BoolArray = self.replay.sizes[sources].sum(axis=1) > 0
        return filled

    def learn(self, count: int, sources: IndexArray) -> int:
        """Run `count` updates of every active policy; return the number of updates of all policies together.

        Args:
            count: updates of each active policy.
            sources: replay buffers that each active policy samples from [active, k].
        """
        if count == 0:
            return 0
        self.sources = sources
        index = self.replay.sample_indices(sources, self.config.batch_size, self.generators[0], count)

        def train(job: int) -> None:
            self.latest[job] |= self.updates[job](self._batches(job, index))

        if len(self.groups) == 1 or self.backend != "eager":
            for job in range(len(self.groups)):
                train(job)
        else:
            self.threads = self.threads or ThreadPoolExecutor(len(self.groups), initializer=_flush_denormal_numbers)
            list(self.threads.map(train, range(len(self.groups))))
        return count * self.num_active

    def _batches(self, job: int, index: Tensor) -> SampledBatches:
        """Return what a group learns from, for the indices [active, update, batch] that were sampled for all."""
        group = self.groups[job]
        columns = self.replay.columns
        objectives = columns["reward"]
        utility = self._bound_utility(group, index.shape[2])
        if self.conditioned:  # [1, update, active * batch]
            weights = self.preferences.repeat_interleave(index.shape[2], dim=0)
            index = index.transpose(0, 1).flatten(1).unsqueeze(0)
            condition = weights.expand((*index.shape, objectives))
        else:
            index = index[group]
            condition = self.preferences.new_empty((*index.shape, 0))
        policies, count, size = index.shape
        weight = None
        if self.linear:
            shape = (policies, size if self.conditioned else 1, columns["observation"])
            no_observations = self.preferences.new_zeros(shape)
            weight = (
                linear_weights(utility, no_observations, objectives).unsqueeze(1).expand((*index.shape, objectives))
            )
        return SampledBatches(
            rows=self.replay.rows.expand(policies, -1, -1),
            index=index,
            observation_width=columns["observation"],
            action_width=columns["action"],
            condition=condition,
            noise=self.algorithms[job].sample_noise(count, size, self.generators[2 + job]),
            scale=torch.ones(policies, objectives, device=self.device),
            weight=weight,
            byte_rows=None if self.bytes is None else self.bytes.rows.expand(policies, -1, -1),
            byte_columns={} if self.bytes is None else self.bytes.columns,
            utility=utility,
        )

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the latest updates, averaged over groups."""
        names = [name for name in METRICS if name in self.latest[0]]
        return {name: float(np.mean([latest[name].mean().item() for latest in self.latest])) for name in names}

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state for a checkpoint: parameters, optimizers, replay, random streams."""
        return {
            "members": self.members,
            "algorithms": [algorithm.state_dict() for algorithm in self.algorithms],
            "latest": [{name: latest[name] for name in METRICS if name in latest} for latest in self.latest],
            "replay": self.replay.state_dict(),
            "bytes": None if self.bytes is None else self.bytes.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned; `load` was called before."""
        for name, tensor in self.members.items():
            tensor.copy_(state["members"][name])
        if len(state["algorithms"]) == len(self.algorithms):
            for algorithm, saved in zip(self.algorithms, state["algorithms"], strict=True):
                algorithm.load_state_dict(saved)
            self.latest = [dict(latest) for latest in state["latest"]]
        else:  # saved on another device, which splits the policies into another number of groups
            self._load_members()
            for algorithm in self.algorithms:
                algorithm.updates = state["algorithms"][0]["updates"]
        self.replay.load_state_dict(state["replay"])
        if self.bytes is not None:
            self.bytes.load_state_dict(state["bytes"])
        for generator, value in zip(self.generators, state["generators"], strict=False):
            restore_generator(generator, value)


def _flush_denormal_numbers() -> None:
    torch.set_flush_denormal(True)  # as `prepared_processor` does for the main thread
