"""Hindsight over preferences: a replay buffer whose transitions are learned from under other preferences as well.

Rewards are vectors, so a transition is valid for every preference; only the preference is redrawn. The authors store
relabeled copies; here transitions are stored once and preferences are redrawn when a batch is sampled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.pd_morl.learners import Learners, rows
from morl.learning.processor import restore_generator
from morl.learning.replay import ReplayBuffer, split_pixels
from morl.protocols import BoolArray, FloatArray, StateDict

if TYPE_CHECKING:
    from morl.learning.staging import Arrays

RelabelFrom = Literal["absolute-normal", "dirichlet", "dirichlet-corners", "grid"]
"""Distribution of redrawn preferences: |z| / ||z||_1 as in the authors' code, which is densest at equal weights; the
uniform distribution on the simplex; the same with one preference in eight a corner of the simplex; or uniform on the
lattice of preferences for acting."""

DrawPreferences = Callable[[Sequence[int], torch.Generator], Tensor]
"""Shape [..., objective], random stream -> preferences of that shape, on the stream's device."""

Batch = Mapping[str, Tensor]
"""Column -> [learner, batch, width]: the columns of `Transitions`, with redrawn preferences.

"next_mask" (bool, true where a choice is allowed) is there only where the environment gives action masks.
"""

CORNER_CHANCE = 8
"""One preference in so many is a corner of the simplex, under "dirichlet-corners"."""


# --- Distributions of preferences -------------------------------------------------------------------------------------


def absolute_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random preferences |z| / ||z||_1 with z ~ N(0, I): the hindsight distribution of the authors' code.

    Args:
        shape: [..., objective].
        generator: random stream.
    """
    magnitudes = torch.randn(tuple(shape), generator=generator, device=generator.device).abs_()
    return magnitudes / magnitudes.sum(dim=-1, keepdim=True)


def dirichlet(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random preferences that are uniform on the simplex: Dirichlet(1, ..., 1).

    Args:
        shape: [..., objective].
        generator: random stream.
    """
    exponentials = torch.empty(tuple(shape), device=generator.device).exponential_(generator=generator)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def dirichlet_corners(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random preferences of which one in eight is a corner of the simplex, the others uniform on it.

    Args:
        shape: [..., objective].
        generator: random stream.
    """
    device = generator.device
    objectives = shape[-1]
    preferences = dirichlet(shape, generator)
    # A number below `objectives`, which is the corner's, in one case of eight.
    corner = torch.randint(CORNER_CHANCE * objectives, shape[:-1], generator=generator, device=device).unsqueeze(-1)
    corners = (corner == torch.arange(objectives, device=device)).float()
    return torch.where(corner < objectives, corners, preferences)


def from_grid(grid: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random rows of a grid.

    Args:
        grid: [n, objective].
        shape: [..., objective].
        generator: random stream.
    """
    return grid[torch.randint(len(grid), shape[:-1], generator=generator, device=generator.device)]


def preference_distribution(source: RelabelFrom, grid: FloatArray) -> DrawPreferences:
    """Return the function that draws preferences from a distribution.

    Args:
        source: name of the distribution.
        grid: [n, objective] preferences for acting.
    """
    distributions: dict[RelabelFrom, DrawPreferences] = {
        "absolute-normal": absolute_normal,
        "dirichlet": dirichlet,
        "dirichlet-corners": dirichlet_corners,
        "grid": partial(from_grid, torch.as_tensor(grid, dtype=torch.float32)),
    }
    return distributions[source]


# --- Replay -----------------------------------------------------------------------------------------------------------


class Transitions(NamedTuple):
    """One transition of every environment: what the replay stores, in the order in which a row holds it."""

    observation: NDArray[Any]
    """[learner * env, observation_width]."""
    action: NDArray[Any]
    """[learner * env, action_width] as the networks take it."""
    reward: FloatArray
    """[learner * env, objective]."""
    next_observation: NDArray[Any]
    """[learner * env, observation_width]; where an episode has ended, its last observation."""
    terminated: BoolArray | FloatArray
    """[learner * env, 1] where nothing is bootstrapped from the next observation; over m steps the share
    1 - gamma^(m - 1) of a value that is not (`morl.agents.pd_morl.multi_step`)."""
    preference: FloatArray
    """[learner * env, objective] that the action was chosen for."""
    next_mask: BoolArray | None = None
    """[learner * env, choice] what the next observation allows; None where the environment gives no masks."""


@dataclass(frozen=True)
class HindsightBatches:
    """Batches for several updates: places in the replay, and the preferences to learn from them for."""

    rows: Tensor
    """[learner, row, width] everything stored; a row is a transition, in the order of `Transitions`."""
    index: Tensor
    """[learner, update, batch] row of each transition."""
    preferences: Tensor
    """[learner, update, batch, objective], some of them redrawn."""
    noise: Tensor
    """[learner, update, batch, action_width], standard normal."""
    byte_rows: Tensor | None = None
    """[learner, row, width] pixels and masks in the places of `rows`; None: there are none."""
    byte_columns: Mapping[str, int] = field(default_factory=dict)
    """Name -> number of columns of `byte_rows`, in their order."""

    def __len__(self) -> int:
        """Return the number of updates."""
        return self.index.shape[1]


@dataclass(frozen=True)
class Choices:
    """Random numbers of the batches for several updates, each learner's from a stream of its own."""

    index: NDArray[np.int64]
    """[learner, update, transition] row of each transition."""
    relabeled: BoolArray
    """[learner, update, batch] where a preference is redrawn."""
    redrawn: NDArray[np.float32]
    """[learner, update, batch, objective]; no objective where no preference is redrawn."""
    noise: NDArray[np.float32]
    """[learner, update, batch, action_width], standard normal."""


class HindsightReplay:
    """The latest transitions of every learner, and batches of them with redrawn preferences.

    Args:
        learners: each has a ring of transitions and a random stream of its own.
        capacity: transitions that each learner keeps, at least one for each of its environments.
        observation_width: numbers that make an encoded observation.
        action_width: numbers that make an action.
        num_objectives: length of the reward vector.
        draw_preferences: distribution of redrawn preferences.
        choices: choices of the next observations' action masks, which are kept as bytes; 0: there are no masks.
        pixels: first columns of an observation that are pixels, which are kept as bytes.

    Raises:
        ValueError: the capacity is smaller than the number of environments.
    """

    def __init__(
        self,
        learners: Learners,
        capacity: int,
        observation_width: int,
        action_width: int,
        num_objectives: int,
        draw_preferences: DrawPreferences,
        choices: int = 0,
        pixels: int = 0,
    ) -> None:
        if capacity < learners.num_envs:
            raise ValueError(f"buffer_size is {capacity}, but must be at least num_envs, {learners.num_envs}")
        self.learners = learners
        self.draw_preferences = draw_preferences
        self.pixels = pixels
        columns = {
            "observation": observation_width - pixels,
            "action": action_width,
            "reward": num_objectives,
            "next_observation": observation_width - pixels,
            "terminated": 1,
            "preference": num_objectives,
        }
        self.buffer = ReplayBuffer(capacity, columns, learners.device, population=len(learners))
        self.bytes: ReplayBuffer | None = None
        """Pixels, and masks of the next observations, in the same places as the transitions."""
        byte_columns = {"pixels": pixels, "next_pixels": pixels, "next_mask": choices}
        byte_columns = {name: width for name, width in byte_columns.items() if width}
        if byte_columns:
            population = len(learners)
            self.bytes = ReplayBuffer(capacity, byte_columns, learners.device, population, dtype=torch.uint8)
        self._streams = [torch.Generator().manual_seed(seed) for seed in learners.derived_seeds("replay")]

    def __len__(self) -> int:
        """Return the number of transitions held for each learner."""
        return len(self.buffer)

    def add(
        self,
        transitions: Transitions,
        choices: Choices | None = None,
        ahead: "Callable[[], Arrays] | None" = None,
    ) -> HindsightBatches | None:
        """Store one transition of every environment; return the batches that were chosen, these transitions among them.

        On a device that is not the CPU all of it is one copy.

        Args:
            transitions: [learner * env, ...].
            choices: result of `choose`, whose numbers travel along; None: nothing is learned now.
            ahead: arrays that travel along (`morl.learning.staging.Staging.send`).
        """
        columns = split_pixels(transitions._asdict(), self.pixels)
        arrays = {
            name: self.learners.split(
                np.concatenate([columns[each] for each in buffer.columns], axis=1, dtype=dtype, casting="unsafe")
            )
            for name, (buffer, dtype) in self._buffers().items()
        }
        sent = self.learners.staging.send(arrays if choices is None else arrays | vars(choices), ahead)
        for name, (buffer, _) in self._buffers().items():
            buffer.add_rows(sent[name])
        return None if choices is None else self._batches(sent)

    def _buffers(self) -> dict[str, tuple[ReplayBuffer, type[np.generic]]]:
        """Return the buffers by name, with the type of number in which their rows travel."""
        buffers: dict[str, tuple[ReplayBuffer, type[np.generic]]] = {"rows": (self.buffer, np.float32)}
        return buffers if self.bytes is None else buffers | {"byte rows": (self.bytes, np.uint8)}

    def draw(
        self, count: int, batch_size: int, relabeled_share: float, preferences_per_transition: int = 1
    ) -> HindsightBatches:
        """Return batches for `count` updates from what is stored: `choose`, and gather.

        Args:
            count: updates.
            batch_size: rows of each update, for each learner.
            relabeled_share: share of the preferences that is redrawn, between 0 and 1.
            preferences_per_transition: rows that each transition is in, each under a preference of its own.
        """
        choices = self.choose(count, batch_size, relabeled_share, preferences_per_transition)
        return self._batches(self.learners.staging.send(vars(choices)))

    def choose(
        self,
        count: int,
        batch_size: int,
        relabeled_share: float,
        preferences_per_transition: int = 1,
        adding: int = 0,
    ) -> Choices:
        """Draw the random numbers of batches for `count` updates at once, which is cheaper than one by one.

        Transitions are uniform with replacement. Each row keeps its transition's preference or, with probability
        `relabeled_share`, gets one from the hindsight distribution. The streams are the CPU's whatever the device, so
        that their numbers are too, and the number of operations on the device does not grow with that of learners.

        Args:
            count: updates.
            batch_size: rows of each update, for each learner.
            relabeled_share: share of the preferences that is redrawn, between 0 and 1.
            preferences_per_transition: rows that each transition is in, each under a preference of its own.
            adding: transitions of each learner that are stored before the batches are gathered.
        """
        held = min(self.buffer.added + adding, self.buffer.capacity)
        shape = (len(self.learners), count, batch_size)
        objectives = self.buffer.columns["preference"] if relabeled_share > 0.0 else 0
        index = torch.empty((*shape[:2], batch_size // preferences_per_transition), dtype=torch.int64)
        chances = torch.ones(shape)
        redrawn = torch.empty((*shape, objectives))
        noise = torch.empty((*shape, self.buffer.columns["action"]))
        for learner, stream in enumerate(self._streams):
            torch.randint(held, index.shape[1:], generator=stream, out=index[learner])
            if objectives:
                torch.rand(shape[1:], generator=stream, out=chances[learner])
                redrawn[learner] = self.draw_preferences(redrawn.shape[1:], stream)
            noise[learner].normal_(generator=stream)
        relabeled = (chances < relabeled_share).numpy()
        return Choices(index=index.numpy(), relabeled=relabeled, redrawn=redrawn.numpy(), noise=noise.numpy())

    def _batches(self, chosen: Mapping[str, Tensor]) -> HindsightBatches:
        """Return the batches for the numbers of `Choices` on the device: one gather for all learners."""
        index = chosen["index"]
        relabeled = chosen["relabeled"]
        redrawn = chosen["redrawn"]
        preferences = self.buffer.gather_column("preference", index)
        copies = relabeled.shape[2] // max(1, index.shape[2])
        if copies > 1:
            index = index.repeat_interleave(copies, dim=2)
            preferences = preferences.repeat_interleave(copies, dim=2)
        if redrawn.shape[3]:
            preferences = torch.where(relabeled.unsqueeze(3), redrawn, preferences)
        return HindsightBatches(
            rows=self.buffer.rows,
            index=index,
            preferences=preferences,
            noise=chosen["noise"],
            byte_rows=None if self.bytes is None else self.bytes.rows,
            byte_columns={} if self.bytes is None else self.bytes.columns,
        )

    def gather(self, index: Tensor, preferences: Tensor) -> Iterator[Batch]:
        """Yield the transitions and preferences that were drawn for updates, one batch after the other.

        Args:
            index: [learner, update, batch] row of each transition.
            preferences: [learner, update, batch, objective].
        """
        for update in range(index.shape[1]):
            batch = self.buffer.gather(index[:, update]) | {"preference": preferences[:, update]}
            if self.bytes is not None:
                batch |= _with_bytes(batch, self.bytes.gather(index[:, update]))
            yield batch

    def state_dict(self, learner: int = 0) -> StateDict:
        """Return the transitions and the random stream of one learner.

        Args:
            learner: number of the learner.
        """
        state = {"buffer": self.buffer.state_dict(rows(learner)), "stream": self._streams[learner].get_state()}
        return state if self.bytes is None else {**state, "bytes": self.bytes.state_dict(rows(learner))}

    def load_state_dict(self, state: StateDict, learner: int = 0) -> None:
        """Restore one learner from the result of `state_dict`; all learners must come from the same step.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        self.buffer.load_state_dict(state["buffer"], rows(learner))
        if self.bytes is not None:
            self.bytes.load_state_dict(state["bytes"], rows(learner))
        restore_generator(self._streams[learner], state["stream"])


def _with_bytes(batch: Batch, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the columns of a batch that pixels and masks [learner, batch, width] change."""
    changed = {}
    for name, pixels in (("observation", "pixels"), ("next_observation", "next_pixels")):
        if pixels in columns:
            changed[name] = torch.cat([columns[pixels].to(batch[name].dtype), batch[name]], dim=2)
    if "next_mask" in columns:
        changed["next_mask"] = columns["next_mask"].bool()
    return changed
