"""MO-TSIVR-PG: variance-reduced policy gradient for multi-objective reinforcement learning (Guidobene et al. 2025).

max_theta f(J_1(theta), ..., J_M(theta)): f is a concave utility of the *expected* returns (SER). Its gradient is that
of the weighted sum of returns with the weights grad f(J), so that an estimate needs both J and, for these weights, the
policy gradient. The algorithm in five lines:
  1. An epoch begins with a large batch of N episodes: J_0, the weights w_0 = grad f(J_0), the policy gradient g_0.
  2. Every further step takes a small batch of B episodes of the policy theta_j, which also tells of the policy before:
     weighted by omega_t = prod_{s<=t} pi_{theta_{j-1}}(a_s | s_s) / pi_{theta_j}(a_s | s_s) they have its distribution.
  3. J_j = J_{j-1} + mean[J(tau) - J_omega(tau)]: the estimates differ in what the step changed, with little variance.
  4. g_j = g_{j-1} + mean[g(tau; theta_j, w_{j-1}) - g_omega(tau; theta_{j-1}, w_{j-2})].
  5. Steps are truncated, |theta_{j+1} - theta_j| <= delta, which keeps the importance weights bounded.

MO-PG, the baseline, takes an independent batch for the weights and one for the gradient in every step.

Where this file departs from the authors' code, and why (docs/agents/mo_tsivr_pg.md):
  - It follows the paper: there the importance ratio is upside down, and the correction is computed by the wrong network
    and added.
  - A population learns side by side, one policy for each preference; with one policy it is the original.
  - Every episode that starts is finished and counts, and every environment step is counted.
  - A baseline is subtracted from rewards to go, and observations are normalized; the preset "paper" does neither.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from morl.acting import PolicyBank
from morl.action_masks import MaskReader, num_choices
from morl.agents.mo_tsivr_pg.config import Config
from morl.agents.mo_tsivr_pg.estimators import (
    discounts,
    importance_weights,
    mean_returns,
    policy_gradient,
    remaining_returns,
    truncate,
    without_own,
)
from morl.agents.mo_tsivr_pg.objective import find_objective, return_deviations
from morl.learning.actions import action_map
from morl.learning.encoders import Architecture
from morl.learning.episodes import EpisodeBatch, Trajectories
from morl.learning.observations import observation_encoder
from morl.learning.optimizers import Adam
from morl.learning.ppo import actor_critic
from morl.learning.processor import restore_generator
from morl.learning.staging import Staging
from morl.policy_files import PolicyData, PolicySpec
from morl.preferences import riesz
from morl.protocols import (
    Actions,
    BoolArray,
    Evaluate,
    FloatArray,
    IndexArray,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)
from morl.seeding import derived_seed

METRIC_DESCRIPTIONS: Mapping[str, str] = {
    "utility": "Mean utility of the estimated expected returns of the policies that explore.",
    "gradient_norm": "Mean length of the estimated gradients.",
    "step_norm": "Mean length of the latest steps, after truncation.",
    "largest_importance_weight": "Largest importance weight of the latest batch; 1 in large ones.",
    "epoch_step": "Steps taken since the latest large batch.",
}
"""Name of a metric -> a sentence."""


class MOTSIVRPG:
    """MO-TSIVR-PG and MO-PG for a population; satisfies `morl.protocols.Agent` and `UsesActionMasks`.

    Args:
        problem: the environment.
        config: settings.
        seed: of all random streams.
        num_envs: number of environments that `learn` is given.
        device: where networks live.

    Raises:
        ValueError: settings do not fit the environment.
    """

    config_class = Config
    metric_descriptions = METRIC_DESCRIPTIONS

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        self.config = config
        self.seed = seed
        self.num_envs = num_envs
        self.device = device
        self.utility_name = config.utility
        self.uses_action_masks = isinstance(problem.action_space, spaces.Discrete)
        self.mask_reader = MaskReader(problem.id, problem.action_space, problem.action_masks)
        self.masked = bool(problem.action_masks and num_choices(problem.action_space))
        self.discount = problem.discount if config.discount is None else config.discount
        self.objective = find_objective(config, problem)
        observations = observation_encoder(problem.observation_space, config.one_hot, image_size=0)
        self.encode = observations.encode
        self.to_environment = action_map(problem.action_space)
        self.network = actor_critic(
            width=observations.width,
            action_space=problem.action_space,
            objectives=1,  # there is no critic: only the actors' parameters are kept
            architecture=Architecture(hidden_sizes=config.hidden_sizes, activation=config.activation),
            initial_std=config.initial_std,
        )
        generator = torch.Generator().manual_seed(derived_seed(seed, "networks"))
        actors, _ = self.network.split(self.network.initialize(config.population, generator))
        self.parameters = actors.clone().to(device)  # [policy, n] theta_j
        self.old_parameters = self.parameters.clone()  # theta_{j-1}
        self.optimizer = Adam(self.parameters)
        self.gradient = torch.zeros_like(self.parameters)  # [policy, n] g_j
        self.preferences = self._preferences(problem.num_objectives)
        shape = self.preferences.shape
        self.returns: FloatArray = np.zeros(shape)  # [policy, objective] the estimate of J
        self.deviations: FloatArray = np.ones(shape)  # [policy, objective] of the returns of episodes
        self.weights: FloatArray = np.zeros(shape)  # [policy, objective] w_{j-1}
        self.old_weights: FloatArray = np.zeros(shape)  # w_{j-2}
        self.values = torch.zeros(config.population, 0, shape[1], device=device)
        """[policy, step, objective] what the latest large batch earned from each step on, the baseline."""
        self.mean: FloatArray | None = None  # [width] of the observations; None: they are not normalized yet
        self.scale: FloatArray | None = None  # [width] 1 / deviation
        self.staging = Staging(device)
        self.random = torch.Generator(device).manual_seed(derived_seed(seed, "actions"))
        self.bank = PolicyBank(self._spec(problem), device)
        self._publish()
        self.steps = 0
        self.pretraining_steps = 0
        self.updates = 0
        self.epoch_step = 0  # j; of MO-PG: 0 before the batch for the weights, 1 before that for the gradient
        self.batch = self._next_batch()
        self.observations: NDArray[np.float32] | None = None  # [env, width]; None: reset before the next step
        self.masks: BoolArray | None = None
        self.diagnostics: dict[str, float] = {}

    def _preferences(self, num_objectives: int) -> FloatArray:
        """Return the preferences [policy, objective]."""
        if self.config.population == 1:
            return np.full((1, num_objectives), 1.0 / num_objectives)
        return riesz(num_objectives, self.config.population, self.seed)

    def _spec(self, problem: Problem) -> PolicySpec:
        return PolicySpec(
            agent="mo-tsivr-pg",
            head="gaussian" if self.network.log_stds else "categorical",
            hidden_sizes=self.config.hidden_sizes,
            activation=self.config.activation,
            observation_space=problem.observation_space,
            action_space=problem.action_space,
            objectives=problem.objectives,
            one_hot=self.config.one_hot,
            action_masks=problem.action_masks,
        )

    # --- The algorithm ------------------------------------------------------------------------------------------------

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:  # noqa: ARG002
        """Run MO-TSIVR-PG or MO-PG; one iteration is one step of every environment, and a gradient step after a batch.

        Args:
            envs: `num_envs` environments.
            total_steps: environment steps of training, those taken before included.
            evaluate: not used.
        """
        while self.steps < total_steps:
            self._collect_step(envs)
            if self.batch.complete:
                trajectories = self.batch.trajectories(self.staging)
                if self.config.normalize and self.scale is None:
                    self._measure_observations(trajectories)
                elif self.config.method == "mo-pg":
                    self._mo_pg(trajectories)
                elif self.epoch_step == 0:
                    self._begin_epoch(trajectories)
                else:
                    self._inner_step(trajectories)
                self.batch = self._next_batch()
                self.observations = None  # policies have changed: all environments begin new episodes
            yield

    def _next_batch(self) -> EpisodeBatch:
        large = self.epoch_step == 0 or self.config.method == "mo-pg"
        count = self.config.initial_episodes if large else self.config.episodes
        return EpisodeBatch(self.config.population, count, self.num_envs)

    def _begin_epoch(self, trajectories: Trajectories) -> None:
        """Estimate J_0, w_0 = grad f(J_0) and g_0 from a large batch, and take the first step of the epoch.

        Args:
            trajectories: N episodes of each policy.
        """
        self._estimate_returns(trajectories)
        self.weights = self._utility_gradient()
        self.old_weights = self.weights
        own = without_own(remaining_returns(trajectories.rewards, discounts(trajectories.rewards, self.discount)))
        self.gradient = self._gradient(trajectories, self.parameters, self.weights, own)
        self.diagnostics["largest_importance_weight"] = 1.0
        self._step()
        self.epoch_step = 1 % self.config.inner_steps

    def _inner_step(self, trajectories: Trajectories) -> None:
        """Correct J, then g, by what the latest step changed; both differences are of the same trajectories.

        Args:
            trajectories: B episodes of each policy theta_j.
        """
        with torch.no_grad():
            new = self._log_probabilities(trajectories, self.parameters)
            old = self._log_probabilities(trajectories, self.old_parameters)
        omega = importance_weights(old, new)
        factors = discounts(trajectories.rewards, self.discount)
        changes = mean_returns(trajectories.rewards, factors) - mean_returns(trajectories.rewards, factors * omega)
        self.returns = self.returns + changes.double().cpu().numpy()
        values = self._baseline(trajectories)
        gradient = self._gradient(trajectories, self.parameters, self.weights, values)
        old_gradient = self._gradient(trajectories, self.old_parameters, self.old_weights, values, omega)
        self.gradient = self.gradient + (gradient - old_gradient)
        self.old_weights = self.weights
        self.weights = self._utility_gradient()
        self.diagnostics["largest_importance_weight"] = float((omega * trajectories.valid).max())
        self._step()
        self.epoch_step = (self.epoch_step + 1) % self.config.inner_steps

    def _mo_pg(self, trajectories: Trajectories) -> None:
        """Estimate J and the weights from the first of two batches, the gradient from the second, and take a step.

        Args:
            trajectories: N episodes of each policy.
        """
        if self.epoch_step == 0:
            self._estimate_returns(trajectories)
            self.weights = self._utility_gradient()
            self.epoch_step = 1
        else:
            values = self._baseline(trajectories)
            self.gradient = self._gradient(trajectories, self.parameters, self.weights, values)
            self._step()
            self.epoch_step = 0

    # --- Its estimates ------------------------------------------------------------------------------------------------

    def _measure_observations(self, trajectories: Trajectories) -> None:
        """Normalize observations by those of a batch from now on: importance weights need policies that stay the same.

        Args:
            trajectories: of the untrained policies.
        """
        seen = trajectories.observations[trajectories.valid > 0].double().cpu().numpy()
        deviations = seen.std(axis=0)
        self.mean = seen.mean(axis=0)
        self.scale = 1.0 / np.where(deviations > 1e-3, deviations, 1.0)
        self._publish()

    def _estimate_returns(self, trajectories: Trajectories) -> None:
        """Estimate J and the baseline from a large batch."""
        factors = discounts(trajectories.rewards, self.discount)
        self.values = remaining_returns(trajectories.rewards, factors).mean(dim=1)
        self.returns = mean_returns(trajectories.rewards, factors).double().cpu().numpy()
        rewards = trajectories.rewards.double().cpu().numpy()
        self.deviations = return_deviations(rewards, factors.double().cpu().numpy())

    def _utility_gradient(self) -> FloatArray:
        """Return grad f(J) [policy, objective] at the estimate of J."""
        return self.objective.gradient(self.returns, self.preferences, self.deviations)

    def _baseline(self, trajectories: Trajectories) -> Tensor:
        """Return what the latest large batch earned from each step on [policy, 1, step, objective].

        Args:
            trajectories: for their length; behind the end of the large batch's episodes nothing is expected.
        """
        steps = trajectories.rewards.shape[2]
        missing = max(steps - self.values.shape[1], 0)
        return pad(self.values, (0, 0, 0, missing))[:, :steps].unsqueeze(1)

    def _gradient(
        self,
        trajectories: Trajectories,
        parameters: Tensor,
        weights: FloatArray,
        values: Tensor,
        omega: Tensor | None = None,
    ) -> Tensor:
        """Return the policy gradient [policy, n] of sum_k w_k J_k.

        Args:
            trajectories: of `parameters`, or of other policies with the importance weights `omega`.
            parameters: [policy, n] theta at which it is taken.
            weights: [policy, objective] w.
            values: [policy, episode or 1, step, objective] of the baseline.
            omega: [policy, episode, step]; None: the trajectories are those of `parameters`.
        """
        leaf = parameters.detach().clone().requires_grad_()
        w = trajectories.rewards.new_tensor(weights)[:, None, None]
        utilities = discounts(trajectories.rewards, self.discount) * (trajectories.rewards * w).sum(dim=3)
        baselines = (values * w).sum(dim=3)
        if omega is not None:
            utilities = utilities * omega
            baselines = baselines * omega
        log_probabilities = self._log_probabilities(trajectories, leaf)
        used = baselines if self.config.baseline == "time" else None
        return policy_gradient(leaf, log_probabilities, utilities, used)

    def _log_probabilities(self, trajectories: Trajectories, parameters: Tensor) -> Tensor:
        """Return log pi(a | s) [policy, episode, step], 0 behind the end of an episode."""
        masks = None if trajectories.masks is None else trajectories.masks.flatten(1, 2)
        policy = self.network.distribution(parameters, trajectories.observations.flatten(1, 2), masks)
        found = policy.log_probability(trajectories.actions.flatten(1, 2))
        return torch.where(trajectories.valid > 0, found.view(trajectories.valid.shape), 0.0)

    def _step(self) -> None:
        """Move the policies along the estimated gradient; of MO-TSIVR-PG by at most delta."""
        before = self.parameters.clone()
        if self.config.optimizer == "adam":
            self.optimizer.step(-self.gradient, self.config.learning_rate)
        else:
            self.parameters += self.config.learning_rate * self.gradient
        step = self.parameters - before
        if self.config.method == "mo-tsivr-pg":
            step = truncate(step, self.config.largest_step)
            self.parameters.copy_(before + step)
        self.old_parameters = before
        self.updates += 1
        value = self.objective.value(torch.as_tensor(self.returns), torch.as_tensor(self.preferences))
        self.diagnostics["utility"] = float(value.mean())
        self.diagnostics["gradient_norm"] = float(self.gradient.norm(dim=1).mean())
        self.diagnostics["step_norm"] = float(step.norm(dim=1).mean())
        self._publish()

    # --- Collecting and acting ----------------------------------------------------------------------------------------

    def _collect_step(self, envs: VectorEnvironment) -> None:
        """Step every environment once with the policy that it plays for."""
        if self.observations is None:
            observations, infos = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
            self.masks = self.mask_reader.reset(infos)
            self.observations = self._inputs(observations)
        arrays: dict[str, NDArray[Any]] = {"observations": self.observations[:, None], "acting": self.batch.acting}
        if self.masks is not None:
            arrays["allowed"] = self.masks[:, None]
        sent = self.staging.send(arrays)
        with torch.no_grad():
            parameters = self.parameters[sent["acting"]]
            policy = self.network.distribution(parameters, sent["observations"], sent.get("allowed"))
            chosen: NDArray[np.float32] = policy.sample(self.random).squeeze(1).cpu().numpy()
        observations, rewards, terminated, truncated, infos = envs.step(self.to_environment(chosen))
        columns = {"observation": self.observations, "action": chosen, "reward": rewards}
        if self.masks is not None:
            columns["mask"] = self.masks
        self.batch.add(terminated | truncated, **columns)
        self.masks = self.mask_reader.current(infos)
        self.observations = self._inputs(observations)
        self.steps += self.num_envs

    def _inputs(self, observations: Observations) -> NDArray[np.float32]:
        """Return what policies see of a batch of observations [env, width]."""
        encoded = self.encode(observations)
        if self.mean is None or self.scale is None:
            return encoded
        return np.clip((encoded - self.mean) * self.scale, -10.0, 10.0).astype(np.float32)

    def _publish(self) -> None:
        """Let the policies act as they are."""
        for policy_id, data in enumerate(self._policies()):
            self.bank.add(policy_id, data)

    def _policies(self) -> list[PolicyData]:
        rows = self.parameters.clone()
        spec = self.bank.spec
        return [
            PolicyData(spec=spec, parameters=row, mean=self.mean, scale=self.scale, preference=preference.copy())
            for row, preference in zip(rows, self.preferences, strict=True)
        ]

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,
        masks: BoolArray | None = None,
    ) -> Actions:
        """Return the most likely actions [env, ...].

        Args:
            observations: a batch of the environment's observation space.
            preferences: [env, objective]; not read, policies are not conditioned.
            policies: [env] the id of the policy of each row.
            masks: [env, choice] allowed choices; required where the environment gives masks.
        """
        return self.bank.act(observations, preferences, policies, masks=masks)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:  # noqa: ARG002
        """Return the population: ids [n] and the preferences [n, objective] that the policies learn for.

        Args:
            preferences: not read.
        """
        return np.arange(len(self.preferences)), self.preferences.copy()

    def all_parameters(self) -> list[Tensor]:
        """Return the parameters [policy, n] of the actors; there are no critics."""
        return [self.parameters]

    def export_policies(self) -> dict[int, PolicyData]:
        """Return copies of the policies by id."""
        return dict(enumerate(self._policies()))

    def metrics(self) -> dict[str, float]:
        """Return training metrics; `metric_descriptions` explains each."""
        return {"epoch_step": float(self.epoch_step), **self.diagnostics}

    # --- Saving -------------------------------------------------------------------------------------------------------

    _ARRAYS = ("returns", "deviations", "weights", "old_weights", "observations", "masks", "mean", "scale")
    _STATE = (*_ARRAYS, "steps", "pretraining_steps", "updates", "epoch_step", "diagnostics")

    def state_dict(self) -> dict[str, object]:
        """Return everything that exact resuming needs, as plain data."""
        return {name: getattr(self, name) for name in self._STATE} | {
            "parameters": self.parameters,
            "old_parameters": self.old_parameters,
            "gradient": self.gradient,
            "values": self.values,
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "batch": self.batch.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same problem, settings and number of environments."""
        for name in self._STATE:
            setattr(self, name, state[name])
        for name in ("parameters", "old_parameters", "gradient"):
            getattr(self, name).copy_(state[name])
        self.values = state["values"].to(self.device)
        self.optimizer.load_state_dict(state["optimizer"])
        restore_generator(self.random, state["random"])
        self.batch.load_state_dict(state["batch"])
        self._publish()

    def reset_episodes(self) -> None:
        """Begin the batch again at the next step: called where the environment's state could not be saved."""
        self.batch = self._next_batch()
        self.observations = None
