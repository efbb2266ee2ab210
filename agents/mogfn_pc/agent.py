"""MOGFN-PC: samples objects in proportion to a reward, for every preference (Jain et al., ICML 2023, arXiv 2210.12765).

A generative flow network builds an object x by actions, stops, and is paid once. It does not maximize the reward but
samples x in proportion to it, so that its samples cover everything near the front, dents included. In five lines:
  1. The reward of x under a preference w and an exponent beta is R(x | w, beta) = (sum_k w_k r_k(x))^beta.
  2. The policy P_F(a | s, w, beta) and log Z(w, beta) see w and beta in thermometer code, drawn anew for each episode.
  3. P_B takes each parent of a state with equal chance, which needs to know how many parents each state has.
  4. Trajectory balance: (log Z + sum log P_F - log R - sum log P_B)^2 is 0 on all trajectories of a perfect sampler.
  5. Actions of training are samples of the policy, 1 % of them random.

With loss = "order-preserving" (Chen and Mauch, ICLR 2024, arXiv 2310.00386) there are neither preferences nor rewards:
what balances a trajectory *is* the reward of its object, and the non-dominated objects of each batch are raised.

It works on deterministic environments whose episodes end by a stop action, never visit a state twice and pay nothing
below the reference point, with as many parents as `parents` says: grids, trees, or what your own function describes.

Where this file departs from the paper, and why (docs/agents/mogfn_pc.md):
  - Evaluation takes the most likely actions, as for all agents here: a front of one point for each preference. What
    the sampler covers, benchmarks/mogfn_pc.py measures, and `policy.predict(..., deterministic=False)` samples.
  - R is divided by that of the ideal point, the best return so far of each objective, which only divides Z, and log R
    is clipped from below: exponents of some hundreds can be learned, under which the most likely actions are the best.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from morl.acting import PolicyBank
from morl.action_masks import MaskReader, random_choices
from morl.agents.mogfn_pc.config import Config
from morl.agents.mogfn_pc.losses import (
    Conditions,
    log_reward,
    order_preserving,
    trajectory_balance,
    uniform_log_backward,
)
from morl.agents.mogfn_pc.states import check_grid_step, count_parents, find_parents
from morl.learning.distributions import Categorical
from morl.learning.episodes import EpisodeBatch, Trajectories
from morl.learning.observations import observation_encoder
from morl.learning.optimizers import Adam, clip_norms
from morl.learning.processor import restore_generator
from morl.learning.staging import Staging
from morl.learning.thermometer import ThermometerNetwork, thermometer_network
from morl.learning.types import Thermometer
from morl.pareto import non_dominated
from morl.policy_files import PolicyData, PolicySpec
from morl.preferences import dirichlet
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
from morl.seeding import derived_seed, stream

METRIC_DESCRIPTIONS: Mapping[str, str] = {
    "loss": "Mean loss of the latest batch: squared imbalance of trajectories, or cross-entropy of the order.",
    "log_z": "Mean log Z of the conditions of the latest batch, for rewards as shares of that of the ideal point.",
    "log_reward": "Mean log R of the objects of the latest batch, below that of the ideal point.",
    "episode_steps": "Mean steps of the trajectories of the latest batch.",
    "non_dominated_share": "Share of the latest batch that is not dominated in it.",
}
"""Name of a metric -> a sentence."""


class Outcome(NamedTuple):
    """What the losses compare of a batch of trajectories."""

    log_forward: Tensor
    """[episode] sum of log P_F; with a gradient."""
    log_backward: Tensor
    """[episode] sum of log P_B."""
    returns: Tensor
    """[episode, objective] discounted returns above the reference point."""


class MOGFNPC:
    """MOGFN-PC and OP-GFN on a batch of environments; satisfies `morl.protocols.Agent` and `UsesActionMasks`.

    Args:
        problem: the environment.
        config: settings.
        seed: of all random streams.
        num_envs: number of environments that `learn` is given.
        device: where networks live.

    Raises:
        ValueError: the actions are not discrete, or `parents` does not fit the environment.
    """

    config_class = Config
    metric_descriptions = METRIC_DESCRIPTIONS
    uses_action_masks = True
    backend = "eager"

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        if not isinstance(problem.action_space, spaces.Discrete):
            raise ValueError(f"action_space of {problem.id} is {problem.action_space}, but must be Discrete")
        self.config = config
        self.seed = seed
        self.num_envs = num_envs
        self.device = device
        self.num_objectives = problem.num_objectives
        self.num_actions = int(problem.action_space.n)
        self.first_action = int(problem.action_space.start)
        self.discount = problem.discount
        self.reference: FloatArray = np.array(problem.reference_point or np.zeros(self.num_objectives))
        self.ideal = torch.zeros(self.num_objectives, device=device)
        """[objective] largest return so far, above the reference point."""
        self.parents = find_parents(config.parents, problem)
        self.utility_name = "linear" if config.scalarization == "weighted-sum" else "nash"
        self.mask_reader = MaskReader(problem.id, problem.action_space, problem.action_masks)
        encoder = observation_encoder(problem.observation_space, config.one_hot, image_size=0)
        self.encode = encoder.encode
        self.policy_network = _network(config, encoder.width, self.num_objectives, self.num_actions)
        self.z_network = _network(config, 0, self.num_objectives, 1)
        generator = torch.Generator().manual_seed(derived_seed(seed, "networks"))
        self.parameters = self.policy_network.initialize(1, generator).to(device)  # [1, n] of P_F
        self.z_parameters = self.z_network.initialize(1, generator).to(device)  # [1, n] of log Z
        self.optimizer = Adam(self.parameters)
        self.z_optimizer = Adam(self.z_parameters)
        self.staging = Staging(device)
        self.random = stream(seed, "conditions")
        self.sampling = torch.Generator(device).manual_seed(derived_seed(seed, "actions"))
        self.bank = PolicyBank(_policy_spec(problem, config), device)
        self.steps = 0
        self.pretraining_steps = 0
        self.updates = 0
        self.observations: NDArray[np.float32] | None = None  # [env, width] encoded; None: reset before the next step
        self.parent_counts: FloatArray = np.zeros(num_envs)  # [env] number of parents of the states
        self.cells: IndexArray | None = None  # [env, axis] of a grid
        self.masks: BoolArray | None = None
        self.diagnostics: dict[str, float] = {}
        self._begin_batch()
        self._publish()

    # --- The algorithm ------------------------------------------------------------------------------------------------

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:  # noqa: ARG002
        """Run MOGFN-PC; one iteration is one step of every environment, and an update after a batch of episodes.

        Args:
            envs: `num_envs` environments.
            total_steps: environment steps of training, those taken before included.
            evaluate: not called.

        Raises:
            ValueError: the environment does not move as `parents` says.
        """
        while self.steps < total_steps:
            self._collect_step(envs)
            if self.batch.complete:
                self._update(self.batch.trajectories(self.staging))
                self._begin_batch()
            yield

    def _begin_batch(self) -> None:
        """Draw a preference and an exponent for each episode of a new batch; all environments begin new episodes."""
        self.batch = EpisodeBatch(1, self.config.batch_size, self.num_envs)
        self.conditions = self._draw_conditions(self.config.batch_size)
        self.observations = None

    def _draw_conditions(self, count: int) -> NDArray[np.float32]:
        """Return conditions [count, objective + 1]: a preference, then an exponent as a share of the largest."""
        config = self.config
        if config.loss == "order-preserving":
            return np.zeros((count, self.num_objectives + 1), dtype=np.float32)
        preferences = dirichlet(self.num_objectives, count, self.random, config.concentration)
        low, high = config.exponent[0], config.exponent[-1]
        match config.exponent_source:
            case "constant":
                exponents = np.full(count, low)
            case "gamma":
                exponents = self.random.gamma(low, high, count)
            case "uniform":
                exponents = self.random.uniform(low, high, count)
            case "log-uniform":
                exponents = np.exp(self.random.uniform(np.log(low), np.log(high), count))
        return np.column_stack([preferences, exponents / config.largest_exponent]).astype(np.float32)

    def _update(self, trajectories: Trajectories) -> None:
        """Take a gradient step on the loss of a batch of trajectories.

        Args:
            trajectories: [1, episode, step, ...].
        """
        leaf = self.parameters.clone().requires_grad_()
        z_leaf = self.z_parameters.clone().requires_grad_()
        conditions = torch.as_tensor(self.conditions, device=self.device)
        outcome = self._outcome(trajectories, leaf, conditions)
        best = torch.as_tensor(non_dominated(outcome.returns.cpu().numpy(), keep_duplicates=True))
        if self.config.loss == "order-preserving":
            loss = order_preserving(outcome.log_forward, outcome.log_backward, best.to(self.device))
            self._descend(self.optimizer, torch.autograd.grad(loss, leaf)[0], self.config.learning_rate)
        else:
            log_z = self.z_network(z_leaf, conditions[None]).flatten()
            rewards = self._log_rewards(outcome.returns, conditions)
            losses = trajectory_balance(log_z, outcome.log_forward, outcome.log_backward, rewards)
            loss = losses.mean()
            gradient, z_gradient = torch.autograd.grad(loss, (leaf, z_leaf))
            self._descend(self.optimizer, gradient, self.config.learning_rate)
            self._descend(self.z_optimizer, z_gradient, self.config.learning_rate_z)
            self.diagnostics["log_z"] = float(log_z.detach().mean())
            self.diagnostics["log_reward"] = float(rewards.mean())
        self.updates += 1
        self.diagnostics["loss"] = float(loss.detach())
        self.diagnostics["episode_steps"] = float(trajectories.valid.sum(dim=2).mean())
        self.diagnostics["non_dominated_share"] = float(best.double().mean())
        self._publish()

    def _outcome(self, trajectories: Trajectories, parameters: Tensor, conditions: Tensor) -> Outcome:
        """Return what the losses compare.

        Args:
            trajectories: [1, episode, step, ...].
            parameters: [1, n] of P_F.
            conditions: [episode, objective + 1].
        """
        observations = trajectories.observations
        steps = observations.shape[2]
        inputs = torch.cat(
            [observations, conditions.view(1, -1, 1, conditions.shape[1]).expand(-1, -1, steps, -1)], dim=3
        )
        masks = None if trajectories.masks is None else trajectories.masks.flatten(1, 2)
        policy = Categorical.masked(self.policy_network(parameters, inputs.flatten(1, 2)), masks)
        valid = trajectories.valid[0]
        taken = policy.log_probability(trajectories.actions.flatten(1, 2)).view(valid.shape)
        factors = self.discount ** torch.arange(steps, device=self.device, dtype=torch.float32)
        returns = (factors[:, None] * trajectories.rewards[0]).sum(dim=1)
        return Outcome(
            log_forward=torch.where(valid > 0, taken, 0.0).sum(dim=1),
            log_backward=uniform_log_backward(trajectories.others["parents"][0, ..., 0], valid),
            returns=returns - returns.new_tensor(self.reference),
        )

    def _log_rewards(self, returns: Tensor, conditions: Tensor) -> Tensor:
        """Return log R(x | w, beta) [episode] below that of the ideal point, which moves first.

        Args:
            returns: [episode, objective] above the reference point.
            conditions: [episode, objective + 1].
        """
        config = self.config
        self.ideal = torch.maximum(self.ideal, returns.amax(dim=0))
        given = Conditions(conditions[:, :-1], conditions[:, -1] * config.largest_exponent)
        return log_reward(given, returns, self.ideal, config.scalarization, config.log_reward_range)

    def _descend(self, optimizer: Adam, gradient: Tensor, learning_rate: float) -> None:
        """Take a step of Adam along a gradient [1, n], clipped, after weight decay."""
        config = self.config
        if config.weight_decay:
            gradient = gradient + config.weight_decay * optimizer.parameters
        if config.max_grad_norm is not None:
            gradient = clip_norms(gradient, config.max_grad_norm)
        half_life = config.learning_rate_half_life
        decay = 1.0 if half_life is None else 1.0 / (1.0 + self.updates / half_life)
        optimizer.step(gradient, learning_rate * decay)

    # --- Collecting and acting ----------------------------------------------------------------------------------------

    def _collect_step(self, envs: VectorEnvironment) -> None:
        """Step every environment once with a sample of the policy under the condition of its episode."""
        if self.observations is None:
            observations, infos = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
            self.masks = self.mask_reader.reset(infos)
            self._observe(observations)
        assert self.observations is not None
        actions = self._sample(self.observations)
        columns: dict[str, NDArray[np.generic]] = {
            "observation": self.observations,
            "action": actions[:, None],
            "parents": self.parent_counts[:, None],
        }
        if self.masks is not None:
            columns["mask"] = self.masks
        observations, rewards, terminated, truncated, infos = envs.step(actions + self.first_action)
        ended = terminated | truncated
        self.batch.add(ended, reward=rewards, **columns)
        before = self.cells
        self.masks = self.mask_reader.current(infos)
        self._observe(observations)
        if (self.parent_counts[~ended] < 1).any():
            raise ValueError(f"parents is {self.config.parents!r}, but counts no parent of a state that a step led to")
        if before is not None and self.cells is not None:
            check_grid_step(before, actions, self.cells, rewards, ended)
        self.steps += self.num_envs

    def _observe(self, observations: Observations) -> None:
        """Keep what is needed of the observations [env, ...] of the states that environments are in."""
        self.observations = self.encode(observations)
        self.parent_counts = count_parents(self.parents, self.config.parents, observations, self.num_envs)
        if self.config.parents == "grid":
            self.cells = np.asarray(observations, dtype=np.int64)

    @torch.no_grad()
    def _sample(self, encoded: NDArray[np.float32]) -> IndexArray:
        """Return actions [env], counted from 0: samples of P_F, a share of them random.

        Args:
            encoded: [env, width] observations.
        """
        conditions = self.conditions[np.maximum(self.batch.episodes, 0)]
        arrays: dict[str, NDArray[Any]] = {"inputs": np.concatenate([encoded, conditions], axis=1)[None]}
        if self.masks is not None:
            arrays["allowed"] = self.masks[None]
        sent = self.staging.send(arrays)
        policy = Categorical.masked(self.policy_network(self.parameters, sent["inputs"]), sent.get("allowed"))
        chosen = policy.sample(self.sampling)[0, :, 0].long().cpu().numpy()
        any_action = random_choices(self.random.random(self.num_envs), self.num_actions, self.masks)
        return np.where(self.random.random(self.num_envs) < self.config.random_share, any_action, chosen)

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,
        masks: BoolArray | None = None,
    ) -> Actions:
        """Return the most likely actions [env], among the allowed ones.

        Args:
            observations: a batch of the environment's observation space.
            preferences: [env, objective] w; not read with the order-preserving loss.
            policies: [env] 0 everywhere: there is one policy.
            masks: [env, choice] allowed choices; required where the environment gives masks.
        """
        return self.bank.act(observations, preferences, policies, masks=masks)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return policy 0 for every preference; with the order-preserving loss once, as it has no preference.

        Args:
            preferences: [n, objective] the evaluation grid.
        """
        if self.config.loss == "order-preserving":
            return np.zeros(1, dtype=np.int64), np.full((1, self.num_objectives), np.nan)
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def all_parameters(self) -> list[Tensor]:
        """Return the parameters of P_F [1, n] and of log Z [1, n]."""
        return [self.parameters, self.z_parameters]

    def export_policies(self) -> dict[int, PolicyData]:
        """Return a copy of the policy, which acts with the exponent `acting_exponent`."""
        config = self.config
        if config.loss == "order-preserving":
            constants = np.zeros(self.num_objectives + 1)
        else:
            constants = np.array([config.acting_exponent / config.largest_exponent])
        tensor = torch.as_tensor(constants, dtype=torch.float32, device=self.device)
        parameters = self.policy_network.with_constants(self.parameters, tensor)[0]
        no_preference = np.full(self.num_objectives, np.nan)
        return {0: PolicyData(spec=self.bank.spec, parameters=parameters, preference=no_preference)}

    def _publish(self) -> None:
        """Let the policy act as it is."""
        self.bank.add(0, self.export_policies()[0])

    def metrics(self) -> dict[str, float]:
        """Return training metrics; `metric_descriptions` explains each."""
        return dict(self.diagnostics)

    # --- Saving -------------------------------------------------------------------------------------------------------

    _ARRAYS = ("conditions", "observations", "parent_counts", "cells", "masks")
    _STATE = (*_ARRAYS, "steps", "pretraining_steps", "updates", "diagnostics")

    def state_dict(self) -> dict[str, object]:
        """Return everything that exact resuming needs, as plain data."""
        return {name: getattr(self, name) for name in self._STATE} | {
            "parameters": self.parameters,
            "z_parameters": self.z_parameters,
            "ideal": self.ideal,
            "optimizer": self.optimizer.state_dict(),
            "z_optimizer": self.z_optimizer.state_dict(),
            "random": self.random.bit_generator.state,
            "sampling": self.sampling.get_state(),
            "batch": self.batch.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same problem, settings and number of environments."""
        for name in self._STATE:
            setattr(self, name, state[name])
        self.parameters.copy_(state["parameters"])
        self.z_parameters.copy_(state["z_parameters"])
        self.ideal = state["ideal"].to(self.device)
        self.optimizer.load_state_dict(state["optimizer"])
        self.z_optimizer.load_state_dict(state["z_optimizer"])
        self.random.bit_generator.state = state["random"]
        restore_generator(self.sampling, state["sampling"])
        self.batch.load_state_dict(state["batch"])
        self._publish()

    def reset_episodes(self) -> None:
        """Begin the batch again at the next step: called where the environment's state could not be saved."""
        self._begin_batch()


# --- Construction -----------------------------------------------------------------------------------------------------


def _network(config: Config, width: int, num_objectives: int, outputs: int) -> ThermometerNetwork:
    """Return the network of the policy, or of log Z.

    Args:
        config: settings.
        width: columns of the observation; 0 for log Z, which sees the condition only.
        num_objectives: length of a preference.
        outputs: columns of the outputs.
    """
    hidden_sizes = config.hidden_sizes if width else config.hidden_sizes_z
    widths = (width + num_objectives + 1, *hidden_sizes, outputs)
    return thermometer_network(widths, Thermometer(num_objectives + 1, config.preference_bins), config.activation)


def _policy_spec(problem: Problem, config: Config) -> PolicySpec:
    """Return the specification of the policy: its network, spaces and encoding."""
    conditioned = config.loss == "trajectory-balance"
    return PolicySpec(
        agent="mogfn-pc",
        head="categorical",
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        observation_space=problem.observation_space,
        action_space=problem.action_space,
        objectives=problem.objectives,
        one_hot=config.one_hot,
        conditioned=conditioned,
        action_masks=problem.action_masks,
        preference_bins=config.preference_bins if conditioned else 0,
    )
