"""PD-MORL: one network for every preference (Basaklar, Gumussoy, Ogras, ICLR 2023; arXiv 2208.07914).

The discrete variant, MO-DDQN-HER, in five lines:
  1. The network Q(s, a, w) takes the preference w as an input and predicts the *vector* of returns for each action.
  2. Acting is epsilon-greedy on the utility w.Q. Each environment keeps to its own part of the preference simplex.
  3. The target takes the action whose vector points best to where w should lead: cosine(I(w), Q) times utility w.Q.
  4. The interpolator I maps a preference to the direction of the return that solves it, from a few key preferences.
  5. Hindsight: a transition is also learned from under other preferences; rewards are vectors, so nothing else changes.

Where this file departs from the authors' code, and why (docs/agents/pd_morl.md has the list with measurements):
  - The replay buffer holds raw transitions; preferences are redrawn when a batch is sampled. The distribution is the
    same, the memory a quarter.
  - Time limits are bootstrapped through (the authors treat them as terminal).
  - The returns of the keys are measured in training. `oracle_keys` takes them from the true front, as the authors do.
  - Cosines are taken from the reference point as origin. For Deep Sea Treasure that is the authors' shift by +19.

Several learners, one for each seed, train as one batch (`morl.agents.pd_morl.learners`).
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from morl.agents.pd_morl.config import DiscreteConfig
from morl.agents.pd_morl.episodes import EnvStep, Episodes, preference_grid, replay_memory
from morl.agents.pd_morl.hindsight import (
    Batch,
    Choices,
    HindsightBatches,
    HindsightReplay,
    preference_distribution,
)
from morl.agents.pd_morl.interpolator import KeyPreferences, aligned_score, alignment_metrics, paper_score
from morl.agents.pd_morl.learners import Learners, rows
from morl.agents.pd_morl.metrics import METRIC_DESCRIPTIONS
from morl.agents.pd_morl.policy import ConditionedPolicy, architecture_of
from morl.learning.backends import MAX_UPDATES, make_runner
from morl.learning.optimizers import Adam, soft_update
from morl.learning.values import best_actions, critic_losses, pessimistic, select, utility
from morl.policy_files import PolicyData
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


class PDMORL:
    """MO-DDQN-HER on a batch of environments; satisfies `morl.protocols.Agent` and `UsesActionMasks`.

    Args:
        problem: the environment's spaces, objectives, discount and reference point.
        config: settings.
        seed: seed of the only learner, or a tuple of seeds, one for each learner.
        num_envs: environments of each learner; `learn` takes a vector environment of learners * num_envs.
        device: where networks and replay lie.

    Raises:
        ValueError: the actions are not discrete, `oracle_keys` is set and the true front is not known, or the backend
            does not support the device.
    """

    config_class = DiscreteConfig
    several_learners = True
    metric_descriptions = METRIC_DESCRIPTIONS
    uses_action_masks = True

    def __init__(
        self, problem: Problem, config: DiscreteConfig, seed: int | tuple[int, ...], num_envs: int, device: torch.device
    ) -> None:
        if not isinstance(problem.action_space, spaces.Discrete):
            raise ValueError(f"action_space of {problem.id} is {problem.action_space}, but must be Discrete")
        self.config = config
        self.num_envs = num_envs
        self.device = device
        self.discount = problem.discount if config.discount is None else config.discount
        self.num_objectives = problem.num_objectives
        self.num_actions = int(problem.action_space.n)
        self.first_action = int(problem.action_space.start)
        self.learners = Learners(seed, num_envs, device)
        grid = preference_grid(self.num_objectives, config.preference_divisions)
        self.episodes = Episodes(problem, self.learners, grid, one_hot=config.one_hot, image_size=config.image_size)
        self.replay = HindsightReplay(
            self.learners,
            capacity=config.buffer_size,
            observation_width=self.episodes.observation_width,
            action_width=1,
            num_objectives=self.num_objectives,
            draw_preferences=preference_distribution(config.relabel_from, grid),
            choices=self.num_actions if problem.action_masks else 0,
            pixels=self.episodes.pixels,
        )

        inputs = self.episodes.observation_width + self.num_objectives
        outputs = self.num_actions * self.num_objectives
        architecture = architecture_of(config, self.episodes.images, self.num_objectives)
        self.network = architecture.build("critic", inputs, outputs)
        streams = [torch.Generator().manual_seed(seed) for seed in self.learners.derived_seeds("network")]
        initial = torch.cat([self.network.initialize(config.critics, stream) for stream in streams])
        self.parameters = initial.to(device).requires_grad_()
        """[learner * critic, n]."""
        self.target_parameters = self.parameters.detach().clone()
        self.optimizer = Adam(self.parameters)
        self.run_updates = make_runner(device, config.backend)
        self.backend = self.run_updates.backend
        self.policy = ConditionedPolicy(problem, "action-values", config, architecture, device, ensemble=config.critics)

        self.exploration_exponents = 1.0 + config.exploration_spread * self.learners.env_levels()
        """[learner * env]."""
        self.steps = 0
        self.pretraining_steps = 0
        self.updates = 0
        self.latest_update: dict[str, Tensor] = {}
        """Loss [learner], values and preference [learner, batch, objective] of the latest update, for `metrics`."""
        reference_point = problem.reference_point
        origin = np.zeros(self.num_objectives) if reference_point is None else np.array(reference_point)
        self.origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        self.keys = KeyPreferences(origin, device, len(self.learners))
        self.next_key_update = config.key_update_steps
        if config.oracle_keys:
            if problem.known_front is None:
                raise ValueError(
                    f"oracle_keys is True, but the true front of {problem.id} is not known: set it to False"
                )
            self.keys.take_from(problem.known_front(self.discount))

    @staticmethod
    def schedules(config: DiscreteConfig, problem: Problem, total_steps: int) -> Mapping[str, int]:  # noqa: ARG004
        """Return the most steps of each schedule that leave most of a run for learning.

        Args:
            config: settings.
            problem: the environment.
            total_steps: environment steps of the run.
        """
        return {"random_exploration_steps": total_steps // 10, "exploration_steps": total_steps // 2}

    @staticmethod
    def memory(config: DiscreteConfig, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:  # noqa: ARG004
        """Return the memory of the replay of one learner.

        Args:
            config: settings.
            problem: the environment.
            num_envs: number of environments.
            total_steps: environment steps of the run.
        """
        return replay_memory(config, problem, 1, total_steps)

    def learn(self, envs: VectorEnvironment, total_steps: int, *evaluate: Evaluate) -> Iterator[None]:
        """Run MO-DDQN-HER; one iteration is one step of every environment, and the updates due after it.

        Args:
            envs: [learner * env].
            total_steps: environment steps of each learner, since the start of training.
            evaluate: one for each learner.
        """
        config = self.config
        if self.episodes.observations is None:
            self.episodes.start(envs, self.steps)
        while self.steps < total_steps:
            if self.steps >= self.next_key_update and not config.oracle_keys:
                self._measure_keys(evaluate)
            actions = self._explore()
            step = EnvStep._make(envs.step(actions + self.first_action))
            transitions = self.episodes.advance(actions[:, None], step)
            self.steps += self.num_envs
            batches = self.replay.add(transitions, self._choices(), ahead=self.episodes.inputs)
            if batches is not None:
                self._learn(batches)
            yield

    def update(self, batch: Batch) -> None:
        """Take one gradient step on the Huber losses of vectors Q(s, a, w) and of utilities w.Q, batch means.

        Args:
            batch: the columns of `Transitions` [learner, batch, width].
        """
        preferences = batch["preference"]
        targets = self.targets(batch).unsqueeze(1)
        values = self._q_values(self.parameters, torch.cat([batch["observation"], preferences], dim=-1))
        actions = batch["action"].squeeze(-1).long().unsqueeze(1).expand(values.shape[:3])
        predictions = select(values, actions)  # [learner, critic, batch, objective]
        weights = preferences.unsqueeze(1)
        errors = critic_losses(predictions, targets, weights, "huber", self.config.utility_loss)
        losses = errors.mean(dim=2).sum(dim=1)  # [learner]
        (gradient,) = torch.autograd.grad(losses.sum(), self.parameters)
        self.optimizer.step(gradient, self._learning_rate())
        soft_update(self.target_parameters, self.parameters, self.config.tau)
        self.updates += 1
        self.latest_update = {"loss": losses.detach(), "values": predictions[:, 0].detach(), "preference": preferences}

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """Return y = r + gamma (1 - d) Q'(s', a*, w) [learner, batch, objective] (paper, eq. 4 to 6).

        a* has the highest score S_c(I(w), Q'(s', a, w)) w.Q'(s', a, w) among the actions that s' allows. Of several
        critics, Q' is for each action the vector with the lowest utility.

        Args:
            batch: the columns of `Transitions` [learner, batch, width].
        """
        preferences = batch["preference"]
        next_states = torch.cat([batch["next_observation"], preferences], dim=-1)
        critics = self._q_values(self.target_parameters, next_states)
        next_values = pessimistic(critics, preferences.unsqueeze(2))  # [learner, batch, action, objective]
        next_actions = best_actions(self._target_scores(next_values, preferences), batch.get("next_mask"))
        continues = self.discount * (1.0 - batch["terminated"])
        return batch["reward"] + continues * select(next_values, next_actions)

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,  # noqa: ARG002  (there is one)
        learner: int = 0,
        masks: BoolArray | None = None,
    ) -> Actions:
        """Return the greedy actions argmax_a w.Q(s, a, w) [env], among the allowed ones.

        Args:
            observations: [env, ...] of the environment's observation space.
            preferences: [env, objective] w.
            policies: [env] 0 everywhere: one policy, conditioned on the preference.
            learner: whose network acts.
            masks: [env, choice] allowed choices; required where the environment gives masks.
        """
        parameters = self._parameters_of(learner)
        return self.policy.act(parameters, (learner, self.updates), observations, preferences, masks)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return policy 0 for every preference: it is conditioned on it.

        Args:
            preferences: [n, objective] the evaluation grid.
        """
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def all_parameters(self, learner: int = 0) -> list[Tensor]:
        """Return the parameters [critic, n] of the critics of a learner.

        Args:
            learner: number of the learner.
        """
        return [self.parameters[self._critics(learner)]]

    def metrics(self, learner: int = 0) -> dict[str, float]:
        """Return training metrics; called at logging time only. docs/agents/pd_morl.md explains each.

        Args:
            learner: number of the learner.
        """
        values = {"exploration_rate": self._exploration_rate(), "replay_size": float(len(self.replay))}
        return values | alignment_metrics(self.latest_update, self.keys, self.origin, learner)

    # --- Components ---------------------------------------------------------------------------------------------------

    def _choices(self) -> Choices | None:
        """Return the random numbers of the updates that are due after the latest step; None: there are none."""
        config = self.config
        due = self._updates_due()
        if due == 0:
            return None
        return self.replay.choose(
            due, config.batch_size, config.relabeled_share, config.preferences_per_transition, adding=self.num_envs
        )

    def _learn(self, drawn: HindsightBatches) -> None:
        """Take a gradient step for each batch, executed by the backend."""
        for start in range(0, len(drawn), MAX_UPDATES):
            part = slice(start, start + MAX_UPDATES)
            inputs = {"index": drawn.index[:, part], "preferences": drawn.preferences[:, part]}
            updates = self.updates + inputs["index"].shape[1]
            self.latest_update = self.run_updates(None, self._update_all, inputs)
            self.updates = updates  # a replayed graph counts nothing

    def _update_all(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take a gradient step for each batch; return what `metrics` shows of the last.

        Args:
            drawn: "index" [learner, update, batch], "preferences" [learner, update, batch, objective].
        """
        for batch in self.replay.gather(drawn["index"], drawn["preferences"]):
            self.update(batch)
        return self.latest_update

    def _measure_keys(self, evaluates: Sequence[Evaluate]) -> None:
        """Evaluate the keys with the learners' current policies."""
        self.keys.measure(evaluates, self.config.key_episodes)
        self.next_key_update += self.config.key_update_steps

    def _updates_due(self) -> int:
        """Return the number of updates that `updates_per_step` asks for and that are not done yet."""
        since_start = self.steps - self.config.learning_starts
        return max(0, ceil(since_start * self.config.updates_per_step) - self.updates)

    def _learning_rate(self) -> float:
        """Return Adam's step size alpha / (1 + k / h) after k updates; h is the half-life, infinite by default."""
        half_life = self.config.learning_rate_half_life
        decay = 1.0 if half_life is None else 1.0 / (1.0 + self.updates / half_life)
        return self.config.learning_rate * decay

    def _exploration_rates(self) -> FloatArray:
        """Return the probability [learner * env] of a random action, epsilon ** (1 + spread * f) (Ape-X, section 3)."""
        return np.power(self._exploration_rate(), self.exploration_exponents)

    def _exploration_rate(self) -> float:
        """Return epsilon: 1 in the random steps, then falling linearly."""
        config = self.config
        if self.steps < config.random_exploration_steps:
            return 1.0
        done = min(1.0, self.steps / config.exploration_steps)
        return config.exploration_start + done * (config.exploration_end - config.exploration_start)

    def _explore(self) -> IndexArray:
        """Return epsilon-greedy actions [learner * env], counted from 0: both kinds are allowed ones only."""
        random_actions = self.episodes.random_choices()
        random = self.learners.uniform() < self._exploration_rates()
        inputs = self.learners.staging.take(self.episodes.inputs())
        return np.where(random, random_actions, self._greedy(inputs["states"], inputs.get("allowed")))

    def _target_scores(self, values: Tensor, preferences: Tensor) -> Tensor:
        """Return the scores [learner, batch, action] by which the target chooses its action.

        Args:
            values: [learner, batch, action, objective] Q'(s', ., w).
            preferences: [learner, batch, objective] w.
        """
        if self.config.target_action == "utility":
            return utility(values, preferences.unsqueeze(-2))
        score = paper_score if self.config.target_action == "paper" else aligned_score
        return score(values, preferences, self.keys.directions(preferences), self.origin)

    def _q_values(self, parameters: Tensor, states: Tensor) -> Tensor:
        """Return Q(s, ., w) [learner, critic, batch, action, objective].

        Args:
            parameters: [learner * critic, n].
            states: [learner, batch, observation_width + objectives] (s, w).
        """
        values = self.network(parameters, states.repeat_interleave(self.config.critics, dim=0))
        return values.view(len(states), self.config.critics, -1, self.num_actions, self.num_objectives)

    @torch.no_grad()
    def _greedy(self, states: Tensor, allowed: Tensor | None) -> IndexArray:
        """Return argmax_a w.Q(s, a, w) [learner * env] among the allowed actions, where Q is the mean of the critics.

        Args:
            states: [learner, env, observation_width + objectives] (s, w).
            allowed: [learner, env, action]; None: all are.
        """
        values = self._q_values(self.parameters, states).mean(dim=1)
        preferences = states[..., -self.num_objectives :]
        utilities = utility(values, preferences.unsqueeze(2))
        actions: IndexArray = best_actions(utilities, allowed).flatten().cpu().numpy()
        return actions

    def _critics(self, learner: int) -> slice:
        """Return the rows of a learner in tensors [learner * critic, ...]."""
        return rows(learner, self.config.critics)

    def _parameters_of(self, learner: int) -> Tensor:
        """Return the parameters of all critics of a learner, one after the other."""
        return self.parameters[self._critics(learner)].flatten()

    # --- State --------------------------------------------------------------------------------------------------------

    _COUNTERS = ("steps", "pretraining_steps", "updates", "next_key_update")

    def state_dict(self, learner: int = 0) -> StateDict:
        """Return the complete state of one learner; it does not depend on the other learners.

        Args:
            learner: number of the learner.
        """
        critics = self._critics(learner)
        return {name: getattr(self, name) for name in self._COUNTERS} | {
            "parameters": self.parameters.detach()[critics],
            "target_parameters": self.target_parameters[critics],
            "optimizer": self.learners.rows_of(learner, self.optimizer.state_dict(), self.config.critics),
            "episodes": self.episodes.state_dict(learner),
            "replay": self.replay.state_dict(learner),
            "keys": self.keys.state_dict(learner),
            "latest_update": self.learners.rows_of(learner, self.latest_update),
        }

    def load_state_dict(self, state: StateDict, learner: int = 0) -> None:
        """Restore one learner from the result of `state_dict`, for the same problem, settings and `num_envs`.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        for name in self._COUNTERS:
            setattr(self, name, state[name])
        critics = self._critics(learner)
        self.parameters.data[critics] = state["parameters"]
        self.target_parameters[critics] = state["target_parameters"]
        self.learners.load_rows(learner, self.optimizer.state_dict(), state["optimizer"], self.config.critics)
        self.episodes.load_state_dict(state["episodes"], learner)
        self.replay.load_state_dict(state["replay"], learner)
        self.keys.load_state_dict(state["keys"], learner)
        self.learners.load_rows(learner, self.latest_update, state["latest_update"])
        self.policy.forget()

    def reset_episodes(self) -> None:
        """Start new episodes at the next step: for environments whose state cannot be saved."""
        self.episodes.observations = None

    def export_policies(self, learner: int = 0) -> dict[int, PolicyData]:
        """Return a copy of policy 0, the only one.

        Args:
            learner: number of the learner.
        """
        return {0: self.policy.data(self._parameters_of(learner))}
