"""A wave of C-MORL: tasks that learn side by side as one population, unconstrained or with any of the solvers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.c_morl.archive import Member
from morl.agents.c_morl.config import Config
from morl.agents.c_morl.constraints import (
    Constraint,
    Limits,
    dual_ascent_step,
    interior_point_loss,
    lagrangian_weights,
    limits_of,
    published_loss,
    reference_thresholds,
    units_of,
)
from morl.agents.c_morl.return_estimates import ReturnEstimates
from morl.agents.c_morl.trust_region import trust_region_step
from morl.learning.actor_critic import ActorCritic
from morl.learning.backends import make_update
from morl.learning.population import Population
from morl.learning.ppo import PPO, Epochs, ppo_update, probability_ratios, scalar_advantages
from morl.learning.rollouts import Experience, compute_advantages

Array = NDArray[np.float64]


class Wave:
    """Tasks under way: policy p maximizes weights[p].G, and in extension keeps its other returns above thresholds.

    Args:
        network: actor and critic.
        config: of the agent.
        constraints: the user's bounds.
        widths: as for `Experience`.
        policies: number of tasks.
        lanes: environment lanes of each.
        discount: of learning.
        extending: whether this is Pareto extension, not initialization.
        planned: updates of each task.
        targets: [objective to be optimized, objective] its unit vectors; "compat" goes through all of them in turn.
        device: where to learn.
    """

    def __init__(
        self,
        network: ActorCritic,
        config: Config,
        constraints: Sequence[Constraint],
        widths: Mapping[str, int],
        *,
        policies: int,
        lanes: int,
        discount: float,
        extending: bool,
        planned: int,
        targets: Array,
        device: torch.device,
    ) -> None:
        steps = -(-config.samples_per_update // lanes)
        self.config, self.extending, self.planned, self.targets = config, extending, planned, targets
        self.experience = Experience(policies, lanes, steps, widths, discount)
        self.population = Population(network, self.experience, device)
        shape = (policies, widths["objective"])
        self.signs, self.bounds = np.ones(shape[1]), np.full(shape[1], -np.inf)
        for each in constraints:
            self.signs[each.objective], self.bounds[each.objective] = each.sign, each.sign * each.bound
        self.updates = self.leg = 0
        self.origins = np.zeros(policies, dtype=np.int64)
        self.weights, self.multipliers = np.zeros(shape), np.zeros(shape)
        self.preferences = np.full(shape, np.nan)
        self.estimates = ReturnEstimates(np.zeros(shape))
        self.references = np.full(shape, np.nan)  # returns of the policies that the tasks began with
        self.rates = np.full(policies, config.learning_rate)

    def begin(self, starts: Sequence[Member], weights: Array) -> None:
        """Put in the policies that the tasks begin with, and each task's weights [policy, objective]."""
        for policy, member in enumerate(starts):
            self.population.place(policy, member.state)
        self.origins = np.array([member.number for member in starts])
        self.weights = weights
        if not self.extending:
            self.preferences = weights
            return
        self.estimates = ReturnEstimates(np.stack([member.returns for member in starts]))
        self.rates = np.full(len(starts), self.config.extension_learning_rate)
        none = np.zeros(self.weights.shape[1])
        self.multipliers = np.stack([none if each.multipliers is None else each.multipliers for each in starts])
        if self.config.solver == "compat":
            self.rates = np.array([member.learning_rate for member in starts])

    @property
    def legs(self) -> int:
        """Return how many objectives a task goes through, one after the other."""
        return len(self.targets) if self.extending and self.config.solver == "compat" else 1

    @property
    def finished(self) -> bool:
        """Return whether all updates are done."""
        return self.leg == self.legs

    @property
    def snapshot_due(self) -> bool:
        """Return whether the policies, as they are after the latest update, should be archived.

        They are after the last update of a leg (which the count shows as 0), after every so many, and in initialization
        also after the first 1, 2, 4, 8, ...: a run that stops soon has a front that is half as old as it is, at worst.
        """
        if self.extending:
            return self.updates % self.config.extension_snapshot_updates == 0
        return self.updates % self.config.snapshot_updates == 0 or self.updates & (self.updates - 1) == 0

    def snapshots(self, first_number: int) -> list[Member]:
        """Return the policies as they are, numbered from `first_number`; their returns are not known yet."""
        unknown = np.full(self.weights.shape[1], np.nan)
        return [
            Member(
                first_number + policy,
                self.population.member(policy),
                unknown,
                self.preferences[policy],
                float(self.rates[policy]),
                np.where(np.isfinite(self.bounds), self.multipliers[policy], 0.0),
            )
            for policy in range(len(self.population))
        ]

    def improve(self, observations: NDArray[Any], random: torch.Generator) -> dict[str, float]:
        """Learn from a full experience and return what it was like.

        Args:
            observations: [lane, width], not normalized, where the experience led.
            random: generator of the permutations.
        """
        config, experience, population = self.config, self.experience, self.population
        last = experience.normalize(observations)
        samples, sigmas = compute_advantages(experience, population.network, population.parameters, last, config.trace)
        deviations = sigmas.double().cpu().numpy()
        if not self.extending:
            self.rates = np.full(len(population), config.learning_rate * (1.0 - self.updates / self.planned))
        self.estimates.observe(experience, population.values(last), deviations)
        if self.extending and np.isnan(self.references).all():
            # The first experience was made by the references themselves; tasks that share one pool their episodes.
            # It is not the archive value that is taken: that is of the deterministic policy.
            shared = self.origins[:, None] == self.origins
            self.references = shared @ self.estimates.returns / shared.sum(axis=1, keepdims=True)
        limits, dual = self._limits(deviations, sigmas)
        self.multipliers = dual_ascent_step(self.multipliers, dual, config.multiplier_rate)
        weights = self.weights
        if self.multipliers.any():
            weights = lagrangian_weights(weights, self.multipliers, self.signs, deviations)
        vector = samples["target"] - samples["value"]
        samples["advantage"] = scalar_advantages(vector * sigmas.unsqueeze(1), sigmas.new_tensor(weights)).unsqueeze(2)
        samples["vector_advantage"] = vector - vector.mean(dim=1, keepdim=True)
        found = self._learn(samples, limits, random)
        if limits.constrained.any():
            gains = self._gains(samples) * limits.slopes.abs()  # in the critic's units
            self.estimates.carry(gains.double().cpu().numpy() * deviations)
        found |= {"slack": limits.slacks.clamp(max=1e3).min(), "multiplier": torch.tensor(self.multipliers.max())}
        experience.clear()
        self._count()
        return {name: float(value.double().mean()) for name, value in found.items()}

    def _learn(self, samples: dict[str, Tensor], limits: Limits, random: torch.Generator) -> dict[str, Tensor]:
        """Take the steps of the solver, in place."""
        config, population = self.config, self.population
        epochs = Epochs(
            epochs=config.epochs,
            minibatches=config.minibatches,
            clip=config.clip,
            value_clip=config.clip,
            # A trust region step has no bonus: the bonus alone would drag the actor while the critic learns.
            entropy_weight=0.0 if self.extending and config.solver == "cpo" else config.entropy_weight,
        )
        loss, found = None, {}
        if self.extending and config.solver == "ipo":
            targets = samples["vector_advantage"].new_tensor(self.weights)
            units = units_of(limits, samples["vector_advantage"], targets)
            loss = interior_point_loss(limits, units, config.barrier_t, config.clip)
        elif self.extending and config.solver == "compat":
            loss = published_loss(config.beta, config.barrier_t, config.clip)
        elif self.extending and config.solver == "cpo":
            found = trust_region_step(population.network, population.parameters, samples, limits, config.trust_radius)
            population.network.split(population.optimizer.first_moments)[0].zero_()  # the actor keeps no momentum
            loss = _no_policy_loss
        rates = samples["advantage"].new_tensor(self.rates)
        step = make_update(PPO(population.network, population.parameters, population.optimizer, epochs))
        return found | ppo_update(step, samples, epochs, rates, random, loss)

    @torch.no_grad()
    def _gains(self, samples: dict[str, Tensor]) -> Tensor:
        """Return mean_i[(rho_i - 1) A_ij]: what an update adds to returns [policy, objective] per step of an episode.

        Ratios count no further than the trust interval: in many dimensions a few large ones would be all of the mean.
        """
        actor, _ = self.population.network.split(self.population.parameters)
        _, ratios = probability_ratios(self.population.network, actor, samples)
        trusted = ratios.clamp(1.0 - self.config.clip, 1.0 + self.config.clip) - 1.0
        return (trusted.unsqueeze(2) * samples["vector_advantage"]).mean(dim=1)

    def _limits(self, deviations: Array, like: Tensor) -> tuple[Limits, Array]:
        """Return the limits of this update, and the slacks [policy, objective] that multipliers answer for."""
        thresholds = self.bounds + self.signs * self.estimates.beyond
        if self.extending and self.config.solver != "compat":
            relative = np.where(self.weights > 0, -np.inf, reference_thresholds(self.references, self.config.beta))
            thresholds = np.where(np.isfinite(self.bounds), thresholds, relative)
        lengths = self.estimates.lengths(self.experience.lanes, self.experience.discount)
        limits = limits_of(self.estimates.returns, thresholds, self.signs, deviations, lengths, like)
        primal_dual = self.config.solver == "lagrangian" or not self.extending
        slacks = limits.slacks.double().cpu().numpy()
        return limits, slacks if primal_dual else np.full_like(slacks, np.inf)

    def _count(self) -> None:
        self.updates += 1
        if self.updates == self.planned:
            self.updates, self.leg = 0, self.leg + 1
            if not self.finished:
                self.weights = np.broadcast_to(self.targets[self.leg], self.weights.shape).copy()

    _PLAIN_STATE = (
        "updates",
        "leg",
        "origins",
        "weights",
        "multipliers",
        "preferences",
        "references",
        "rates",
    )

    def state_dict(self) -> dict[str, Any]:
        """Return all that the wave goes on from."""
        plain = {name: getattr(self, name) for name in self._PLAIN_STATE}
        parts = {"population": self.population.state_dict(), "estimates": self.estimates.state_dict()}
        return plain | parts | {"extending": self.extending}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned, in a wave of the same sizes."""
        for name in self._PLAIN_STATE:
            setattr(self, name, state[name])
        self.population.load_state_dict(state["population"])
        self.estimates.load_state_dict(state["estimates"])


def _no_policy_loss(ratios: Tensor, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001 - the critic learns alone
    return torch.zeros_like(ratios[:, 0])
