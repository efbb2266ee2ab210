"""On-policy solvers of MORL/D: PPO (SER) and EUPG (ESR), on the population PPO of `morl.learning`.

EUPG (Roijers et al. 2018) ascends the expected utility of the whole return: its gradient is
E[sum_t grad log pi(a_t | s_t, R-_t) u(R-_t + R+_t)], with the returns R- before and R+ after step t. That is a policy
gradient whose only reward is u(R) at the end of an episode, for policies that observe the accrued reward. With one
epoch of one minibatch PPO takes just this step, less a learned baseline.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.morl_d.cooperation import copy_members
from morl.learning.advantages import compute_advantages, objective_columns, scalar_advantages
from morl.learning.backends import make_update
from morl.learning.population import Population, TrainingState, initial_states
from morl.learning.ppo import PPO, ActorCritic, PPOSettings, ppo_update
from morl.learning.processor import restore_generator
from morl.learning.return_weights import ReturnEstimates, WeightRule, of_utility, weight_rule
from morl.learning.rollouts import RolloutBuffer
from morl.learning.scalarization import UtilityFn
from morl.learning.types import GradientCombiner
from morl.protocols import BoolArray, IndexArray, StateDict
from morl.seeding import derived_seed

if TYPE_CHECKING:
    from morl.agents.morl_d.config import Config
    from morl.agents.morl_d.solvers.protocol import Following
    from morl.learning.normalization import MeanStdState

BindUtility = Callable[[Tensor, Tensor], UtilityFn]
"""(preferences [policy, 1, objective], bounds [policy, 2, objective]) -> utility."""


class OnPolicy:
    """Trains the active policies by PPO; satisfies `morl.agents.morl_d.solvers.protocol.TransitionSolver`.

    Args:
        network: actor and critic; the critic has one output for EUPG, else one for each objective.
        bind_utility: the utility of returns for given preferences.
        rollout: buffer of the active policies.
        config: settings.
        reference_point: [objective] of the environment, in the agent's units; None: not known.
        expected_utility: whether to maximize the expected utility of the return (EUPG) instead of the utility of the
            expected return.
        seed: of all random streams.
        device: where networks live.
    """

    def __init__(
        self,
        network: ActorCritic,
        bind_utility: BindUtility,
        rollout: RolloutBuffer,
        config: "Config",
        reference_point: tuple[float, ...] | None,
        expected_utility: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        self.network = network
        self.bind_utility = bind_utility
        self.config = config
        self.expected_utility = expected_utility
        self.weight_rule: WeightRule = weight_rule(config.weighting, reference_point)
        if config.weighting == "preference":
            self.weight_rule = partial(of_utility, self._utility_of_returns)
        self.device = device
        self.population = Population(network, rollout, device)
        self.seeks_novelty = config.novelty == "ctnb" and not expected_utility
        combiner: GradientCombiner = "ctnb" if self.seeks_novelty else config.combiner
        self.settings = PPOSettings(
            epochs=config.epochs,
            minibatches=config.minibatches,
            entropy_weight=config.entropy_weight,
            combiner="weighted-sum" if expected_utility else combiner,
        )
        ppo = PPO(network, self.population.parameters, self.population.optimizer, self.settings)
        self.gradient_step = make_update(ppo, config.backend)
        self.backend = self.gradient_step.backend
        states = initial_states(network, config.population, rollout.sizes, derived_seed(seed, "network"))
        rows = [self._row(state) for state in states]
        self.members = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        self.exploration = torch.Generator(device).manual_seed(derived_seed(seed, "exploration"))
        self.shuffling = torch.Generator(device).manual_seed(derived_seed(seed, "replay"))
        self.active = np.arange(rollout.num_policies)
        self.preferences = torch.empty(0)  # [active, objective]
        self.bounds = torch.empty(0)  # [active, 2, objective]
        self.returns = torch.empty(0)  # [active, objective] mean discounted returns of the latest evaluation
        self.inputs: NDArray[np.float32] | None = None  # [active, env, width] normalized observations of the next step
        self.final_inputs: NDArray[np.float32] | None = None  # [active, env, width] normalized, after the latest step
        self.diagnostics: dict[str, Tensor] = {}

    # --- Active policies ----------------------------------------------------------------------------------------------

    def load(self, active: IndexArray, preferences: Tensor, bounds: Tensor, returns: Tensor) -> None:
        """Start to train policies, from their state in `members`.

        Args:
            active: indices of the policies that train [active].
            preferences: their weight vectors [active, objective], on the CPU, where utilities of returns are computed.
            bounds: lowest and ideal returns [2, objective].
            returns: mean discounted returns of their latest evaluation [active, objective].
        """
        if not np.array_equal(active, self.active):
            self.population.rollout.reset_episodes()
        self.active = active
        self.preferences = preferences
        self.bounds = bounds.expand((len(active), *bounds.shape))
        self.returns = returns
        for row, policy in enumerate(active.tolist()):
            state = _training_state({name: rows[policy] for name, rows in self.members.items()})
            self.population.load_training_state(row, state)

    def _utility(self, returns: Tensor) -> Tensor:
        """Return the utilities [active, env] of returns [active, env, objective]."""
        return self.bind_utility(self.preferences.unsqueeze(1), self.bounds)(returns, returns)

    def store(self, rows: int | None = None) -> None:
        """Write the active policies, or the first `rows` of them, back to `members`."""
        for row, policy in enumerate(self.active[:rows].tolist()):
            for name, value in self._row(self.population.training_state(row)).items():
                self.members[name][policy] = value

    def replace(self, sources: IndexArray) -> None:
        """Replace every member by a copy of the member that it continues from; a rollout of others is discarded.

        Args:
            sources: index of the member to copy for each policy [policy]; its own index where it stays.
        """
        copy_members(self.members, sources)
        if (sources != np.arange(len(sources))).any():
            self.population.rollout.clear()
            self.reset_episodes()  # what others remember is of no use to a copy

    def reset_episodes(self) -> None:
        """Empty the memory of the policies: environments are reset, or policies replaced."""
        self.population.rollout.forget()

    def _row(self, state: TrainingState) -> dict[str, Tensor]:
        """Return a training state as tensors by name; "actor" acts: parameters, then mean and scale."""
        observations = _tensors(state["observation_statistics"])
        rewards = _tensors(state["reward_statistics"])
        scale = (observations["variance"] + 1e-8).rsqrt()
        actor = state["parameters"][: self.network.actor_parameters].cpu()
        return {
            "parameters": state["parameters"],
            "first_moments": state["first_moments"],
            "second_moments": state["second_moments"],
            "steps": state["steps"],
            **{f"observation_statistics.{part}": value for part, value in observations.items()},
            **{f"reward_statistics.{part}": value for part, value in rewards.items()},
            "actor": torch.cat([actor, observations["mean"].float(), scale.float()]),
        }

    # --- Acting and learning ------------------------------------------------------------------------------------------

    def explore(self, observations: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return sampled actions [active, env, action].

        Args:
            observations: [active, env, width].
            masks: [active, env, choice] 1 where a choice is allowed; None: all are.
        """
        self.inputs = self.population.rollout.normalize_and_update(observations.flatten(0, 1).numpy())
        allowed = None if masks is None else masks.numpy() == 1.0
        return torch.as_tensor(self.population.act(self.inputs, allowed, self.exploration))

    def observe(self, transitions: Mapping[str, Tensor], following: "Following") -> None:  # noqa: ARG002
        """Store transitions of the active policies.

        Args:
            transitions: columns [active, env, width] by name: observation, action, reward, next_observation,
                terminated, ended (terminated or truncated) and total (the discounted return of the episode so far);
                where the environment gives action masks, also mask; where policies must differ from others, novelty.
            following: not called: there is no replay that the next observations could travel along with.
        """
        rollout = self.population.rollout
        columns = {name: column.flatten(0, 1).numpy() for name, column in transitions.items()}
        ended = columns["ended"][:, 0] > 0
        terminated = columns["terminated"][:, 0] > 0
        rewards = columns["reward"].astype(np.float64)
        if self.expected_utility:
            utilities = self._utility(transitions["total"])
            rewards = utilities.flatten()[:, None].numpy() * ended[:, None]
            terminated = ended  # the part of an episode beyond the time limit is not part of the return
        if self.seeks_novelty:
            novelty = columns.get("novelty", np.zeros((len(rewards), 1)))  # without references, all is novel
            rewards = np.concatenate([rewards, novelty], axis=1)
        truncated = ended & ~terminated
        actions = columns["action"].reshape((*transitions["ended"].shape[:2], -1))
        masks = None
        if "mask" in transitions:
            masks = transitions["mask"].numpy() == 1.0
        assert self.inputs is not None
        rollout.add(self.inputs, actions, rewards, terminated, truncated, masks)
        self.final_inputs = rollout.normalize(columns["next_observation"])
        if truncated.any():
            self.population.bootstrap_truncated(self.final_inputs)

    def ready(self, sources: IndexArray) -> BoolArray:
        """Return that no policy can learn without acting: false for each of `sources` [policy, k]."""
        return np.zeros(len(sources), dtype=np.bool_)

    def learn(self, updates: int, sources: IndexArray) -> int:  # noqa: ARG002
        """Run one PPO update if the rollout is full; return the number of gradient steps, of all policies together.

        Args:
            updates: not read: the rollout decides.
            sources: not read: there is no replay.
        """
        rollout = self.population.rollout
        if not rollout.full:
            return 0
        assert self.final_inputs is not None
        self.population.settle()
        parameters = self.population.parameters
        samples, sigma = compute_advantages(
            rollout, self.network, parameters, self.final_inputs, self.config.gae_lambda
        )
        advantages = samples["target"] - samples["value"]
        if self.expected_utility:  # the only objective
            samples["advantage"] = scalar_advantages(advantages, torch.ones_like(sigma)).unsqueeze(2)
        else:
            weights = self._weights(advantages, sigma)
            if self.seeks_novelty:
                weights = torch.cat([weights, self._lack_of_novelty(weights)], dim=1)
            samples["advantage"] = scalar_advantages(advantages, weights * sigma).unsqueeze(2)
            if self.settings.combiner != "weighted-sum":
                samples |= objective_columns(advantages * sigma.unsqueeze(1), weights)
        learning_rates = torch.full((len(parameters),), self.config.actor_learning_rate, device=self.device)
        self.diagnostics = ppo_update(self.gradient_step, samples, self.settings, learning_rates, self.shuffling)
        rollout.clear()
        return self.settings.epochs * self.settings.minibatches * len(parameters)

    def _weights(self, advantages: Tensor, sigma: Tensor) -> Tensor:
        """Return the weights of the objectives [active, objective], of rewards in their own units.

        Under SER the gradient of u(J) is that of the weighted sum w.J with w = grad u at J, the latest mean returns.

        Args:
            advantages: [active, sample, objective] in units of sigma.
            sigma: [active, objective].
        """
        count = self.preferences.shape[1]
        sigma = sigma[:, :count]  # without novelty
        deviations = sigma * advantages[:, :, :count].std(dim=1, correction=0)
        estimates = ReturnEstimates(
            preferences=self.preferences.numpy(),
            returns=self.returns.numpy(),
            deviations=sigma.cpu().numpy(),
            advantage_deviations=deviations.cpu().numpy(),
        )
        weights, _ = self.weight_rule(estimates, np.zeros(sigma.shape))
        return sigma.new_tensor(weights)

    def _lack_of_novelty(self, weights: Tensor) -> Tensor:
        """Return 1 for policies whose actions were not novel enough in this rollout, else 0, [active, 1].

        Args:
            weights: that it is concatenated to, of their kind.
        """
        excess = self.population.rollout.rewards[..., -1].mean(axis=(0, 2))
        return weights.new_tensor(excess < 0.0).unsqueeze(1)

    def _utility_of_returns(self, returns: Tensor, preferences: Tensor) -> Tensor:  # noqa: ARG002
        """Return the utilities [active] of returns [active, objective] under the policies' own weights and bounds."""
        return self._utility(returns.unsqueeze(1)).squeeze(1)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the latest update, means over policies."""
        return {name: value.mean().item() for name, value in self.diagnostics.items()}

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, object]:
        """Return members, active policies, rollout and random streams."""
        return {
            "members": self.members,
            "population": self.population.state_dict(),
            "exploration": self.exploration.get_state(),
            "shuffling": self.shuffling.get_state(),
            "diagnostics": self.diagnostics,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned; `load` was called before."""
        for name, tensor in self.members.items():
            tensor.copy_(state["members"][name])
        self.population.load_state_dict(state["population"])
        restore_generator(self.exploration, state["exploration"])
        restore_generator(self.shuffling, state["shuffling"])
        self.diagnostics = dict(state["diagnostics"])


def _tensors(statistics: "MeanStdState") -> dict[str, Tensor]:
    return {
        "count": torch.as_tensor(statistics["count"]),
        "mean": torch.as_tensor(statistics["mean"]),
        "variance": torch.as_tensor(statistics["variance"]),
    }


def _statistics(row: Mapping[str, Tensor], name: str) -> "MeanStdState":
    return {
        "count": row[f"{name}.count"].numpy(),
        "mean": row[f"{name}.mean"].numpy(),
        "variance": row[f"{name}.variance"].numpy(),
    }


def _training_state(row: Mapping[str, Tensor]) -> TrainingState:
    """Return a row of tensors by name as a training state; the inverse of `OnPolicy._row`."""
    return {
        "parameters": row["parameters"],
        "first_moments": row["first_moments"],
        "second_moments": row["second_moments"],
        "steps": row["steps"],
        "observation_statistics": _statistics(row, "observation_statistics"),
        "reward_statistics": _statistics(row, "reward_statistics"),
    }
