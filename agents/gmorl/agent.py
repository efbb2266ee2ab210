"""GMORL: preference-conditioned discrete SAC for any number of servers (arXiv 2509.10474, IEEE TSC 2025).

Preference-conditioned discrete soft actor-critic whose networks fit any number of servers, in five lines:
  1. An observation has one row for each server: its clock, its link, the tasks that it holds, the task to place.
     Weights are shared over rows, so that one network handles systems with other numbers and speeds of servers.
  2. Actor pi(a | s, w) and critics Q_k(s, a, w) take the preference w as an input; environments act for many at once.
  3. Servers that do not exist are masked: their probability is 0, and expectations run over the others.
  4. Each episode draws another system (numbers and clocks of servers), so that the replay holds many contexts.
  5. Critics are fitted to the soft value of the lower of two target critics, the actor follows w.Q and its entropy.

Where this file departs from the paper, and why (docs/agents/gmorl.md has the list with measurements):
  - Critics predict the vector of returns and the utility w.Q chooses; the paper's predict the utility itself. So a
    transition can be learned from under other preferences than the one that it was collected for (`relabeled_share`).
  - Preferences are drawn anew for each episode; `preferences = "even"` gives environment i the i-th of even ones.
  - Objectives are in units of their typical reward (docs/design/decisions.md): with the authors' factors, all
    trade-offs lie in a sliver of the preferences.
  - In every layer, a server is computed from its own row and the mean of all rows (`morl.learning.equivariant`). The
    paper's second half sees the servers in a fixed order, with as many outputs as it was built for.

On observations of other kinds the networks are ordinary ones, and this is preference-conditioned discrete SAC.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from morl.acting import PolicyBank
from morl.action_masks import num_choices, random_choices
from morl.agents.gmorl.config import Config
from morl.agents.gmorl.metrics import METRIC_DESCRIPTIONS
from morl.learning.backends import make_update
from morl.learning.collector import Collector
from morl.learning.discrete_sac import DiscreteSAC, DiscreteSACSettings
from morl.learning.observations import ObservationEncoder, observation_encoder, row_shape
from morl.learning.processor import restore_generator
from morl.learning.replay import ReplayBuffer, split_pixels
from morl.learning.sampled_batches import SampledBatches, linear_utility
from morl.learning.scalarization import AugmentedState
from morl.learning.staging import Staging
from morl.learning.types import RowShape
from morl.policy_files import PolicyData, PolicySpec
from morl.preferences import dirichlet, finest_lattice
from morl.protocols import (
    Actions,
    BoolArray,
    Evaluate,
    FloatArray,
    IndexArray,
    MemoryNeed,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)
from morl.seeding import derived_seed, stream

PAPER_DISCOUNT = 0.95


class GMORL:
    """Preference-conditioned discrete SAC on a batch of environments; satisfies `Agent` and `UsesActionMasks`.

    Args:
        problem: the environment's spaces, objectives and discount.
        config: settings.
        seed: of all random streams.
        num_envs: number of environments that `learn` is given.
        device: where networks and replay lie.

    Raises:
        ValueError: the actions are not discrete, or settings do not fit the environment.
    """

    config_class = Config
    metric_descriptions = METRIC_DESCRIPTIONS
    backend = "eager"
    uses_action_masks = True

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        if not isinstance(problem.action_space, spaces.Discrete):
            raise ValueError(f"action_space of {problem.id} is {problem.action_space}, but must be Discrete")
        if config.buffer_size < num_envs:
            raise ValueError(f"buffer_size is {config.buffer_size}, but must be at least num_envs, {num_envs}")
        self.config = config
        self.seed = seed
        self.num_envs = num_envs
        self.device = device
        self.num_objectives = problem.num_objectives
        self.num_actions = int(problem.action_space.n)
        self.first_action = int(problem.action_space.start)
        encoder = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
        settings = _sac_settings(problem, config, encoder, shared_rows(problem, config))
        self.sac = DiscreteSAC(
            encoder.width + self.num_objectives,
            self.num_actions,
            self.num_objectives,
            settings,
            1,
            torch.Generator().manual_seed(derived_seed(seed, "network")),
            device,
        )
        self.run_updates = make_update(self.sac, "eager")
        no_accrued_reward = AugmentedState(encoder.width, np.ones(self.num_objectives), enabled=False)
        self.collector = Collector(num_envs, encoder.encode, no_accrued_reward, settings.discount, problem)
        self.replay, self.bytes = _replay_buffers(problem, config, encoder, device)
        self.staging = Staging(device)
        self.random = stream(seed, "preferences")
        self.exploration = torch.Generator(device).manual_seed(derived_seed(seed, "exploration"))
        self.sampling = torch.Generator(device).manual_seed(derived_seed(seed, "replay"))
        self.even = finest_lattice(self.num_objectives, max(num_envs, self.num_objectives), max(1, num_envs - 1))
        """[n, objective] preferences of the environments where they are even."""
        self.preferences = np.resize(self.even, (num_envs, self.num_objectives))
        """[env, objective] preference that each environment acts for."""
        self.bank = PolicyBank(_policy_spec(problem, config, settings), device)
        self.banked_update = -1
        """Updates after which the bank's copy of the actor was made."""
        self.steps = 0
        self.pretraining_steps = 0
        self.latest: dict[str, Tensor] = {}
        """Metrics of the latest update."""

    @property
    def updates(self) -> int:
        """Return the number of gradient updates so far."""
        return self.sac.updates

    @staticmethod
    def schedules(config: Config, problem: Problem, total_steps: int) -> Mapping[str, int]:  # noqa: ARG004
        """Return the most steps of each schedule that leave most of a run for learning.

        Args:
            config: settings.
            problem: the environment.
            total_steps: environment steps of the run.
        """
        return {"random_exploration_steps": total_steps // 10}

    @staticmethod
    def memory(config: Config, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:  # noqa: ARG004
        """Return the memory of the replay buffer.

        Args:
            config: settings.
            problem: the environment.
            num_envs: number of environments.
            total_steps: environment steps of the run.
        """
        encoder = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
        masks = 2 * num_choices(problem.action_space) if problem.action_masks else 0
        return MemoryNeed(
            what="the replay",
            setting="buffer_size",
            value=config.buffer_size,
            transitions=min(config.buffer_size, total_steps),
            bytes_each=encoder.transition_bytes(2 * problem.num_objectives + 2) + masks,
            copies=1,
        )

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:  # noqa: ARG002
        """Run GMORL; one iteration is one step of every environment, and the updates due after it.

        Args:
            envs: `num_envs` environments, whose episodes may differ in context.
            total_steps: environment steps, since the start of training.
            evaluate: not called.
        """
        if self.collector.observations is None:
            self.collector.reset(envs, derived_seed(self.seed, "environments", self.steps))
            self._assign_preferences(np.ones(self.num_envs, dtype=np.bool_))
        while self.steps < total_steps:
            actions = self._random() if self.steps < self.config.random_exploration_steps else self._explore()
            transitions = self.collector.step(envs, actions + self.first_action)
            transitions |= {"action": actions[:, None], "preference": self.preferences}
            self._assign_preferences(transitions["ended"][:, 0])
            self.steps += self.num_envs
            due = self._updates_due()
            redrawn = self._store(transitions, due)
            if due:
                self._decay_learning_rate()
                self.latest = self.run_updates(self._sample(redrawn))
            yield

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,
        masks: BoolArray | None = None,
    ) -> Actions:
        """Return the most likely actions argmax_a pi(a | s, w) [env], among the allowed ones.

        Args:
            observations: [env, ...] of the environment's observation space.
            preferences: [env, objective] w.
            policies: [env] 0 everywhere: one policy, conditioned on the preference.
            masks: [env, choice] allowed choices; required where the environment gives masks.
        """
        if self.banked_update != self.updates:
            self.bank.add(0, self.export_policies()[0])
            self.banked_update = self.updates
        return self.bank.act(observations, preferences, policies, masks=masks)

    def all_parameters(self) -> list[Tensor]:
        """Return the parameters of actor and critics."""
        return self.sac.all_parameters()

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return policy 0 for every preference: it is conditioned on it.

        Args:
            preferences: [n, objective] the evaluation grid.
        """
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def metrics(self) -> dict[str, float]:
        """Return training metrics; called at logging time only. docs/agents/gmorl.md explains each."""
        return {"replay_size": float(len(self.replay))} | {
            name: value.mean().item() for name, value in self.latest.items()
        }

    # --- Preferences --------------------------------------------------------------------------------------------------

    def _draw_preferences(self, count: int) -> FloatArray:
        """Return random preferences [count, objective] from the distribution that the settings name."""
        if self.config.preferences == "even":
            return self.even[self.random.integers(len(self.even), size=count)]
        return dirichlet(self.num_objectives, count, self.random, self.config.concentration)

    def _assign_preferences(self, starting: BoolArray) -> None:
        """Draw new preferences for the environments in which an episode starts; even ones stay.

        Args:
            starting: [env].
        """
        if self.config.preferences == "dirichlet" and starting.any():
            drawn = self._draw_preferences(self.num_envs)
            self.preferences = np.where(starting[:, None], drawn, self.preferences)

    # --- Acting in training -------------------------------------------------------------------------------------------

    def _random(self) -> IndexArray:
        """Return a random choice [env] for each environment, each of the allowed ones equally likely."""
        return random_choices(self.random.random(self.num_envs), self.num_actions, self.collector.masks)

    def _explore(self) -> IndexArray:
        """Return actions [env] drawn from pi(. | s, w)."""
        inputs = self.staging.take(self._inputs())
        weights = inputs["states"][..., -self.num_objectives :]
        drawn = self.sac.explore(inputs["states"], linear_utility(weights), self.exploration, inputs.get("allowed"))
        actions: IndexArray = drawn[0, :, 0].cpu().numpy()
        return actions

    def _inputs(self) -> dict[str, NDArray[Any]]:
        """Return what the policy acts on: "states" (s, w) [1, env, width], and "allowed" choices where there are."""
        assert self.collector.observations is not None
        states = np.concatenate([self.collector.observations, self.preferences], axis=1, dtype=np.float32)
        inputs: dict[str, NDArray[Any]] = {"states": states[None]}
        if self.collector.masks is not None:
            inputs["allowed"] = self.collector.masks[None]
        return inputs

    # --- Learning -----------------------------------------------------------------------------------------------------

    def _store(self, transitions: Mapping[str, NDArray[Any]], updates: int) -> Tensor:
        """Store one transition of every environment; return new preferences [1, update, batch, objective] for updates.

        Args:
            transitions: columns [env, width] by name, "preference" that the environment acted for among them.
            updates: number of updates that come next.
        """
        redrawn = self._draw_preferences(updates * self.config.batch_size) if updates else self.even[:0]
        arrays = {"redrawn": redrawn.astype(np.float32)}
        buffers: dict[str, tuple[ReplayBuffer, type[np.generic]]] = {"rows": (self.replay, np.float32)}
        columns = dict(transitions)
        if self.bytes is not None:
            columns = split_pixels(columns, self.bytes.columns.get("pixels", 0))
            buffers["byte rows"] = (self.bytes, np.uint8)
        for name, (buffer, dtype) in buffers.items():
            parts = [columns[each] for each in buffer.columns]
            arrays[name] = np.concatenate(parts, axis=1, dtype=dtype, casting="unsafe")
        sent = self.staging.send(arrays, ahead=self._inputs)
        for name, (buffer, _) in buffers.items():
            buffer.add_rows(sent[name][None])
        return sent["redrawn"].view(1, updates, self.config.batch_size, self.num_objectives)

    def _updates_due(self) -> int:
        """Return the number of updates that `updates_per_step` asks for and that are not done yet."""
        learned = self.steps - self.config.random_exploration_steps
        return max(0, ceil(learned * self.config.updates_per_step) - self.updates)

    def _sample(self, redrawn: Tensor) -> SampledBatches:
        """Return random transitions for some updates, a share of them under new preferences.

        Args:
            redrawn: [1, update, batch, objective] new preferences.
        """
        config = self.config
        updates = redrawn.shape[1]
        shape = (updates, config.batch_size)
        index = torch.randint(len(self.replay), (1, *shape), generator=self.sampling, device=self.device)
        weights = self.replay.gather_column("preference", index)
        relabeled = torch.rand((1, *shape, 1), generator=self.sampling, device=self.device) < config.relabeled_share
        weights = torch.where(relabeled, redrawn, weights)
        return SampledBatches(
            rows=self.replay.rows,
            index=index,
            observation_width=self.replay.columns["observation"],
            action_width=1,
            condition=weights,
            noise=self.sac.sample_noise(updates, config.batch_size, self.sampling),
            scale=torch.ones(1, self.num_objectives, device=self.device),
            weight=weights,
            byte_rows=None if self.bytes is None else self.bytes.rows,
            byte_columns={} if self.bytes is None else self.bytes.columns,
        )

    def _decay_learning_rate(self) -> None:
        """Set Adam's step size to alpha / (1 + k / h) after k updates; h is the half-life, infinite by default."""
        if self.config.learning_rate_half_life is not None:
            rate = self.config.learning_rate / (1.0 + self.updates / self.config.learning_rate_half_life)
            self.sac.settings = replace(self.sac.settings, actor_learning_rate=rate, critic_learning_rate=rate)

    # --- Saving -------------------------------------------------------------------------------------------------------

    def export_policies(self) -> dict[int, PolicyData]:
        """Return a copy of the policy; it has no preference of its own."""
        parameters = self.sac.tensors()["actor"][0].clone()
        no_preference = np.full(self.num_objectives, np.nan)
        return {0: PolicyData(spec=self.bank.spec, parameters=parameters, preference=no_preference)}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs, as plain data."""
        return {
            "sac": self.sac.state_dict(),
            "latest": self.latest,
            "replay": self.replay.state_dict(),
            "bytes": None if self.bytes is None else self.bytes.state_dict(),
            "collector": self.collector.state_dict(),
            "preferences": self.preferences,
            "random": self.random.bit_generator.state,
            "exploration": self.exploration.get_state(),
            "sampling": self.sampling.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same problem, settings and number of environments."""
        self.sac.load_state_dict(state["sac"])
        self.latest = dict(state["latest"])
        self.replay.load_state_dict(state["replay"])
        if self.bytes is not None:
            self.bytes.load_state_dict(state["bytes"])
        self.collector.load_state_dict(state["collector"])
        self.preferences = state["preferences"].copy()
        self.random.bit_generator.state = state["random"]
        restore_generator(self.exploration, state["exploration"])
        restore_generator(self.sampling, state["sampling"])
        self.steps = state["steps"]
        self.banked_update = -1

    def reset_episodes(self) -> None:
        """Start new episodes at the next step: called where the environment's state could not be saved."""
        self.collector.observations = None


# --- Construction -----------------------------------------------------------------------------------------------------


def shared_rows(problem: Problem, config: Config) -> RowShape | None:
    """Return the rows of observations that the networks share their weights over; None: they share none.

    Args:
        problem: the environment.
        config: settings.

    Raises:
        ValueError: rows are asked for, and observations have none.
    """
    rows = row_shape(problem.observation_space, problem.action_space)
    if config.sharing == "rows" and rows is None:
        raise ValueError(
            f"sharing is 'rows', but must be 'auto' or 'none' on {problem.id}, whose observations are no matrix of"
            f" numbers with a row for each action: {problem.observation_space}"
        )
    return None if config.sharing == "none" or config.network else rows


def _sac_settings(
    problem: Problem, config: Config, encoder: ObservationEncoder, rows: RowShape | None
) -> DiscreteSACSettings:
    """Return the settings of the soft actor-critic: both are updated once a batch, the temperature is fixed."""
    own = PAPER_DISCOUNT if problem.discount == 1.0 else problem.discount
    return DiscreteSACSettings(
        hidden_sizes=config.hidden_sizes,
        discount=own if config.discount is None else config.discount,
        tau=config.tau,
        activation=config.activation,
        normalization=config.normalization,
        images=encoder.images,
        network=config.network,
        rows=rows,
        actor_learning_rate=config.learning_rate,
        critic_learning_rate=config.learning_rate,
        policy_delay=1,
        temperature=config.temperature,
    )


def _replay_buffers(
    problem: Problem, config: Config, encoder: ObservationEncoder, device: torch.device
) -> tuple[ReplayBuffer, ReplayBuffer | None]:
    """Return the replay buffer, and one of bytes for pixels and masks in the same places; None: there are none."""
    columns = {
        "observation": encoder.columns,
        "action": 1,
        "reward": problem.num_objectives,
        "next_observation": encoder.columns,
        "terminated": 1,
        "preference": problem.num_objectives,
    }
    choices = num_choices(problem.action_space) if problem.action_masks else 0
    byte_columns = {"pixels": encoder.pixels, "next_pixels": encoder.pixels, "mask": choices, "next_mask": choices}
    byte_columns = {name: width for name, width in byte_columns.items() if width}
    replay = ReplayBuffer(config.buffer_size, columns, device)
    if not byte_columns:
        return replay, None
    return replay, ReplayBuffer(config.buffer_size, byte_columns, device, dtype=torch.uint8)


def _policy_spec(problem: Problem, config: Config, settings: DiscreteSACSettings) -> PolicySpec:
    """Return the specification of the policy: its network, spaces and encoding."""
    return PolicySpec(
        agent="gmorl",
        head="categorical",
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalization=config.normalization,
        image_size=config.image_size if settings.images else 0,
        image_layers=settings.architecture().encoding_layers,
        network=config.network,
        observation_space=problem.observation_space,
        action_space=problem.action_space,
        objectives=problem.objectives,
        one_hot=config.one_hot,
        conditioned=True,
        action_masks=problem.action_masks,
        shared_rows=settings.rows is not None,
    )
