"""Solvers that learn from what they have just done: PPO (SER) and EUPG (ESR), on the population PPO of morl.learning.

EUPG (Roijers et al. 2018) climbs the expected utility of the whole return: its gradient is
E[sum_t grad log pi(a_t | s_t, R-_t) u(R-_t + R+_t)]. That is a policy gradient whose only reward is u(R) at the end of
an episode, for policies that see what was paid so far. With one epoch of one minibatch PPO takes just this step, less
a learnt baseline.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.cooperation import copy_members
from morl.learning.actor_critic import ActorCritic
from morl.learning.backends import make_update
from morl.learning.off_policy import UtilityFn
from morl.learning.population import Population, TrainingState, fresh_states
from morl.learning.ppo import PPO, Epochs, ppo_update, scalar_advantages
from morl.learning.rollouts import Experience, compute_advantages
from morl.seeding import derived_seed

Indices = NDArray[np.int64]


class OnPolicy:
    """Trains `slots` policies at a time; satisfies what `morl.agents.morl_d.agent` asks of a solver.

    Args:
        name: "ppo" or "eupg".
        network: actor and critic; the critic has one output for EUPG, one for each objective else.
        judge: (preferences [policy, 1, objective], bounds [policy, 2, objective]) -> utility.
        widths: of "observation", "action" and "objective", the latter as the critic's outputs.
        config: resolved settings.
        discount: of learning.
        slots: policies that train side by side.
        lanes: of each policy.
        seed: of all random streams.
        device: where everything lives.
    """

    def __init__(
        self,
        name: str,
        network: ActorCritic,
        judge: Callable[[Tensor, Tensor], UtilityFn],
        widths: Mapping[str, int],
        config: Config,
        discount: float,
        slots: int,
        lanes: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.network, self.judge, self.config, self.device = network, judge, config, device
        self.whole_returns = name == "eupg"
        discount = 1.0 if self.whole_returns else discount  # u(R) holds the discounts already
        self.population = Population(network, Experience(slots, lanes, config.rollout_steps, widths, discount), device)
        first = derived_seed(seed, "network")
        states = fresh_states(network, config.population, widths["observation"], widths["objective"], first)
        self.members = {name: torch.stack(rows) for name, rows in _by_name([self._row(state) for state in states])}
        names = ("exploration", "replay")
        self.generators = [torch.Generator(device).manual_seed(derived_seed(seed, name)) for name in names]
        self.active = np.arange(slots)
        self.directions = self.preferences = self.bounds = torch.empty(0)
        self.seen: NDArray[np.float32] | None = None  # normalized observations that the lanes are acting on
        self.diagnostics: dict[str, Tensor] = {}

    # --- Who trains ---------------------------------------------------------------------------------------------------

    def load(self, active: Indices, preferences: Tensor, bounds: Tensor, values: Tensor) -> None:
        """Let `active` policies train, for preferences [slot, objective], bounds [2, objective] and mean returns.

        Under SER the gradient of u(J) is that of the weighted sum w.J with w = grad u at J, the returns `values`.
        """
        if not np.array_equal(active, self.active):
            self.population.experience.begin_episodes()
        self.active, self.preferences = active, preferences
        self.bounds = bounds.expand(len(active), *bounds.shape)
        if not self.whole_returns:
            returns = values.unsqueeze(1).requires_grad_()
            worths = self.judge(preferences.unsqueeze(1), self.bounds)(returns, returns)
            (gradient,) = torch.autograd.grad(worths.sum(), returns)
            self.directions = gradient.squeeze(1)
        for slot, policy in enumerate(active.tolist()):
            self.population.place(slot, _state({name: rows[policy] for name, rows in self.members.items()}))

    def store(self, rows: int | None = None) -> None:
        """Write the policies that train, or the first of them, back to the members."""
        for slot, policy in enumerate(self.active[:rows].tolist()):
            for name, value in self._row(self.population.member(slot)).items():
                self.members[name][policy] = value

    def _row(self, state: TrainingState) -> dict[str, Tensor]:
        """Return a training state as tensors by name; "actor" is what acting needs, its normalizer included."""
        row = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        for name, moments in state.items():
            if isinstance(moments, dict):
                row |= {f"{name}.{part}": torch.as_tensor(value) for part, value in moments.items()}
        scale = (row["observation_moments.variance"] + 1e-8).rsqrt()
        actor = row["parameters"][: self.network.actor_parameters].cpu()
        row["actor"] = torch.cat([actor, row["observation_moments.mean"].float(), scale.float()])
        return row

    def replace(self, sources: Indices) -> None:
        """Replace every member by a copy of the one it continues from; what another policy did teaches it nothing."""
        copy_members(self.members, sources)
        if (sources != np.arange(len(sources))).any():
            self.population.experience.clear()

    # --- Acting and learning ------------------------------------------------------------------------------------------

    def explore(self, observations: Tensor) -> Tensor:
        """Return actions [slot, lane, width] for observations [slot, lane, width]."""
        self.seen = self.population.experience.observe(observations.flatten(0, 1).cpu().numpy())
        return torch.as_tensor(self.population.act(self.seen, None, self.generators[0]))

    def observe(self, transitions: Mapping[str, Tensor]) -> None:
        """Take in transitions [slot, lane, width] of the active policies."""
        experience, shape = self.population.experience, transitions["ended"].shape[:2]
        flat = {name: column.flatten(0, 1).cpu().numpy() for name, column in transitions.items()}
        ended, terminated = flat["ended"][:, 0] > 0, flat["terminated"][:, 0] > 0
        rewards = flat["reward"].astype(np.float64)
        if self.whole_returns:
            total = transitions["total"]
            worths = self.judge(self.preferences.unsqueeze(1), self.bounds)(total, total)
            rewards = worths.flatten()[:, None].cpu().numpy() * ended[:, None]
            terminated = ended  # what a time limit cuts off is not part of the return either
        actions = flat["action"].reshape(*shape, -1)
        assert self.seen is not None
        experience.add(self.seen, actions, rewards, terminated, ended & ~terminated)
        following = experience.normalize(flat["next_observation"])
        if (ended & ~terminated).any():
            experience.bootstrap_truncated(self.population.values(following))
        self.last = following

    def ready(self, sources: Indices) -> NDArray[np.bool_]:
        """Return that no policy can learn without acting."""
        return np.zeros(len(sources), dtype=np.bool_)

    def learn(self, count: int, sources: Indices) -> int:  # noqa: ARG002
        """Learn when the rollout is full; return the number of gradient steps."""
        experience, config = self.population.experience, self.config
        if not experience.full:
            return 0
        parameters = self.population.parameters
        samples, deviations = compute_advantages(experience, self.network, parameters, self.last, config.gae_lambda)
        weights = torch.ones_like(deviations) if self.whole_returns else self.directions * deviations
        samples["advantage"] = scalar_advantages(samples["target"] - samples["value"], weights).unsqueeze(2)
        settings = Epochs(epochs=config.epochs, minibatches=config.minibatches, entropy_weight=config.entropy_weight)
        rates = torch.full((len(parameters),), config.actor_learning_rate, device=self.device)
        step = make_update(PPO(self.network, parameters, self.population.optimizer, settings))
        self.diagnostics = ppo_update(step, samples, settings, rates, self.generators[1])
        experience.clear()
        return config.epochs * config.minibatches * len(parameters)

    @torch.no_grad()
    def greedy(self, actors: Tensor, observations: Tensor, preferences: Tensor, bounds: Tensor) -> Tensor:  # noqa: ARG002
        """Return the likeliest actions [policy, batch, width] of any actors [policy, n]."""
        width = observations.shape[2]
        weights, mean, scale = actors.split([actors.shape[1] - 2 * width, width, width], dim=1)  # type: ignore[no-untyped-call]
        normal = ((observations - mean.unsqueeze(1)) * scale.unsqueeze(1)).clamp(-10.0, 10.0)
        return self.network.distribution(weights, normal).mode()

    def metrics(self) -> dict[str, float]:
        """Return what the last update had to say, the mean over policies."""
        return {name: value.mean().item() for name, value in self.diagnostics.items()}

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that exact resuming needs."""
        return {
            "members": self.members,
            "population": self.population.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
            "diagnostics": self.diagnostics,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned; `load` comes first."""
        for name, tensor in self.members.items():
            tensor.copy_(state["members"][name])
        self.population.load_state_dict(state["population"])
        for generator, value in zip(self.generators, state["generators"], strict=True):
            generator.set_state(value)
        self.diagnostics = dict(state["diagnostics"])


def _by_name(rows: list[dict[str, Tensor]]) -> list[tuple[str, list[Tensor]]]:
    return [(name, [row[name] for row in rows]) for name in rows[0]]


def _state(row: Mapping[str, Tensor]) -> TrainingState:
    """Return a training state as the population takes it; the inverse of `OnPolicy._row`."""
    state: TrainingState = {}
    for name, value in row.items():
        part, dot, key = name.partition(".")
        if dot:
            state.setdefault(part, {})[key] = value.numpy()
        elif name != "actor":
            state[name] = value
    return state
