"""C-MORL: constrained policy optimization fills the Pareto front (Liu et al., ICLR 2025; arXiv 2410.02236).

The algorithm in five lines:
  1. Pareto initialization: M policies learn side by side by PPO, each for one fixed preference w. The critic predicts
     the *vector* of returns; the policy follows the advantage sum_k w_k sigma_k A_k.
  2. Snapshots of them are evaluated and archived. The archive keeps what is not dominated.
  3. Policy selection: N members, those that are extreme in an objective first, then those with the widest gaps around.
  4. Pareto extension: from each selected member r and for each objective l, maximize G_l such that every other
     G_j stays above G_j^r - (1 - beta) |G_j^r|. All (member, objective) tasks of a round are one population.
  5. Snapshots are archived, and 3 and 4 repeat. A user with preference w is given the member with the highest w.G.

Where this file departs from the authors' code, and why (docs/c_morl.md has the list with measurements):
  - The constraint is the paper's, against the reference policy's returns; the published code's extension is
    `solver = "compat"`: its barrier never sees those returns, and objectives are extended one after the other.
  - Thresholds are beta-shares of the *loss*, so that they make sense for negative returns.
  - Every step counts (the authors: one in eight); time limits are bootstrapped through unless nothing is discounted.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from morl.agents.c_morl.archive import Member, mixtures, prune_archive, select
from morl.agents.c_morl.config import Config
from morl.agents.c_morl.constraints import parse_constraints, report, violations
from morl.agents.c_morl.stages import Wave
from morl.learning.acting import PolicyBank
from morl.learning.actor_critic import action_map, actor_critic
from morl.learning.observations import encoder, final_observations
from morl.learning.population import fresh_states
from morl.preferences import finest_lattice, simplex_lattice
from morl.protocols import Evaluate, Problem
from morl.seeding import derived_seed

Array = NDArray[np.float64]


class CMORL:
    """C-MORL on a batch of environment lanes; satisfies `morl.protocols.Agent`."""

    config_class = Config

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        self.problem, self.config, self.seed, self.lanes, self.device = problem, config, seed, num_envs, device
        self.discount = problem.discount if config.discount is None else config.discount
        if config.constraints and self.discount != problem.discount:
            raise ValueError(
                f"discount is {self.discount}, but must be {problem.discount} where there are constraints: they bound"
                " returns that are discounted by it"
            )
        self.objectives = problem.num_objectives
        self.constraints = parse_constraints(config.constraints, problem.objectives)
        self.free = [k for k in range(self.objectives) if k not in {each.objective for each in self.constraints}]
        self.encode, width = encoder(problem.observation_space, config.one_hot)
        self.network = actor_critic(
            width, problem.action_space, self.objectives, config.hidden_sizes, config.initial_std
        )
        self.to_environment = action_map(problem.action_space)
        self.widths = {"observation": width, "action": self.network.log_stds or 1, "objective": self.objectives}
        if isinstance(problem.action_space, spaces.Discrete):
            self.widths["mask"] = int(problem.action_space.n)  # forbidden choices count when acting *and* when learning
        self.actors = PolicyBank(self.network, device)

        grid = self._initial_preferences()
        self.initial_updates = config.initial_steps // (len(grid) * config.samples_per_update)
        if self.initial_updates == 0:
            least = len(grid) * config.samples_per_update
            raise ValueError(
                f"initial_steps is {config.initial_steps}, but must be at least {least}: one update for each policy"
            )
        states = fresh_states(self.network, len(grid), width, self.objectives, derived_seed(seed, "networks"))
        unknown = np.full(self.objectives, np.nan)
        self.members = {
            number: Member(number, state, unknown, preference, config.learning_rate)
            for number, (state, preference) in enumerate(zip(states, grid, strict=True))
        }
        for member in self.members.values():
            self.actors.add(member.number, member.state)
        self.archive: list[int] = []  # numbers of the members on the front
        self.chosen: list[int] = []  # numbers of the members that were ever selected
        self.queue: list[tuple[int, list[float]]] = [(member, list(w)) for member, w in enumerate(grid.tolist())]
        self.round = 0  # 0: initialization
        self.wave: Wave | None = None  # the tasks under way
        self.random = torch.Generator(device).manual_seed(derived_seed(seed, "learning"))
        self.steps = self.pretraining_steps = self.updates = 0
        self.next_number = len(grid)
        self.observations: NDArray[Any] | None = None  # [lane, width] not normalized; None: episodes have not begun
        self.masks: NDArray[Any] | None = None  # [lane, choice] allowed choices
        self.diagnostics: dict[str, float] = {}

    def learn(self, envs: VectorEnv[Any, Any, Any], total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run C-MORL; one iteration is one step of every lane and, where a rollout is complete, one update."""
        self._warn_of_a_run_without_learning(total_steps)
        while self.steps < total_steps:
            wave = self.wave or self._begin_wave()
            observations = self._begin_episodes(envs, wave) if self.observations is None else self.observations
            self.observations = self._step(envs, wave, observations)
            if wave.experience.full:
                self.diagnostics = wave.improve(self.observations, self.random)
                self.updates += self.config.epochs * self.config.minibatches
                if wave.snapshot_due:
                    self._archive(wave.snapshots(self.next_number), evaluate)
                if wave.finished:
                    self._end_wave(evaluate)
            yield

    # --- The algorithm ------------------------------------------------------------------------------------------------

    def _initial_preferences(self) -> Array:
        """Return the grid of initial preferences [policy, objective]; constrained objectives have no weight."""
        divisions, free = self.config.initial_divisions, len(self.free)
        if divisions == 0:
            lattice = np.full((1, free), 1.0 / free)
        else:
            lattice = simplex_lattice(free, divisions) if divisions else finest_lattice(free, max(6, free))
        grid = np.zeros((len(lattice), self.objectives))
        grid[:, self.free] = lattice
        return grid

    def _warn_of_a_run_without_learning(self, total_steps: int) -> None:
        if self.steps > 0:
            return
        lanes_of_each = self.lanes // self._side_by_side()
        least = -(-self.config.samples_per_update // lanes_of_each) * self.lanes
        if total_steps < least:
            warnings.warn(
                f"c-morl: total_steps is {total_steps:,}, but must be at least {least:,} for a first update: the front"
                " will be that of policies that have learnt nothing",
                RuntimeWarning,
                stacklevel=2,
            )

    def _select(self) -> None:
        """Queue the tasks of the next round: every selected member once for each free objective."""
        numbers = self.archive or sorted(self.members)
        count = self.config.selected or (5 if self.objectives == 2 else 6)
        points = np.stack([self.members[number].returns[self.free] for number in numbers])
        before = {row for row, number in enumerate(numbers) if number in self.chosen}
        rows = select(points, count, before)
        self.chosen = [number for number in self.chosen if number in numbers]
        self.chosen += sorted({numbers[row] for row in rows} - set(self.chosen))
        targets = np.eye(self.objectives)[self.free]
        # "compat" extends one member objective after objective: its tasks begin with the first, `Wave` goes on.
        first = targets[:1] if self.config.solver == "compat" else targets
        self.queue = [(numbers[row], target.tolist()) for row in rows for target in first]
        self.round += 1

    def _begin_wave(self) -> Wave:
        """Start as many of the queued tasks side by side as share the lanes equally; without any, select new ones."""
        if not self.queue:
            self._select()
        size = self._side_by_side()
        tasks, self.queue = self.queue[:size], self.queue[size:]
        starts = [self.members[number] for number, _ in tasks]
        self.wave = self._new_wave(size)
        self.wave.begin(starts, np.array([weights for _, weights in tasks]))
        self.observations = None
        return self.wave

    def _side_by_side(self) -> int:
        """Return how many of the queued tasks can share the lanes equally."""
        return max(size for size in range(1, len(self.queue) + 1) if self.lanes % size == 0)

    def _new_wave(self, policies: int) -> Wave:
        planned = self.config.extension_updates if self.round else self.initial_updates
        targets = np.eye(self.objectives)[self.free]
        return Wave(
            self.network,
            self.config,
            self.constraints,
            self.widths,
            policies=policies,
            lanes=self.lanes // policies,
            discount=self.discount,
            extending=self.round > 0,
            planned=planned,
            targets=targets,
            device=self.device,
        )

    def _end_wave(self, evaluate: Evaluate) -> None:
        self.wave = None
        if self.config.interpolate and not self.queue and len(self.archive) > 1:
            unknown = np.full(self.objectives, np.nan)
            states = mixtures([self.members[number] for number in self.archive])
            rate = self.config.extension_learning_rate
            numbered = enumerate(states, self.next_number)
            self._archive([Member(number, state, unknown, unknown, rate) for number, state in numbered], evaluate)

    def _archive(self, candidates: list[Member], evaluate: Evaluate) -> None:
        """Evaluate candidates side by side and keep what the archive then holds."""
        for member in candidates:
            self.actors.add(member.number, member.state)
        numbers = np.array([member.number for member in candidates])
        preferences = np.stack([member.preference for member in candidates])
        returns = evaluate(preferences, self.config.snapshot_episodes, numbers)
        self.next_number += len(candidates)
        for member, row in zip(candidates, returns, strict=True):
            self.members[member.number] = replace(member, returns=row)
        offered = np.array([*self.archive, *numbers.tolist()])
        points = np.stack([self.members[number].returns for number in offered])
        limits = (self.config.archive_capacity, self.config.duplicate_tolerance)
        rows = prune_archive(points, self.constraints, self.problem.reference_point, *limits)
        self.archive = offered[rows].tolist()
        needed = {*self.archive, *(number for number, _ in self.queue)}
        self.members = {number: member for number, member in self.members.items() if number in needed}
        self.actors.keep(needed)

    # --- Collecting ---------------------------------------------------------------------------------------------------

    def _begin_episodes(self, envs: VectorEnv[Any, Any, Any], wave: Wave) -> NDArray[np.float32]:
        """Return the first observations [lane, width] of new episodes."""
        observations, infos = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
        wave.experience.begin_episodes()
        self.masks = infos.get("action_mask")
        return self.encode(observations)

    def _step(
        self, envs: VectorEnv[Any, Any, Any], wave: Wave, observations: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Take one step in every lane, each with the policy that owns it, and return the observations after it."""
        population, experience = wave.population, wave.experience
        seen = experience.observe(observations)
        masks = None if self.masks is None else self.masks.reshape(*seen.shape[:2], -1)
        chosen = population.act(seen, masks, self.random)
        actions = self.to_environment(chosen.reshape(self.lanes, -1))
        reached, rewards, terminated, truncated, infos = envs.step(actions)
        self.steps += self.lanes
        experience.add(seen, chosen, rewards, terminated, truncated, masks)
        self.masks = infos.get("action_mask")
        following = self.encode(reached)
        cut = np.flatnonzero(truncated & ~terminated)
        if cut.size and self.discount < 1.0:  # without discount an endless task has no value: the limit is the end
            last = following.copy()
            last[cut] = self.encode(final_observations(infos, cut))
            experience.bootstrap_truncated(population.values(experience.normalize(last)))
        return following

    # --- Acting -------------------------------------------------------------------------------------------------------

    def act(
        self,
        observations: Any,
        preferences: NDArray[np.float64],  # noqa: ARG002
        policies: NDArray[np.int64],
        masks: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Return the most likely actions [env, ...] of the members `policies` [env]; they need no preference."""
        return self.to_environment(self.actors.act(self.encode(observations), policies, masks))

    def policies(self, preferences: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # noqa: ARG002
        """Return the archive (before the first snapshot: the untrained policies), each with the weights it has."""
        numbers = self.archive or sorted(self.members)
        return np.array(numbers), np.stack([self.members[number].preference for number in numbers])

    def metrics(self) -> dict[str, float]:
        """Return what tells how learning goes. docs/c_morl.md explains each."""
        values = {"round": float(self.round), "archive_size": float(len(self.archive)), **self.diagnostics}
        if self.archive:
            points = np.stack([self.members[number].returns for number in self.archive])
            best = zip(self.problem.objectives, points.max(axis=0).tolist(), strict=True)
            values |= {f"archive/best_{name}": value for name, value in best}
        return values

    def violations(self, points: Array) -> Array:
        """Return by how much points [n, objective] break the constraints where they do most [n]; 0 without any."""
        worst: Array = violations(self.constraints, points).max(axis=1, initial=0.0)
        return worst

    def front_metadata(self, points: Array) -> dict[str, Any]:
        """Return what front.json should say about its points [n, objective]: by how much they break each constraint."""
        return report(self.constraints, self.config.constraints, points)

    # --- Saving -------------------------------------------------------------------------------------------------------

    _PLAIN_STATE = (
        "archive",
        "chosen",
        "queue",
        "round",
        "steps",
        "pretraining_steps",
        "updates",
        "next_number",
        "observations",
        "masks",
        "diagnostics",
    )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs."""
        return {name: getattr(self, name) for name in self._PLAIN_STATE} | {
            "members": [vars(member) for member in self.members.values()],
            "actors": self.actors.export(self.actors.rows),
            "wave": None if self.wave is None else self.wave.state_dict(),
            "random": self.random.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned, for the same problem, settings and number of lanes."""
        for name in self._PLAIN_STATE:
            setattr(self, name, state[name])
        self.members = {entry["number"]: Member(**entry) for entry in state["members"]}
        self.actors.load_policies(state["actors"])
        self.random.set_state(state["random"])
        self.wave = None
        if state["wave"] is not None:
            self.wave = self._new_wave(len(state["wave"]["weights"]))
            self.wave.load_state_dict(state["wave"])

    def reset_episodes(self) -> None:
        """Begin new episodes at the next step: for environments whose state cannot be saved."""
        self.observations = None

    def export_policies(self) -> dict[int, dict[str, Any]]:
        """Return what acting needs, and the archive value, by policy number."""
        numbers = self.archive or sorted(self.members)
        return {
            number: row | {"archive_value": self.members[number].returns.copy()}
            for number, row in self.actors.export(numbers).items()
        }

    def import_policies(self, policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Take over policies that `export_policies` returned; enough to act, not to go on learning."""
        self.actors.load_policies(policies)
