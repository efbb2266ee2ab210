"""MORL/D: multi-objective reinforcement learning by decomposition (Felten, Talbi, Danoy, JAIR 2024; arXiv 2311.12495).

The framework in five lines:
  1. Weight vectors split the problem into scalar ones: policy i maximizes the utility u(return; lambda_i, ideal z).
  2. A solver trains the active policies side by side, in one batched update, each in environments of its own.
  3. At every exchange all policies are evaluated, in one wide rollout, and offered to an archive, which is the result.
  4. Neighbours cooperate: they share experience, copy or soft-copy parameters, or have (parts of) networks in common.
  5. Weights adapt to gaps in the archive, and the policies that train next are selected.

Every trait of the paper's taxonomy is a setting (`morl.agents.morl_d.config`), the published instantiations are
presets. Deviations from the authors' code, and their reasons (docs/agents/morl_d.md has the list):
  - As many policies as divide num_envs train at the same time, not one after another; `selected 1` is the original.
  - Critics learn every objective on its own, not only the utility: they stay valid when weights change.
  - Distances between returns are in shares of the archive's range; evaluation is deterministic, an episode each.
  - A transferred policy brings its critics along, which were trained on that very policy.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.acting import PolicyBank
from morl.agents.morl_d import adaptation, cooperation, selection
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.exploration import ExplorationSchedule
from morl.agents.morl_d.factory import build, transition_memory
from morl.agents.morl_d.metrics import METRIC_DESCRIPTIONS
from morl.agents.morl_d.policies import policy_data
from morl.agents.morl_d.solvers.protocol import FollowsEpisodes, SelfSteppingSolver, TransitionSolver
from morl.agents.morl_d.validation import check_num_envs, longest_schedules, takes_masks
from morl.learning.off_policy import learned_tensors
from morl.pareto import ParetoArchive
from morl.policy_files import PolicyData
from morl.protocols import (
    Actions,
    BoolArray,
    Evaluate,
    FloatArray,
    IndexArray,
    MemoryArray,
    MemoryNeed,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)
from morl.seeding import derived_seed, stream

MAX_STEPS_PER_YIELD = 1_000
"""Environment steps that a solver which steps the environments itself takes at most between two yields."""


class MORLD:
    """A population of policies for a set of weights; satisfies `morl.protocols.Agent`.

    The policy ids 0 to population - 1 are those of the members; archived policies have permanent ids from there on.

    Args:
        problem: the environment.
        config: settings.
        seed: of all random streams.
        num_envs: number of sub-environments.
        device: where networks live.
    """

    config_class = Config
    metric_descriptions = METRIC_DESCRIPTIONS

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        self.uses_accrued_reward = config.augmented_state
        self.uses_action_masks = takes_masks(config, problem)
        self.utility_name = config.utility
        self.objectives = problem.num_objectives
        self.population = config.population
        self.components = build(problem, config, seed, num_envs, device)
        self.memory_size = self.components.spec.memory_size
        self.solver = self.components.solver
        self.backend = self.solver.backend  # that executes the updates
        self.collector = self.components.collector
        self.bounds = self.components.bounds
        self.num_active = self.components.num_active
        self.random = stream(seed, "selection")
        self.weights = adaptation.first_weights(config.weights, self.objectives, self.population, seed)
        self.visited_weights = self.weights.copy()  # [v, objective]: all weights that policies were trained for
        self.neighbours = cooperation.find_neighbours(config.neighbourhood, self.weights, config.neighbours)
        capacity = config.archive_capacity if config.archive == "bounded" else None
        self.archive = ParetoArchive(capacity, convex=config.archive == "convex")  # payloads are policy ids
        self.bank = PolicyBank(self.components.spec, device)  # members and archived policies
        self.bank_version: tuple[int, int, int] | None = None  # of the members in the bank
        self.num_archived = 0  # policies that ever entered the archive
        self.returns = np.zeros((self.population, 0, self.objectives))  # [policy, episode, objective]; no episodes yet
        self.gains = np.full((self.population, self.objectives), np.nan)  # change of the returns by the last training
        self.times_trained = np.zeros(self.population, dtype=np.int64)  # [policy]: exchanges since which it was active
        self.policy_steps = np.zeros(self.population, dtype=np.int64)  # [policy]: environment steps that it took
        self.active = selection.round_robin(self.population, self.num_active, 0)
        self.steps = 0
        self.pretraining_steps = 0
        self.updates = 0
        self.exchanges = 0
        self.next_exchange = config.exchange_every
        self.updates_due = 0.0  # updates of each active policy that its steps have earned and that are still to be made
        self._load(self.active)

    @staticmethod
    def schedules(config: Config, problem: Problem, total_steps: int) -> Mapping[str, int]:
        """Return the most steps of each schedule that leave most of a run for learning.

        Args:
            config: settings.
            problem: the environment.
            total_steps: environment steps of the run.
        """
        return longest_schedules(config, problem, total_steps)

    @staticmethod
    def memory(config: Config, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:
        """Return the memory of the replay buffers of all policies, or of the rollout of those that train.

        Args:
            config: settings.
            problem: the environment.
            num_envs: number of environments.
            total_steps: environment steps of the run.
        """
        return transition_memory(config, problem, num_envs, total_steps)

    # --- The algorithm ------------------------------------------------------------------------------------------------

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run MORL/D; one iteration is one step of every sub-environment and the updates that it earns.

        Args:
            envs: vector environment with rewards [env, objective].
            total_steps: environment steps at which to stop.
            evaluate: measures the returns of policies.
        """
        check_num_envs(self.config, self.components.solver_name, envs.num_envs)
        if isinstance(self.solver, SelfSteppingSolver):
            self.solver.horizon = -(-total_steps // self.population)
        if self.returns.shape[1] == 0:
            self._evaluate_population(evaluate)
            self.neighbours = self._find_neighbours()
            self._load(self.active)
        while self.steps < total_steps:
            if self.steps >= self.next_exchange:
                self._exchange(evaluate)
                self.next_exchange += self.config.exchange_every
            if isinstance(self.solver, SelfSteppingSolver):
                until = min(total_steps, self.next_exchange, self.steps + MAX_STEPS_PER_YIELD)
                steps, updates = self.solver.run(envs, until - self.steps)
                self.steps += steps
                self.updates += updates
            else:
                self._sample_experience(envs, self.solver)
                self._improve_policies(self.solver, envs.num_envs)
            yield

    def _exchange(self, evaluate: Evaluate) -> None:
        """Evaluate the trained population, cooperate, adapt the weights, and select the policies that train next."""
        self.solver.store()
        self.times_trained[self.active] += 1
        if isinstance(self.solver, TransitionSolver):
            self._improve_inactive_policies(self.solver)
        returns_before = self.returns.mean(axis=1)
        self._evaluate_population(evaluate)
        self.gains[self.active] = (self.returns.mean(axis=1) - returns_before)[self.active]
        self._cooperate()
        self._adapt_weights()
        if self.config.neighbourhood_update == "dynamic":
            self.neighbours = self._find_neighbours()
        self.exchanges += 1
        self._select()
        self._load(self.active)

    def _sample_experience(self, envs: VectorEnvironment, solver: TransitionSolver) -> None:
        """Take one step in every sub-environment with the active policies, and store the transitions."""
        if self.collector.observations is None:
            self.collector.reset(envs, derived_seed(self.seed, "environments", self.steps))
        inputs = self._inputs()
        actions = solver.explore(inputs["observations"], inputs.get("masks")).cpu().numpy().reshape(envs.num_envs, -1)
        if self.components.exploration is not None:
            actions = self._with_random_actions(actions, self.components.exploration)
        transitions = self.collector.step(envs, self.components.actions.to_environment(actions))
        transitions["action"] = actions
        self.bounds.observe(transitions["total"][transitions["ended"][:, 0]])
        columns = {name: self._by_policy(column) for name, column in transitions.items()}
        solver.observe(columns, following=self._inputs)
        self.steps += envs.num_envs
        self.policy_steps[self.active] += envs.num_envs // self.num_active

    def _with_random_actions(self, actions: NDArray[Any], schedule: ExplorationSchedule) -> NDArray[Any]:
        """Return actions [env, width] of which a scheduled share is replaced by random ones."""
        probabilities = schedule.probability(self._experience_steps()).repeat(len(actions) // self.num_active)
        chosen = self.random.random((len(actions), 1)) < probabilities[:, None]
        random_actions = self.components.actions.random(len(actions), self.random, self.collector.masks)
        return np.where(chosen, random_actions, actions)

    def _improve_policies(self, solver: TransitionSolver, num_envs: int) -> None:
        """Take the updates that the last step of each sub-environment has earned; on policy, when a rollout is full."""
        warming_up = (self._experience_steps() < self.config.learning_starts).any()
        if self.components.exploration is not None and warming_up:
            return
        self.updates_due += num_envs // self.num_active * self.config.updates_per_step
        self.updates += solver.learn(int(self.updates_due), self._replay_sources(self.active))
        self.updates_due -= int(self.updates_due)

    def _improve_inactive_policies(self, solver: TransitionSolver) -> None:
        """Update every policy that did not train since the last exchange, from its experience or what is shared."""
        if self.config.offline_updates == 0 or self.config.networks != "separate":
            return
        ready = np.flatnonzero(solver.ready(self._replay_sources(np.arange(self.population))))
        inactive = np.setdiff1d(ready, self.active)
        for start in range(0, len(inactive), self.num_active):
            group = inactive[start : start + self.num_active]
            padded = np.resize(group, self.num_active)  # repeated policies are trained twice and stored once
            self._load(padded)
            updates = solver.learn(self.config.offline_updates, self._replay_sources(padded))
            self.updates += updates * len(group) // self.num_active
            solver.store(len(group))

    # --- The parts of an exchange -------------------------------------------------------------------------------------

    def _evaluate_population(self, evaluate: Evaluate) -> None:
        """Evaluate all policies, each episode in a row of its own, and update the archive and the ideal point."""
        episodes = self.config.evaluation_episodes
        policies = np.repeat(np.arange(self.population), episodes)
        self.returns = evaluate(self.weights[policies], 1, policies).reshape(self.population, episodes, self.objectives)
        mean_returns = self.returns.mean(axis=1)
        for policy, point in enumerate(mean_returns):
            policy_id = self.population + self.num_archived
            if self.archive.add(point, policy_id):
                self.bank.add(policy_id, self._policy(policy))
                self.num_archived += 1
        self.bank.keep({*range(self.population), *self.archive.payloads})
        self.bounds.update(mean_returns, self.archive.points)
        self.bank_version = None

    def _cooperate(self) -> None:
        """Exchange parameters between neighbours."""
        match self.config.transfer:
            case "first-sweep":
                sources = cooperation.successors(self.active, self.neighbours, self.times_trained == 0)
            case "always":
                everybody = np.ones(self.population, dtype=np.bool_)
                sources = cooperation.successors(self.active, self.neighbours, everybody)
            case "best":
                sources = cooperation.replacements(self._utilities(), self.neighbours)
            case "soft":
                members = self.solver.members
                cooperation.soft_transfer(members, self.active, self.neighbours, self.config.soft_rate)
                return
            case _:
                return
        self.solver.replace(sources)
        self.returns = self.returns[sources]

    def _adapt_weights(self) -> None:
        """Move weights to where the archive lacks policies."""
        front = self.archive.points
        if self.config.adaptation == "psa":
            self.weights = adaptation.psa(self.weights, self.returns.mean(axis=1), front, self.config.psa_factor)
        elif self.config.adaptation == "corner-weights":
            corners = adaptation.next_corners(front, self.visited_weights, self.num_active)
            for policy, corner in zip(self.active, corners, strict=False):
                self.weights[policy] = corner
            self.visited_weights = np.vstack([self.visited_weights, corners])

    def _find_neighbours(self) -> IndexArray:
        """Return each policy's neighbours [policy, k], itself first."""
        positions = self.weights
        if self.config.neighbourhood_space == "objectives":
            positions = cooperation.normalize(self.returns.mean(axis=1), self.archive.points)
        return cooperation.find_neighbours(self.config.neighbourhood, positions, self.config.neighbours)

    def _select(self) -> None:
        """Select the policies that train until the next exchange; new ones start with new episodes."""
        before = self.active
        returns = self.returns.mean(axis=1)
        match self.config.selection:
            case "random":
                self.active = np.sort(self.random.choice(self.population, size=self.num_active, replace=False))
            case "tournament":
                self.active = selection.tournament(returns, self.num_active, self.random)
            case "most-promising":
                self.active = selection.most_promising(returns, self.gains, self.archive.points, self.num_active)
            case _:
                self.active = selection.round_robin(self.population, self.num_active, self.exchanges)
        if not np.array_equal(before, self.active):
            self.collector.observations = None

    # --- Inputs of the solver -----------------------------------------------------------------------------------------

    def _load(self, policies: IndexArray) -> None:
        """Let the solver train `policies`, for their weights and the present bounds."""
        mean_returns = self.returns[policies].sum(axis=1) / max(1, self.returns.shape[1])
        self.solver.load(
            policies,
            _tensor(self.weights[policies]),
            _tensor(self.bounds.as_array()),
            _tensor(mean_returns),
        )

    def _utilities(self) -> FloatArray:
        """Return the utility of the returns of every `other` policy to every `policy` [policy, other] (SER or ESR)."""
        utility = self.components.utility
        lowest, ideal = self.bounds.as_array()
        if self.config.criterion == "esr":  # expected utility of the return
            of_episodes = utility(self.returns[None], self.weights[:, None, None], lowest, ideal)
            return np.asarray(of_episodes.mean(axis=2))
        return np.asarray(utility(self.returns.mean(axis=1)[None], self.weights[:, None], lowest, ideal))

    def _experience_steps(self) -> IndexArray:
        """Return the environment steps of experience that each active policy may learn from, at most [active]."""
        if self.config.replay == "shared" or self.config.conditioned:
            return np.full(self.num_active, self.policy_steps.sum())
        return self.policy_steps[self.active]

    def _replay_sources(self, policies: IndexArray) -> IndexArray:
        """Return the policies [policy, k] whose replay buffers each of `policies` samples from."""
        match self.config.replay:
            case "shared":
                return np.tile(np.arange(self.population), (len(policies), 1))
            case "neighbours":
                return self.neighbours[policies]
        return policies[:, None]

    def _inputs(self) -> dict[str, Tensor]:
        """Return what policies act on [active, env, width]: "observations", and "masks" where there are."""
        assert self.collector.observations is not None
        inputs = {"observations": self._by_policy(self.collector.observations)}
        if self.collector.masks is not None:
            inputs["masks"] = self._by_policy(self.collector.masks)
        return inputs

    def _by_policy(self, column: NDArray[Any]) -> Tensor:
        """Return a column [env, width] as [active, env, width]: each active policy has a block of environments.

        It stays on the CPU: solvers copy what they need to their device at once, and rollouts stay there.
        """
        rows = torch.as_tensor(np.asarray(column, dtype=np.float32))
        return rows.view(self.num_active, -1, column.shape[1])

    # --- Acting -------------------------------------------------------------------------------------------------------

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,  # noqa: ARG002
        policies: IndexArray,
        accrued: FloatArray | None = None,
        masks: BoolArray | None = None,
        memory: MemoryArray | None = None,
    ) -> Actions:
        """Return the deterministic actions [env, ...]; every policy acts for the weights that it was trained for.

        Args:
            observations: batch of the observation space.
            preferences: ignored.
            policies: policy ids [env].
            accrued: accrued rewards and discounts of the next rewards [env, objective + 1]; default: those at the start
                of an episode.
            masks: [env, choice] allowed choices; required where the environment gives masks.
            memory: [env, memory_size] before the observations, replaced in place by that after them; default: the start
                of an episode.
        """
        self._update_bank()
        own_preferences = np.stack([self.bank[policy_id].preference for policy_id in policies.tolist()])
        return self.bank.act(observations, own_preferences, policies, accrued, masks, memory=memory)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:  # noqa: ARG002
        """Return the ids [n] of the members and the archive, and the weights that each was trained for [n, objective].

        Args:
            preferences: ignored; no policy is conditioned on them at evaluation.
        """
        archived = self.archive.payloads
        weights = [*self.weights, *(self.bank[policy_id].preference for policy_id in archived)]
        return np.array([*range(self.population), *archived]), np.array(weights)

    def all_parameters(self) -> list[Tensor]:
        """Return the parameters of all members, actors and critics: [policy, n], or of any shape from SB3."""
        if isinstance(self.solver, SelfSteppingSolver):
            return self.solver.model_parameters()
        self.solver.store()
        return learned_tensors(self.solver.members)

    def export_policies(self) -> dict[int, PolicyData]:
        """Return members and archived policies by id."""
        self._update_bank()
        return {policy_id: self.bank[policy_id] for policy_id in sorted(self.bank.ids)}

    def _update_bank(self) -> None:
        """Copy the members into the bank, where they changed since the last call."""
        version = (self.steps, self.updates, self.exchanges)
        if version != self.bank_version:
            self.solver.store()
            for policy in range(self.population):
                self.bank.add(policy, self._policy(policy))
            self.bank_version = version

    def _policy(self, member: int) -> PolicyData:
        """Return a member as it is now."""
        row = 0 if self.config.conditioned else member
        actor = self.solver.members["actor"][row]
        columns = self.components.normalized_columns
        return policy_data(self.components.spec, actor, columns, self.weights[member], self.bounds.as_array())

    def metrics(self) -> dict[str, float]:
        """Return training metrics; called at logging time only. docs/agents/morl_d.md explains each."""
        own = {"archive_size": float(len(self.archive)), "exchanges": float(self.exchanges)}
        return own | self.solver.metrics()

    # --- Checkpoints --------------------------------------------------------------------------------------------------

    _PLAIN_STATE = (
        *("steps", "pretraining_steps", "updates", "exchanges", "next_exchange", "num_archived", "updates_due"),
        *("weights", "visited_weights", "neighbours", "returns", "gains", "times_trained", "policy_steps", "active"),
    )

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state for a checkpoint; a run that is resumed from it goes on bit for bit."""
        self.solver.store()
        archived = {policy_id: self.bank[policy_id].state_dict() for policy_id in self.archive.payloads}
        return {name: getattr(self, name) for name in self._PLAIN_STATE} | {
            "solver": self.solver.state_dict(),
            "archive": self.archive.state_dict(),
            "archived_policies": archived,
            "bounds": self.bounds.state_dict(),
            "collector": self.collector.state_dict(),
            "random": self.random.bit_generator.state,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same problem, settings and number of environments."""
        for name in self._PLAIN_STATE:
            value = state[name]
            setattr(self, name, value.copy() if isinstance(value, np.ndarray) else value)
        self.archive.load_state_dict(state["archive"])
        self.bank.keep(())
        for policy_id, policy in state["archived_policies"].items():
            self.bank.add(policy_id, PolicyData.of_state_dict(policy))
        self.bank_version = None
        self.bounds.load_state_dict(state["bounds"])
        self._load(self.active)  # preferences and bounds; parameters come with the solver's state
        self.solver.load_state_dict(state["solver"])
        self.collector.load_state_dict(state["collector"])
        self.random.bit_generator.state = state["random"]

    def reset_episodes(self) -> None:
        """Reset the environments at the next step: for environments whose state cannot be saved."""
        self.collector.observations = None
        if isinstance(self.solver, FollowsEpisodes):
            self.solver.reset_episodes()


def _tensor(array: FloatArray) -> Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float32))
