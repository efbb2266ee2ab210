"""What PD-MORL's learners experience: lanes with preferences of their own, and a replay relabelled in hindsight.

Shared by both variants of PD-MORL (docs/pd_morl.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.backends.numba.threads import Workers
from morl.learning.observations import encoder, final_observations
from morl.learning.replay import ReplayBuffer
from morl.preferences import finest_lattice, simplex_lattice
from morl.protocols import Problem
from morl.seeding import derived_seed, stream

RelabelFrom = Literal["absolute-normal", "dirichlet", "dirichlet-corners", "grid"]
"""Where redrawn preferences come from: |z| / ||z||_1 as in the authors' code, which is densest at equal weights; the
uniform distribution on the simplex; the same with one in eight a corner of the simplex; or the grid of acting."""

Batch = dict[str, Tensor]
"""Column -> [learner, batch, width]."""


def acting_grid(objectives: int, divisions: int | None, most: int = 5_000) -> NDArray[np.float64]:
    """Return the grid [n, objective] that acting preferences are drawn from; as fine as `most` allows by default."""
    return simplex_lattice(objectives, divisions) if divisions else finest_lattice(objectives, most)


def absolute_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random preferences |z| / ||z||_1 with z ~ N(0, I): the hindsight distribution of the authors' code."""
    magnitudes = torch.randn(*shape, generator=generator, device=generator.device).abs_()
    return magnitudes / magnitudes.sum(dim=-1, keepdim=True)


def dirichlet(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random preferences that are uniform on the simplex: Dirichlet(1, ..., 1)."""
    exponentials = torch.empty(*shape, device=generator.device).exponential_(generator=generator)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def reset(envs: VectorEnv[Any, Any, Any], seeds: Sequence[int], lanes: int) -> Any:
    """Return the first observations of all lanes; lane j of learner i is seeded with seeds[i] + j."""
    if len(seeds) == 1:
        return envs.reset(seed=seeds[0])[0]
    lane_seeds: Any = [seed + lane for seed in seeds for lane in range(lanes)]
    return envs.reset(seed=lane_seeds)[0]


class Experience:
    """What the lanes of one or several learners see, the preferences they act for, and all that they remember.

    Learner i owns lanes i * lanes to (i + 1) * lanes, a ring of the replay, and random streams of its own, so that what
    it experiences does not depend on who learns beside it.

    Args:
        problem: the environment's spaces and objectives.
        seeds: one for each learner.
        lanes: of each learner.
        grid: [n, objective] acting preferences in lexicographic order; lane i of a learner draws from the i-th part
            (the paper's sub-spaces) and keeps a preference for an episode.
        action_width: numbers that make an action.
        capacity: transitions that each learner remembers.
        device: where the replay lies.
        one_hot: encode integer observations as one-hot.
    """

    def __init__(
        self,
        problem: Problem,
        seeds: Sequence[int],
        lanes: int,
        grid: NDArray[np.float64],
        action_width: int,
        capacity: int,
        device: torch.device,
        one_hot: bool = False,
    ) -> None:
        if capacity < lanes:
            raise ValueError(f"buffer_size is {capacity}, but must be at least num_envs, {lanes}")
        self.encode, self.width = encoder(problem.observation_space, one_hot)
        self.seeds, self.lanes, self.grid, self.device = tuple(seeds), lanes, grid, device
        columns = {"observation": self.width, "action": action_width, "reward": problem.num_objectives}
        columns |= {"next_observation": self.width, "terminated": 1, "preference": problem.num_objectives}
        self.replay = ReplayBuffer(capacity, columns, device, population=len(seeds))
        self.sampling = [torch.Generator(device).manual_seed(derived_seed(seed, "replay")) for seed in seeds]
        self.workers = Workers(len(seeds) if device.type == "cpu" else 1)
        self.exploration = [stream(seed, "exploration") for seed in seeds]
        parts = np.array_split(np.arange(len(grid)), min(lanes, len(grid)))
        self.part_starts = np.array([parts[lane % len(parts)][0] for lane in range(lanes)])
        self.part_sizes = np.array([len(parts[lane % len(parts)]) for lane in range(lanes)])
        self.observations: NDArray[np.float32] | None = None  # [lane, width]; None: episodes have not begun
        self.preferences = np.zeros((len(seeds) * lanes, problem.num_objectives))  # [lane, objective]

    def begin(self, envs: VectorEnv[Any, Any, Any], step: int) -> None:
        """Begin an episode in every lane; `step` tells apart the times that this is done."""
        observations = reset(envs, [derived_seed(seed, "environments", step) for seed in self.seeds], self.lanes)
        self.observations = self.encode(observations)
        self._draw_preferences(np.ones(len(self.preferences), dtype=np.bool_))

    def remember(
        self,
        actions: NDArray[Any],
        observations: Any,
        rewards: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: Mapping[str, Any],
        stops: NDArray[np.bool_],
    ) -> None:
        """Store one transition per lane; where an episode ended, the next observation is the episode's last.

        Args:
            actions: [lane, action_width] as the networks see them; the next five are what the environments returned.
            observations: as above.
            rewards: as above.
            terminated: as above.
            truncated: as above.
            infos: as above.
            stops: [lane] where nothing is bootstrapped from the next observation.
        """
        encoded = self.encode(observations)
        following, ended = encoded, terminated | truncated
        if ended.any():
            following = encoded.copy()
            lanes = np.flatnonzero(ended)
            following[lanes] = self.encode(final_observations(infos, lanes))
        columns: dict[str, Any] = {"observation": self.observations, "action": actions, "reward": rewards}
        columns |= {"next_observation": following, "terminated": stops[:, None], "preference": self.preferences}
        self.replay.add(**{name: self.by_learner(column) for name, column in columns.items()})
        self.observations = encoded
        self._draw_preferences(ended)

    def batches(self, count: int, size: int, relabelled_share: float, relabel_from: RelabelFrom) -> Iterator[Batch]:
        """Yield `count` batches in which a share of the preferences is redrawn, with `noise` like the actions."""
        _, index, preferences, noise = self.draw(count, size, relabelled_share, relabel_from)
        for number in range(count):
            batch = self.replay.gather(index[:, number])
            yield batch | {"preference": preferences[:, number], "noise": noise[:, number]}

    def draw(
        self, count: int, size: int, relabelled_share: float, relabel_from: RelabelFrom
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw `count` batches at once, which is several times cheaper than one by one.

        Returns:
            The replay [learner, row, ...], rows of it [learner, count, size]; preferences [..., objective], a share of
            them redrawn; standard normal noise [..., action].
        """
        shape, learners, width = (max(count, 0), size), len(self.seeds), self.replay.columns["action"]
        index = torch.empty(learners, *shape, dtype=torch.int64, device=self.device)
        preferences = torch.empty(*index.shape, self.grid.shape[1], device=self.device)
        noise = torch.empty(*index.shape, width, device=self.device)

        def draw(learner: int, _: Any) -> None:
            generator, held = self.sampling[learner], self.replay.column("preference")[learner]
            torch.randint(len(self.replay), shape, generator=generator, out=index[learner])
            kept = held.index_select(0, index[learner].view(-1)).view_as(preferences[learner])
            if relabelled_share > 0.0:
                chances = torch.rand(*shape, 1, generator=generator, device=self.device)
                redrawn = self._redraw(kept.shape, relabel_from, generator)
                kept = torch.where((chances < relabelled_share).expand_as(kept), redrawn, kept)
            preferences[learner] = kept
            noise[learner].normal_(generator=generator)

        self.workers.each(learners, draw)
        return self.replay.rows, index, preferences, noise

    def states(self) -> Tensor:
        """Return what networks see of every lane [learner, lane, width + objectives]: observation and preference."""
        return torch.cat([self.by_learner(self.observations), self.by_learner(self.preferences)], dim=-1)

    def by_learner(self, array: Any) -> Tensor:
        """Return an array [learner * lane, ...] as a tensor [learner, lane, ...] of float32 on the device."""
        values = np.asarray(array, dtype=np.float32)
        return torch.as_tensor(values.reshape(len(self.seeds), self.lanes, *values.shape[1:]), device=self.device)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Return uniform numbers in [0, 1) [learner * lane, *shape], each learner's from its own stream."""
        return np.concatenate([generator.random((self.lanes, *shape)) for generator in self.exploration])

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Return standard normal numbers [learner * lane, *shape], each learner's from its own stream."""
        return np.concatenate([generator.standard_normal((self.lanes, *shape)) for generator in self.exploration])

    def _draw_preferences(self, begun: NDArray[np.bool_]) -> None:
        """Give each lane of a mask [lane] a new preference out of its part of the grid."""
        self.preferences = self.preferences.copy()
        for learner, generator in enumerate(self.exploration):
            lanes = slice(learner * self.lanes, (learner + 1) * self.lanes)
            if begun[lanes].any():  # a learner's stream must not depend on how the others' episodes go
                rows = self.part_starts + (generator.random(self.lanes) * self.part_sizes).astype(np.int64)
                self.preferences[lanes] = np.where(begun[lanes, None], self.grid[rows], self.preferences[lanes])

    def _redraw(self, shape: torch.Size, relabel_from: RelabelFrom, generator: torch.Generator) -> Tensor:
        match relabel_from:
            case "absolute-normal":
                return absolute_normal(shape, generator)
            case "grid":
                rows = torch.randint(len(self.grid), shape[:-1], generator=generator, device=self.device)
                return torch.as_tensor(self.grid, dtype=torch.float32, device=self.device)[rows]
        preferences = dirichlet(shape, generator)
        if relabel_from == "dirichlet-corners":
            # The number of a corner in one case of eight, a number beyond all corners otherwise.
            corner = torch.randint(8 * shape[-1], shape[:-1], generator=generator, device=self.device).unsqueeze(-1)
            corners = (corner == torch.arange(shape[-1], device=self.device)).float()
            preferences = torch.where(corner < shape[-1], corners, preferences)
        return preferences

    def state_dict(self, learner: int = 0) -> dict[str, Any]:
        """Return everything that one learner needs to go on exactly."""
        rows = slice(learner * self.lanes, (learner + 1) * self.lanes)
        return {
            "observations": None if self.observations is None else self.observations[rows],
            "preferences": self.preferences[rows],
            "replay": self.replay.state_dict(slice(learner, learner + 1)),
            "sampling": self.sampling[learner].get_state(),
            "exploration": self.exploration[learner].bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any], learner: int = 0) -> None:
        """Take over what `state_dict` returned; all learners must come from the same step."""
        rows = slice(learner * self.lanes, (learner + 1) * self.lanes)
        if state["observations"] is None:
            self.observations = None
        else:
            if self.observations is None:
                self.observations = np.zeros((len(self.preferences), self.width), dtype=np.float32)
            self.observations[rows] = state["observations"]
        self.preferences[rows] = state["preferences"]
        self.replay.load_state_dict(state["replay"], slice(learner, learner + 1))
        self.sampling[learner].set_state(state["sampling"])
        self.exploration[learner].bit_generator.state = state["exploration"]
