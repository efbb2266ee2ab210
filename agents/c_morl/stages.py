"""The two stages of C-MORL's Algorithm 1: Pareto initialization and Pareto extension.

The tasks of a stage learn side by side as one population. In initialization each maximizes w.G for a preference w; in
extension each maximizes one objective of a selected policy, under constraints on the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.bounds import BoundMultipliers, Bounds
from morl.agents.c_morl.config import Config
from morl.agents.c_morl.constraints import (
    ConstraintState,
    constraint_state,
    reference_thresholds,
)
from morl.agents.c_morl.episode_statistics import EpisodeStatistics
from morl.agents.c_morl.solvers import ConstrainedUpdate, ConstraintSolver, initialization_solver
from morl.learning.advantages import compute_advantages, objective_columns, scalar_advantages
from morl.learning.backends import choose_backend, make_update
from morl.learning.population import Population
from morl.learning.ppo import PPO, ActorCritic, PPOSettings, ppo_update, probability_ratios
from morl.learning.return_weights import ReturnEstimates, WeightRule, preference, weight_rule
from morl.learning.rollouts import RolloutBuffer, TransitionSizes
from morl.learning.types import BackendSetting
from morl.protocols import FloatArray, StateDict


@dataclass(frozen=True)
class Task:
    """A policy that waits to be trained.

    Attributes:
        policy_id: of the archived policy that it starts from.
        weights: [objective] of the returns that it maximizes: a preference, or the unit vector of one objective.
    """

    policy_id: int
    weights: FloatArray


@dataclass(frozen=True)
class StageSetup:
    """What all stages of a run have in common.

    Attributes:
        network: the shape of actor and critic.
        config: of the agent.
        bounds: the user's constraints.
        targets: [free objective, objective] unit vectors of the objectives without a bound.
        sizes: widths of a transition.
        num_envs: number of environments.
        discount: of training.
        device: where learning takes place.
        backend: setting that chooses the backend of PPO's gradient steps.
        reference_point: [objective] of the environment, in the agent's units; None: not known.
    """

    network: ActorCritic
    config: Config
    bounds: Bounds
    targets: FloatArray
    sizes: TransitionSizes
    num_envs: int
    discount: float
    device: torch.device
    backend: BackendSetting
    reference_point: tuple[float, ...] | None


class EvaluatedRollout(NamedTuple):
    """A full rollout with advantages.

    Attributes:
        samples: of `compute_advantages`.
        sigma: [policy, objective] standard deviations of the rewards' discounted sums.
        reward_std: the same in float64.
    """

    samples: dict[str, Tensor]
    sigma: Tensor
    reward_std: FloatArray


class TaskPopulation:
    """The policies of a stage, one per task, and everything that learns with them.

    Attributes:
        population: the policies with optimizer and rollout.
        statistics: estimates of the policies' returns.
        origins: [policy] ids of the archived policies that the tasks started from.
        weights: [policy, objective] of the returns that are maximized.
        multipliers: [policy, objective] of the solver's Lagrangian.
        bounds: multipliers of the user's bounds.
        learning_rates: [policy] Adam's step sizes.
        envs_per_policy: environments of each task.
        backend: the backend that executes PPO's gradient steps.

    Args:
        setup: of the run.
        num_tasks: number of tasks; they share the environments equally.
        solver: of the constraints.
        target: rule of the weights of the returns that are maximized.
    """

    def __init__(self, setup: StageSetup, num_tasks: int, solver: ConstraintSolver, target: WeightRule) -> None:
        config = setup.config
        self.setup = setup
        self.solver = solver
        self.weight_rule = solver.weight_rule(target, setup.bounds.signs)
        self.envs_per_policy = setup.num_envs // num_tasks
        sequence_steps = config.memory_steps if setup.sizes.state else 1
        num_steps = -(-config.samples_per_update // (self.envs_per_policy * sequence_steps)) * sequence_steps
        rollout = RolloutBuffer(
            num_policies=num_tasks,
            envs_per_policy=self.envs_per_policy,
            num_steps=num_steps,
            sizes=setup.sizes,
            discount=setup.discount,
            sequence_steps=sequence_steps,
        )
        self.population = Population(setup.network, rollout, setup.device)
        self.ppo_settings = PPOSettings(
            epochs=config.epochs,
            minibatches=config.minibatches,
            clip_range=config.clip_range,
            value_clip_range=config.clip_range,
            entropy_weight=config.entropy_weight if solver.entropy_bonus else 0.0,
            combiner=config.combiner,
        )
        ppo = PPO(setup.network, self.population.parameters, self.population.optimizer, self.ppo_settings)
        self.backend = choose_backend(ppo, setup.backend)
        self.gradient_step = make_update(ppo, self.backend)
        shape = (num_tasks, setup.sizes.objectives)
        self.statistics = EpisodeStatistics(np.zeros(shape), self.envs_per_policy, setup.discount)
        self.origins = np.zeros(num_tasks, dtype=np.int64)
        self.weights: FloatArray = np.zeros(shape)
        self.multipliers: FloatArray = np.zeros(shape)
        self.bounds = BoundMultipliers(setup.bounds, num_tasks)
        self.learning_rates = np.full(num_tasks, config.learning_rate)

    @property
    def rollout(self) -> RolloutBuffer:
        """Return the rollout buffer."""
        return self.population.rollout

    def start(self, snapshots: Sequence[Snapshot], weights: FloatArray) -> None:
        """Load the policies that the tasks start from.

        Args:
            snapshots: one archived policy for each task.
            weights: [policy, objective] of the returns to maximize.
        """
        for policy, snapshot in enumerate(snapshots):
            self.population.load_training_state(policy, snapshot.state)
        self.origins = np.array([snapshot.policy_id for snapshot in snapshots])
        self.weights = weights

    def reset_episodes(self) -> None:
        """Discard the rollout and the episodes under way: all environments were reset."""
        self.rollout.reset_episodes()
        self.statistics.reset_episodes()

    def snapshots(self, first_id: int, preferences: FloatArray) -> list[Snapshot]:
        """Return the policies as they are; their returns are not known yet.

        Args:
            first_id: id of the first one; ids are consecutive.
            preferences: [policy, objective] that they are archived with.
        """
        unknown = np.full(self.setup.sizes.objectives, np.nan)
        return [
            Snapshot(
                policy_id=first_id + policy,
                state=self.population.training_state(policy),
                returns=unknown,
                preference=preferences[policy],
                learning_rate=float(self.learning_rates[policy]),
                multipliers=self.bounds.multipliers[policy].copy(),
            )
            for policy in range(len(self.population))
        ]

    # --- The parts of an update, in their order -----------------------------------------------------------------------

    def evaluate_rollout(self, final_observations: NDArray[np.float32]) -> EvaluatedRollout:
        """Compute the advantages of the full rollout, and include its episodes in the statistics.

        Args:
            final_observations: [env, width] encoded, not normalized: after the last step.
        """
        population = self.population
        population.settle()
        final = self.rollout.normalize(final_observations)
        samples, sigma = compute_advantages(
            self.rollout, population.network, population.parameters, final, self.setup.config.gae_lambda
        )
        reward_std = sigma.double().cpu().numpy()
        self.statistics.update(self.rollout, population.values(final), reward_std)
        return EvaluatedRollout(samples, sigma, reward_std)

    @property
    def measurement_episodes(self) -> int:
        """Return the number of episodes that measure a snapshot."""
        config = self.setup.config
        return self.bounds.episodes(config.snapshot_episodes, config.samples_per_update, self._longest)

    @property
    def measurement_due(self) -> bool:
        """Return whether the user's bounds need a measurement."""
        config = self.setup.config
        return self.bounds.is_due(config.snapshot_episodes, config.samples_per_update, self._longest)

    @property
    def _longest(self) -> float:
        """Return the mean length of the episodes of the policy whose episodes are longest, in steps."""
        return float(self.statistics.mean_lengths.max())

    def improve(
        self, rollout: EvaluatedRollout, thresholds: FloatArray, generator: torch.Generator
    ) -> dict[str, float]:
        """Run the constrained policy update, and make room for the next rollout; return the means of its metrics.

        Args:
            rollout: the full rollout with advantages.
            thresholds: [policy, objective] of the constraints, for signs * returns; -inf without a constraint.
            generator: of the minibatches.
        """
        samples, sigma, reward_std = rollout
        signs = self.setup.bounds.signs
        lengths = self.statistics.discounted_lengths
        constraints = constraint_state(self.statistics.returns, thresholds, signs, reward_std, lengths, sigma)
        slacks = constraints.slacks.double().cpu().numpy()
        advantages = samples["target"] - samples["value"]
        estimates = ReturnEstimates(
            preferences=self.weights,
            returns=self.statistics.returns,
            deviations=reward_std,
            advantage_deviations=reward_std * advantages.std(dim=1, correction=0).double().cpu().numpy(),
            slacks=slacks,
        )
        weights, self.multipliers = self.weight_rule(estimates, self.multipliers)
        weights = self.bounds.step(weights, reward_std)
        mixed = scalar_advantages(advantages * sigma.unsqueeze(1), sigma.new_tensor(weights))
        samples["advantage"] = mixed.unsqueeze(2)
        if self.ppo_settings.combiner != "weighted-sum":
            samples |= objective_columns(advantages * sigma.unsqueeze(1), sigma.new_tensor(weights))
        samples["vector_advantage"] = advantages - advantages.mean(dim=1, keepdim=True)

        update = ConstrainedUpdate(self.population, samples, constraints, sigma.new_tensor(self.weights))
        metrics = self.solver.step_actors(update)
        metrics |= ppo_update(
            self.gradient_step,
            samples,
            self.ppo_settings,
            sigma.new_tensor(self.learning_rates),
            generator,
            self.solver.policy_loss(update),
        )
        if constraints.constrained.any():
            self.statistics.add_gains(self._predicted_gains(samples, constraints) * reward_std)
        metrics["slack"] = constraints.slacks.clamp(max=1e3).min()
        metrics["multiplier"] = torch.tensor(self.multipliers.max())
        self.rollout.clear()
        return {name: float(value.double().mean()) for name, value in metrics.items()} | self.bounds.metrics()

    @torch.no_grad()
    def _predicted_gains(self, samples: Mapping[str, Tensor], constraints: ConstraintState) -> FloatArray:
        """Return h mean_i[(rho_i - 1) A_ij]: the change of returns [policy, objective] by the update, in sigmas.

        Ratios are clipped: in many dimensions a few large ones would make up all of the mean.
        """
        network = self.population.network
        clip_range = self.setup.config.clip_range
        actor, _ = network.split(self.population.parameters)
        _, ratios = probability_ratios(network, actor, samples)
        changes = ratios.clamp(1.0 - clip_range, 1.0 + clip_range) - 1.0
        gains = (changes.unsqueeze(2) * samples["vector_advantage"]).mean(dim=1)
        return (gains * constraints.dslack_dadvantage.abs()).double().cpu().numpy()

    _STATE = ("origins", "weights", "multipliers", "learning_rates")

    def state_dict(self) -> dict[str, object]:
        """Return the policies, their statistics and what each task maximizes."""
        return {name: getattr(self, name) for name in self._STATE} | {
            "population": self.population.state_dict(),
            "statistics": self.statistics.state_dict(),
            "bounds": self.bounds.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same sizes."""
        for name in self._STATE:
            setattr(self, name, state[name])
        self.population.load_state_dict(state["population"])
        self.statistics.load_state_dict(state["statistics"])
        self.bounds.load_state_dict(state["bounds"])


class InitializationStage:
    """Pareto initialization (section 5.1): PPO for fixed preferences.

    Args:
        setup: of the run.
        num_tasks: policies that learn side by side.
        num_updates: updates of each.
    """

    def __init__(self, setup: StageSetup, num_tasks: int, num_updates: int) -> None:
        self.config = setup.config
        target = weight_rule(setup.config.weighting, setup.reference_point)
        self.tasks = TaskPopulation(setup, num_tasks, initialization_solver(setup.config), target)
        self.num_updates = num_updates
        self.updates = 0

    def start(self, snapshots: Sequence[Snapshot], weights: FloatArray) -> None:
        """Begin with untrained policies.

        Args:
            snapshots: one for each task.
            weights: [policy, objective] their preferences.
        """
        self.tasks.start(snapshots, weights)

    @property
    def finished(self) -> bool:
        """Return whether all updates are done."""
        return self.updates == self.num_updates

    @property
    def snapshot_due(self) -> bool:
        """Return whether it is the last update, one of every `snapshot_updates`, or one of the first 1, 2, 4, 8, ...

        With the latter a run that stops soon has a front that is half as old as it is, at worst. With bounds there are
        snapshots in between, because these measure the policies.
        """
        is_power_of_two = self.updates & (self.updates - 1) == 0
        scheduled = self.finished or self.updates % self.config.snapshot_updates == 0 or is_power_of_two
        return scheduled or self.tasks.measurement_due

    def snapshots(self, first_id: int) -> list[Snapshot]:
        """Return the policies as they are, each with its preference; ids are consecutive from `first_id`."""
        return self.tasks.snapshots(first_id, self.tasks.weights)

    def update(self, final_observations: NDArray[np.float32], generator: torch.Generator) -> dict[str, float]:
        """Run one PPO update of all policies on the full rollout, with a learning rate that falls linearly to 0.

        Args:
            final_observations: [env, width] encoded, not normalized: after the last step of the rollout.
            generator: of the minibatches.

        Returns:
            Metrics, means over policies.
        """
        self.tasks.learning_rates[:] = self.config.learning_rate * (1.0 - self.updates / self.num_updates)
        rollout = self.tasks.evaluate_rollout(final_observations)
        metrics = self.tasks.improve(rollout, np.full_like(self.tasks.weights, -np.inf), generator)
        self.updates += 1
        return metrics

    def state_dict(self) -> dict[str, object]:
        """Return the tasks and the number of updates."""
        return {"updates": self.updates, "tasks": self.tasks.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for as many tasks."""
        self.updates = state["updates"]
        self.tasks.load_state_dict(state["tasks"])


class ExtensionStage:
    """Pareto extension (section 5.3): maximize one objective of selected policies, the others constrained.

    max_pi G_l  such that  G_j >= G_j^r - (1 - beta) |G_j^r|  for all j other than l, from the reference policy r.

    Args:
        setup: of the run.
        num_tasks: (reference policy, objective) pairs that learn side by side.
        num_updates: updates of each.
        solver: of the constrained problem.
    """

    def __init__(self, setup: StageSetup, num_tasks: int, num_updates: int, solver: ConstraintSolver) -> None:
        self.setup = setup
        self.solver = solver
        self.tasks = TaskPopulation(setup, num_tasks, solver, target=preference)
        self.num_updates = num_updates
        self.updates = 0  # for the current objective
        self.objective_index = 0  # of the objectives that a task maximizes in turn
        self.reference_returns: FloatArray = np.full((num_tasks, setup.sizes.objectives), np.nan)

    def start(self, references: Sequence[Snapshot], weights: FloatArray) -> None:
        """Begin with the reference policies.

        Args:
            references: the archived policy that each task extends.
            weights: [policy, objective] unit vectors of the objectives that are maximized.
        """
        tasks = self.tasks
        tasks.start(references, weights)
        returns = np.stack([reference.returns for reference in references])
        tasks.statistics = EpisodeStatistics(returns, tasks.envs_per_policy, self.setup.discount)
        tasks.bounds.measure(returns)
        tasks.bounds.multipliers = np.stack([reference.multipliers for reference in references])
        tasks.learning_rates = np.array([self.solver.extension_learning_rate(reference) for reference in references])

    @property
    def finished(self) -> bool:
        """Return whether all updates are done, for all objectives that a task maximizes in turn."""
        return self.objective_index == (len(self.setup.targets) if self.solver.objectives_in_turn else 1)

    @property
    def snapshot_due(self) -> bool:
        """Return whether it is the last update for an objective, or one of every `extension_snapshot_updates`."""
        return self.updates % self.setup.config.extension_snapshot_updates == 0  # 0 after the last for an objective

    def snapshots(self, first_id: int) -> list[Snapshot]:
        """Return the policies as they are, without preferences; ids are consecutive from `first_id`."""
        return self.tasks.snapshots(first_id, np.full_like(self.tasks.weights, np.nan))

    def update(self, final_observations: NDArray[np.float32], generator: torch.Generator) -> dict[str, float]:
        """Run one constrained policy update of all tasks on the full rollout.

        Args:
            final_observations: [env, width] encoded, not normalized: after the last step of the rollout.
            generator: of the minibatches.

        Returns:
            Metrics, means over tasks.
        """
        rollout = self.tasks.evaluate_rollout(final_observations)
        if np.isnan(self.reference_returns).all():
            self.reference_returns = self._pooled_returns()
        metrics = self.tasks.improve(rollout, self._thresholds(), generator)
        self.updates += 1
        if self.updates == self.num_updates:
            self._next_objective()
        return metrics

    def _pooled_returns(self) -> FloatArray:
        """Return the returns of the reference policies [policy, objective], from the rollout that they collected.

        Tasks with the same reference share their episodes. Archive values are of the deterministic policies instead.
        """
        shared = self.tasks.origins[:, None] == self.tasks.origins
        returns: FloatArray = shared @ self.tasks.statistics.returns / shared.sum(axis=1, keepdims=True)
        return returns

    def _thresholds(self) -> FloatArray:
        """Return the thresholds [policy, objective]: shares of the reference returns; -inf for target and bounds."""
        if not self.solver.keeps_reference_returns:
            return np.full_like(self.tasks.weights, -np.inf)
        kept = reference_thresholds(self.reference_returns, self.setup.config.beta)
        return np.where((self.tasks.weights > 0) | self.setup.bounds.constrained, -np.inf, kept)

    def _next_objective(self) -> None:
        self.updates = 0
        self.objective_index += 1
        if not self.finished:
            self.tasks.weights = np.broadcast_to(
                self.setup.targets[self.objective_index], self.tasks.weights.shape
            ).copy()

    def state_dict(self) -> dict[str, object]:
        """Return the tasks and the progress."""
        return {
            "updates": self.updates,
            "objective_index": self.objective_index,
            "reference_returns": self.reference_returns,
            "tasks": self.tasks.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for as many tasks."""
        self.updates = state["updates"]
        self.objective_index = state["objective_index"]
        self.reference_returns = state["reference_returns"]
        self.tasks.load_state_dict(state["tasks"])


Stage: TypeAlias = InitializationStage | ExtensionStage
"""What `CMORL.learn` runs."""
