"""MORL/D: multi-objective reinforcement learning by decomposition (Felten, Talbi, Danoy, JAIR 2024; arXiv 2311.12495).

The framework in five lines:
  1. Weight vectors split the problem into scalar ones: policy i maximizes the utility u(return; lambda_i, ideal z).
  2. Policies are trained by any solver, side by side in one batched update, each in lanes of its own.
  3. At every exchange all are evaluated, in one wide rollout, and offered to an archive; the archive is the result.
  4. Neighbours cooperate: they share experience, copy or soft-copy parameters, or have (parts of) networks in common.
  5. Weights adapt to what the archive lacks, and who trains next is selected.

Every trait of the paper's taxonomy is a setting (`morl.agents.morl_d.config`), the published instantiations are
presets of them. Where this file departs from the authors' code, and why (docs/morl_d.md has the list):
  - As many policies as the lanes allow train at the same time, not one after another; `selected 1` is the original.
  - Critics learn every objective on its own, not only the utility: they still mean something when weights change.
  - Distances between returns are taken in shares of the archive's range; evaluation is deterministic, an episode each.
  - A transferred policy brings its critics along, which judge that very policy.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.morl_d import adaptation, cooperation, selection
from morl.agents.morl_d.config import Config, resolved
from morl.agents.morl_d.factory import build
from morl.agents.morl_d.validation import check_lanes
from morl.pareto import ParetoArchive
from morl.protocols import Evaluate, Problem
from morl.seeding import derived_seed, stream

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
TURN = 1_000
"""Steps that a solver which steps the environments itself takes at most between two yields."""


class MORLD:
    """A population of policies for a set of weights; satisfies `morl.protocols.Agent`.

    Policies 0 to population - 1 are the members as they are; archived policies have numbers of their own from there on.
    """

    config_class = Config

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        self.config, self.seed, self.device = resolved(config), seed, device
        config = self.config
        self.objectives, self.population = problem.num_objectives, config.population
        self.parts = build(problem, config, seed, num_envs, device)
        self.solver, self.lanes, self.bounds = self.parts.solver, self.parts.lanes, self.parts.bounds
        self.slots, self.utility = self.parts.slots, self.parts.utility
        self.random = stream(seed, "selection")
        self.weights = adaptation.first_weights(config.weights, self.objectives, self.population, seed)
        self.visited = self.weights.copy()  # all weights that policies were trained for
        self.neighbours = cooperation.find_neighbours(config.neighbourhood, self.weights, config.neighbours)
        limited = config.archive_capacity if config.archive == "bounded" else None
        self.archive = ParetoArchive(limited, convex=config.archive == "convex")
        self.returns = np.zeros((self.population, 0, self.objectives))  # [policy, episode, objective], none yet
        self.gains = np.full((self.population, self.objectives), np.nan)  # what the last training added to the returns
        self.turns = np.zeros(self.population, dtype=np.int64)  # how often each policy has trained
        self.taken = np.zeros(self.population, dtype=np.int64)  # steps that each policy has taken
        self.active = selection.round_robin(self.population, self.slots, 0)
        self.steps = self.pretraining_steps = self.updates = self.turn = 0
        self.next_exchange, self.archived = config.exchange_every, 0
        self.due = 0.0  # updates that the steps so far have earned and that are still to be made
        self.imported: dict[int, dict[str, Any]] = {}
        self.stacked: tuple[Any, tuple[Tensor, ...]] | None = None
        self._train_selected()

    # --- The algorithm ------------------------------------------------------------------------------------------------

    def learn(self, envs: VectorEnv[Any, Any, Any], total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run MORL/D; one iteration is one step of every lane and the updates that it earns."""
        check_lanes(self.config, envs.num_envs, self.parts.name)
        if self.returns.shape[1] == 0:
            self._assess(evaluate)
            self.neighbours = self._find_neighbours()
            self._train_selected()
        while self.steps < total_steps:
            if self.steps >= self.next_exchange:
                self._exchange(evaluate)
                self.next_exchange += self.config.exchange_every
            if self.parts.steps_envs:
                most = min(total_steps, self.next_exchange, self.steps + TURN) - self.steps
                taken, updates = self.solver.run(envs, most)
                self.steps, self.updates = self.steps + taken, self.updates + updates
            else:
                self._interact(envs)
            yield

    def _exchange(self, evaluate: Evaluate) -> None:
        """Assess what training achieved, cooperate, adapt the weights, and select who trains next."""
        self.solver.store()
        self.turns[self.active] += 1
        self._train_others()
        before = self.returns.mean(axis=1)
        self._assess(evaluate)
        self.gains[self.active] = (self.returns.mean(axis=1) - before)[self.active]
        self._cooperate()
        self._adapt_weights()
        if self.config.neighbourhood_update == "dynamic":
            self.neighbours = self._find_neighbours()
        self._select()
        self._train_selected()

    def _interact(self, envs: VectorEnv[Any, Any, Any]) -> None:
        """Take one step in every lane and learn from it."""
        if self.lanes.observations is None:
            self.lanes.begin(envs, derived_seed(self.seed, "environments", self.steps))
        assert self.lanes.observations is not None
        observations = self._by_slot(self.lanes.observations)
        actions = self.solver.explore(observations).cpu().numpy().reshape(envs.num_envs, -1)
        if self.parts.epsilon_mixing:
            actions = self._mixed(actions)
        transitions = self.lanes.step(envs, self.parts.actions.to_environment(actions))
        transitions["action"] = actions
        self.bounds.see(transitions["total"][transitions["ended"][:, 0]])
        self.solver.observe({name: self._by_slot(column) for name, column in transitions.items()})
        self.steps += envs.num_envs
        self.taken[self.active] += envs.num_envs // self.slots
        if not self.parts.epsilon_mixing or (self._known() >= self.config.learning_starts).all():  # on policy: at once
            self.due += envs.num_envs // self.slots * self.config.updates_per_step
            self.updates += self.solver.learn(int(self.due), self._sources(self.active))
            self.due -= int(self.due)

    def _mixed(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the actions [lane, width] with a share of random ones: all at the start, then what is scheduled."""
        known = self._known()
        rates = np.where(known < self.config.random_exploration_steps, 1.0, self.parts.exploration(known))
        random = self.random.random((len(actions), 1)) < rates.repeat(len(actions) // self.slots)[:, None]
        return np.where(random, self.parts.actions.random(len(actions), self.random), actions)

    def _known(self) -> Indices:
        """Return how many steps of experience the policies that train may learn from, at most [slot]."""
        if self.config.replay == "shared" or self.config.networks == "conditioned":
            return np.full(self.slots, self.taken.sum())
        return self.taken[self.active]

    # --- The parts of an exchange -------------------------------------------------------------------------------------

    def _assess(self, evaluate: Evaluate) -> None:
        """Evaluate all policies, an episode a row, and offer them to the archive."""
        episodes = self.config.evaluation_episodes
        policies = np.repeat(np.arange(self.population), episodes)
        found = evaluate(self.weights[policies], 1, policies)
        self.returns = found.reshape(self.population, episodes, self.objectives)
        for policy, value in enumerate(self.returns.mean(axis=1)):
            entry: dict[str, Any] = {"number": self.population + self.archived}
            if self.archive.add(value, entry):
                self.archived += 1
                entry |= self._member(policy)  # copied only if it stays
        self.bounds.update(self.returns.mean(axis=1), self.archive.points)

    def _train_others(self) -> None:
        """Let every policy that did not train take a few updates: from shared experience, or what it has of its own."""
        ready = self.solver.ready(self._sources(np.arange(self.population)))
        others = np.setdiff1d(np.flatnonzero(ready), self.active)
        if self.config.offline_updates == 0 or self.config.networks != "separate":
            return
        for start in range(0, len(others), self.slots):
            some = others[start : start + self.slots]
            padded = np.resize(some, self.slots)  # what is trained twice is written back once
            self._load(padded)
            self.updates += (
                self.solver.learn(self.config.offline_updates, self._sources(padded)) * len(some) // self.slots
            )
            self.solver.store(len(some))

    def _cooperate(self) -> None:
        """Exchange parameters between neighbours."""
        match self.config.transfer:
            case "first-sweep":
                sources = cooperation.successors(self.active, self.neighbours, self.turns == 0)
            case "always":
                sources = cooperation.successors(self.active, self.neighbours, np.ones(self.population, dtype=np.bool_))
            case "best":
                sources = cooperation.replacements(self._worths(), self.neighbours)
            case "soft":
                cooperation.drift(self.solver.members, self.active, self.neighbours, self.config.soft_rate)
                return
            case _:
                return
        self.solver.replace(sources)
        self.returns = self.returns[sources]

    def _adapt_weights(self) -> None:
        """Move weights to where the archive lacks policies."""
        if self.config.adaptation == "psa":
            values, front = self.returns.mean(axis=1), self.archive.points
            self.weights = adaptation.psa(self.weights, values, front, self.config.psa_factor)
        elif self.config.adaptation == "corner-weights":
            corners = adaptation.next_corners(self.archive.points, self.visited, self.slots)
            for policy, corner in zip(self.active, corners, strict=False):
                self.weights[policy] = corner
            self.visited = np.vstack([self.visited, corners])

    def _select(self) -> None:
        """Choose who trains until the next exchange; who takes over lanes begins new episodes there."""
        before, self.turn = self.active, self.turn + 1
        values = self.returns.mean(axis=1)
        match self.config.selection:
            case "random":
                chosen = np.sort(self.random.choice(self.population, size=self.slots, replace=False))
            case "tournament":
                chosen = selection.tournament(values, self.slots, self.random)
            case "most-promising":
                chosen = selection.most_promising(values, self.gains, self.archive.points, self.slots)
            case _:
                chosen = selection.round_robin(self.population, self.slots, self.turn)
        self.active = chosen
        if not np.array_equal(before, chosen):
            self.lanes.observations = None

    def _train_selected(self) -> None:
        self._load(self.active)

    def _load(self, policies: Indices) -> None:
        values = self.returns[policies].sum(axis=1) / max(1, self.returns.shape[1])
        arrays = (self.weights[policies], self.bounds.rows(), values)
        self.solver.load(policies, *map(self._tensor, arrays))

    # --- What is worth what, and who is near whom ---------------------------------------------------------------------

    def _worths(self) -> Array:
        """Return what the returns of every policy are worth to every policy [policy, other], under the criterion."""
        lowest, ideal = self.bounds.rows()
        weights = self.weights[:, None, None]
        if self.config.criterion == "esr":  # expected utility of the return
            worths = self.utility(self.returns[None], weights, lowest, ideal).mean(axis=2)
        else:  # utility of the expected return
            worths = self.utility(self.returns.mean(axis=1)[None], weights[:, 0], lowest, ideal)
        return np.asarray(worths)

    def _find_neighbours(self) -> Indices:
        places = self.weights
        if self.config.neighbourhood_space == "objectives":
            places = cooperation.shares(self.returns.mean(axis=1), self.archive.points)
        return cooperation.find_neighbours(self.config.neighbourhood, places, self.config.neighbours)

    def _sources(self, policies: Indices) -> Indices:
        """Return the rings [policy, k] that policies learn from."""
        match self.config.replay:
            case "shared":
                return np.tile(np.arange(self.population), (len(policies), 1))
            case "neighbours":
                return self.neighbours[policies]
        return policies[:, None]

    def _by_slot(self, column: NDArray[Any]) -> Tensor:
        """Return a column [lane, width] as [slot, lane, width]: each policy has a block of neighbouring lanes."""
        return self._tensor(column).view(self.slots, -1, column.shape[1])

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float32), device=self.device)

    # --- Acting -------------------------------------------------------------------------------------------------------

    def act(
        self,
        observations: Any,
        preferences: Array,  # noqa: ARG002
        policies: Indices,
        accrued: Array | None = None,
    ) -> NDArray[Any]:
        """Return the deterministic actions [env, ...]; every policy acts for the weights that it was trained for.

        `accrued` [env, objective + 1] is what the episode has paid so far, and the discount of the next reward; nothing
        yet where not given.
        """
        rows = self.lanes.rows_of(observations, accrued)
        numbers, member, counts = np.unique(policies, return_inverse=True, return_counts=True)
        places = np.empty(len(policies), dtype=np.int64)  # of each row among those of its policy
        places[np.argsort(member, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
        inputs = np.zeros((len(numbers), counts.max(), rows.shape[1]), dtype=np.float32)
        inputs[member, places] = rows
        actions = self.solver.greedy(*self._stacked(numbers, self._tensor(inputs)))
        return self.parts.actions.to_environment(actions.cpu().numpy()[member, places])

    def _stacked(self, numbers: Indices, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return actors [policy, n], inputs, preferences [policy, objective] and bounds [policy, 2, objective]."""
        key = (self.steps, self.updates, self.turn, numbers.tobytes())
        if self.stacked is None or self.stacked[0] != key:
            entries = self._entries()
            chosen = [entries[number] for number in numbers.tolist()]
            actors = torch.stack([entry["actor"] for entry in chosen]).to(self.device)
            preferences = self._tensor([entry["preference"] for entry in chosen])
            self.stacked = key, (actors, preferences, self._tensor([entry["bounds"] for entry in chosen]))
        actors, preferences, bounds = self.stacked[1]
        return actors, inputs, preferences, bounds

    def _member(self, policy: int) -> dict[str, Any]:
        """Return what acting needs of a member, a copy: its actor, weights, and the bounds of its utility."""
        row = 0 if self.config.networks == "conditioned" else policy
        actor = self.solver.members["actor"][row].clone()
        return {"actor": actor, "preference": self.weights[policy].copy(), "bounds": self.bounds.rows()}

    def _entries(self) -> dict[int, dict[str, Any]]:
        """Return what acting needs of every policy, by number: the members, then the archive."""
        if self.imported:
            return self.imported
        self.solver.store()
        entries = {policy: self._member(policy) for policy in range(self.population)}
        return entries | {entry["number"]: entry for entry in self.archive.payloads}

    def policies(self, preferences: Array) -> tuple[Indices, Array]:  # noqa: ARG002
        """Return the archive and the members as they are, each with the weights that it was trained for."""
        numbers = [*range(self.population), *(entry["number"] for entry in self.archive.payloads)]
        weights = [*self.weights, *(entry["preference"] for entry in self.archive.payloads)]
        return np.array(numbers), np.array(weights)

    def metrics(self) -> dict[str, float]:
        """Return what tells how learning goes; read only when it is logged. docs/morl_d.md explains each."""
        values: dict[str, float] = {"archive_size": float(len(self.archive)), "exchanges": float(self.turn)}
        values |= self.solver.metrics()
        return values

    # --- Saving -------------------------------------------------------------------------------------------------------

    _PLAIN_STATE = (
        *("steps", "pretraining_steps", "updates", "turn", "next_exchange", "archived", "due"),
        *("weights", "visited", "neighbours", "returns", "gains", "turns", "taken", "active"),
    )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs."""
        self.solver.store()
        return {name: getattr(self, name) for name in self._PLAIN_STATE} | {
            "solver": self.solver.state_dict(),
            "archive": self.archive.state_dict(),
            "bounds": self.bounds.state_dict(),
            "lanes": self.lanes.state_dict(),
            "random": self.random.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned, for the same problem, settings and number of lanes."""
        for name in self._PLAIN_STATE:
            value = state[name]
            setattr(self, name, value.copy() if isinstance(value, np.ndarray) else value)
        self.archive.load_state_dict(state["archive"])
        self.bounds.load_state_dict(state["bounds"])
        self._train_selected()  # preferences and bounds; parameters come with the solver's state
        self.solver.load_state_dict(state["solver"])
        self.lanes.load_state_dict(state["lanes"])
        self.random.bit_generator.state = state["random"]
        self.imported, self.stacked = {}, None

    def reset_episodes(self) -> None:
        """Begin new episodes at the next step: for environments whose state cannot be saved."""
        self.lanes.observations = None
        if self.parts.steps_envs:
            self.solver.reset_episodes()

    def export_policies(self) -> dict[int, dict[str, Any]]:
        """Return what acting needs, by policy number: small, without critics, replay or optimizer."""
        return {number: dict(entry) for number, entry in self._entries().items()}

    def import_policies(self, policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Take over policies that `export_policies` returned; enough to act, not to go on learning."""
        self.imported, self.stacked = {number: dict(entry) for number, entry in policies.items()}, None
