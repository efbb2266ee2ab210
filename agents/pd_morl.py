"""PD-MORL: one network that serves every preference (Basaklar, Gumussoy, Ogras, ICLR 2023; arXiv 2208.07914).

The discrete variant, MO-DDQN-HER, in five lines:
  1. The network Q(s, a, w) takes the preference w as an input and predicts the *vector* of returns for each action.
  2. Acting is epsilon-greedy on the utility w.Q. Each lane keeps to its own part of the preference simplex.
  3. The target takes the action whose vector points best to where w should lead: cosine(I(w), Q) times utility w.Q.
  4. The interpolator I maps a preference to the direction of the return that solves it, from a few key preferences.
  5. Hindsight: a transition is also learnt from under other preferences; rewards are vectors, so nothing else changes.

Where this file departs from the authors' code, and why (docs/pd_morl.md has the list with measurements):
  - Replay holds raw transitions; preferences are redrawn at sample time. Same distribution, a quarter of the memory.
  - Time limits are bootstrapped through (the authors treat them as terminal).
  - Keys are estimated on line from the agent itself. `oracle_keys` takes them from the true front, as the authors do.
  - Cosines are taken from the reference point as origin. For Deep Sea Treasure that is the authors' shift by +19.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, smooth_l1_loss

from morl.agents.alignment import KeyPreferences, aligned_score, paper_score, utility
from morl.learning.networks import MultilayerPerceptron
from morl.learning.observations import encoder, final_observations
from morl.learning.optimiser import Adam, soft_update
from morl.learning.replay import Replay
from morl.preferences import finest_lattice, simplex_lattice
from morl.protocols import Evaluate, Problem
from morl.seeding import derived_seed, stream


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of MO-DDQN-HER. The authors' for Deep Sea Treasure by default, but for `target_action` and keys."""

    target_action: Literal["paper", "aligned", "utility"] = "aligned"
    """How the target chooses its action: by S_c w.Q as published, by the same from the reference point (which works
    for negative objectives), or by w.Q alone."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    learning_rate_half_life: float | None = None
    """Updates after which the step size is half, after three times as many a quarter (authors: constant)."""
    discount: float | None = None
    """Discount factor of learning; the environment's evaluation discount where not given."""
    batch_size: int = 32
    """Transitions per update."""
    updates_per_step: float = 1.0
    """Gradient updates per environment step."""
    hidden_widths: tuple[int, ...] = (256, 256, 256, 256)
    """Widths of the hidden layers (authors: 4 x 256, fruit tree 4 x 512)."""
    critics: int = 1
    """Networks that learn side by side (authors: 1). With more, the target takes for each action the vector of the one
    with the lowest utility, as in MO-TD3-HER, so that values do not grow on themselves where steps cost nothing."""
    one_hot: bool = False
    """Encode integer observations as one-hot, of the joint state where there are few (authors: raw integers)."""
    replay_capacity: int = 2_500
    """Raw transitions kept (authors: 10,000 entries, three quarters of them relabelled copies)."""
    relabelled_share: float = 0.75
    """Share of a batch whose preference is redrawn: N_w / (1 + N_w) with the authors' N_w = 3."""
    relabel_from: Literal["absolute-normal", "grid"] = "absolute-normal"
    """Where redrawn preferences come from: |z| / ||z||_1 as in the authors' code, which gives every objective
    some weight, or the grid that acting preferences are drawn from."""
    target_rate: float = 0.005
    """Rate of the target network's soft update, after every update (tau)."""
    random_steps: int = 640
    """Environment steps with uniformly random actions at the start (authors: 64 for each of 10 workers)."""
    learning_starts: int = 192
    """Environment steps before the first update (authors: 2 x batch x N_w)."""
    exploration_start: float = 0.8
    """Probability of a random action after the random steps."""
    exploration_end: float = 0.05
    """Probability of a random action in the end."""
    exploration_steps: int = 750_000
    """Environment steps over which the probability falls linearly (authors: 75,000 for each of 10 workers)."""
    preference_divisions: int | None = None
    """Resolution of the grid that acting preferences are drawn from (authors: 100, fruit tree 20); 100, or as fine as
    5,000 preferences allow, where not given."""
    oracle_keys: bool = False
    """Take the key returns from the known front, as the authors do, instead of estimating them on line."""
    key_update_steps: int = 5_000
    """Environment steps between two evaluations of the key preferences."""
    key_episodes: int = 1
    """Episodes of each key evaluation."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        shares = ("relabelled_share", "target_rate", "exploration_start", "exploration_end")
        for name in shares:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must lie between 0 and 1")
        counts = ("batch_size", "critics", "replay_capacity", "learning_starts", "exploration_steps")
        for name in (*counts, "key_update_steps", "key_episodes", "learning_rate", "updates_per_step"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, but must be finite and greater than 0")
        for name in ("learning_rate_half_life", "preference_divisions"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be greater than 0")
        if self.discount is not None and not 0.0 <= self.discount <= 1.0:
            raise ValueError(f"discount is {self.discount}, but must lie between 0 and 1")
        if not all(width > 0 for width in self.hidden_widths):
            raise ValueError(f"hidden_widths is {self.hidden_widths}, but every width must be greater than 0")


# --- The mathematics -------------------------------------------------------------------------------------------------


def select(values: Tensor, actions: Tensor) -> Tensor:
    """Return Q(s, a, w) [..., objective] out of values [..., action, objective] for actions [...]."""
    index = actions[..., None, None].expand(*actions.shape, 1, values.shape[-1])
    return values.gather(-2, index).squeeze(-2)


def pessimistic(values: Tensor, preferences: Tensor) -> Tensor:
    """Return for each action the vector of the critic with the lowest utility w.Q: [1, batch, action, objective].

    Args:
        values: [critic, batch, action, objective].
        preferences: [1, batch, objective] w.
    """
    if len(values) == 1:
        return values
    lowest = utility(values, preferences).argmin(dim=0, keepdim=True)
    return values.gather(0, lowest.unsqueeze(-1).expand(1, *values.shape[1:]))


def absolute_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return random preferences |z| / ||z||_1 with z ~ N(0, I): the hindsight distribution of the authors' code."""
    magnitudes = torch.randn(like.shape, generator=generator, device=like.device).abs_()
    return magnitudes / magnitudes.sum(dim=-1, keepdim=True)


# --- The algorithm ---------------------------------------------------------------------------------------------------


class PDMORL:
    """MO-DDQN-HER on a batch of environment lanes; satisfies `morl.protocols.Agent`."""

    config_class = Config

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        if not isinstance(problem.action_space, spaces.Discrete):
            raise ValueError(
                f"pd-morl needs a Discrete action space, but {problem.id} has {problem.action_space}"
                " (MO-TD3-HER for continuous actions is not in this version)"
            )
        self.config, self.seed, self.device = config, seed, device
        self.discount = problem.discount if config.discount is None else config.discount
        self.objectives, self.num_actions = problem.num_objectives, int(problem.action_space.n)
        self.first_action = int(problem.action_space.start)
        self.encode, self.width = encoder(problem.observation_space, config.one_hot)

        outputs = self.num_actions * self.objectives
        self.network = MultilayerPerceptron((self.width + self.objectives, *config.hidden_widths, outputs))
        weights = torch.Generator().manual_seed(derived_seed(seed, "network"))
        self.parameters = self.network.initialise(config.critics, weights).to(device).requires_grad_()
        self.target_parameters = self.parameters.detach().clone()
        self.optimiser = Adam(self.parameters)
        columns = {"observation": self.width, "action": 1, "reward": self.objectives}
        columns |= {"next_observation": self.width, "terminated": 1, "preference": self.objectives}
        self.replay = Replay(config.replay_capacity, columns, device)
        self.sampling = torch.Generator(device).manual_seed(derived_seed(seed, "replay"))
        self.exploration = stream(seed, "exploration")

        # Lane i explores the i-th part of the lexicographically sorted grid (the paper's sub-spaces).
        divisions = config.preference_divisions
        grid = simplex_lattice(self.objectives, divisions) if divisions else finest_lattice(self.objectives, 5_000)
        parts = np.array_split(np.arange(len(grid)), min(num_envs, len(grid)))
        self.part_starts = np.array([parts[lane % len(parts)][0] for lane in range(num_envs)])
        self.part_sizes = np.array([len(parts[lane % len(parts)]) for lane in range(num_envs)])
        self.grid = self._tensor(grid)
        self.steps = self.pretraining_steps = self.updates = 0
        self.observations: NDArray[np.float32] | None = None  # [lane, width]; None: episodes have not begun
        self.preferences = np.zeros((num_envs, self.objectives))  # [lane, objective], kept for a whole episode
        self.diagnostics: dict[str, Tensor] = {}
        origin = np.zeros(self.objectives) if problem.reference_point is None else np.array(problem.reference_point)
        self.origin = self._tensor(origin)
        self.keys = KeyPreferences(origin, device)
        self.next_key_update = config.key_update_steps
        if config.oracle_keys:
            if problem.known_front is None:
                raise ValueError(
                    f"oracle_keys is True, but the true front of {problem.id} is not known: set it to False"
                )
            self.keys.take_from(problem.known_front(self.discount))

    def learn(self, envs: VectorEnv[Any, Any, Any], total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run MO-DDQN-HER; one iteration is one step of every lane and the updates that it earns."""
        if self.observations is None:
            self._begin_episodes(envs)
        while self.steps < total_steps:
            if self.steps >= self.next_key_update and not self.config.oracle_keys:
                self.keys.measure(evaluate, self.config.key_episodes)
                self.next_key_update += self.config.key_update_steps
            actions = self._explore()
            observations, rewards, terminated, truncated, infos = envs.step(actions + self.first_action)
            self._remember(actions, rewards, observations, terminated, terminated | truncated, infos)
            self.steps += envs.num_envs
            while self.updates < (self.steps - self.config.learning_starts) * self.config.updates_per_step:
                self.update(self._sample())
            yield

    def update(self, batch: Mapping[str, Tensor]) -> None:
        """Take one gradient step on y = r + gamma (1 - d) Q'(s', a*, w), Huber loss over batch and objectives."""
        preferences = batch["preference"]
        with torch.no_grad():
            next_values = self._values(self.target_parameters, batch["next_observation"], preferences)
            next_values = pessimistic(next_values, preferences)
            directions = self.keys.directions(preferences)
            next_actions = self._score(next_values, preferences, directions).argmax(dim=-1)
            continues = self.discount * (1.0 - batch["terminated"])
            targets = batch["reward"] + continues * select(next_values, next_actions)
        values = self._values(self.parameters, batch["observation"], preferences)
        predictions = select(values, batch["action"].squeeze(-1).long().expand(len(values), -1))
        loss = smooth_l1_loss(predictions, targets.expand_as(predictions), reduction="none").mean(dim=(1, 2)).sum()
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        half_life = self.config.learning_rate_half_life
        decay = 1.0 if half_life is None else 1.0 / (1.0 + self.updates / half_life)
        self.optimiser.step(gradient, self.config.learning_rate * decay)
        soft_update(self.target_parameters, self.parameters, self.config.target_rate)
        self.updates += 1
        self.diagnostics = {"loss": loss.detach(), "predictions": predictions.detach(), "directions": directions}

    def act(
        self,
        observations: Any,
        preferences: NDArray[np.float64],
        policies: NDArray[np.int64],  # noqa: ARG002
    ) -> NDArray[np.int64]:
        """Return the greedy actions argmax_a w.Q(s, a, w) [env]; there is one policy, number 0, for all preferences."""
        return self._greedy(self.encode(observations), preferences) + self.first_action

    def policies(self, preferences: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return policy 0 for every preference of the evaluation grid: the network is conditioned on it."""
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def metrics(self) -> dict[str, float]:
        """Return what tells how learning goes; read only when it is logged. docs/pd_morl.md explains each."""
        values = {"exploration_rate": self._exploration_rate(), "replay_size": float(len(self.replay))}
        if self.diagnostics:
            predictions = self.diagnostics["predictions"]
            cosines = cosine_similarity(self.diagnostics["directions"], predictions - self.origin, dim=-1)
            values |= {
                "loss": self.diagnostics["loss"].item(),
                "q_magnitude": predictions.norm(dim=-1).mean().item(),
                "non_positive_cosines": (cosines <= 0).float().mean().item(),
                "angle_degrees": cosines.clamp(0.0, 0.9999).arccos().rad2deg().mean().item(),
            }
        return values

    # --- Collecting ---------------------------------------------------------------------------------------------------

    def _begin_episodes(self, envs: VectorEnv[Any, Any, Any]) -> None:
        observations, _ = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
        self.observations = self.encode(observations)
        self._draw_preferences(np.ones(envs.num_envs, dtype=np.bool_))

    def _draw_preferences(self, lanes: NDArray[np.bool_]) -> None:
        """Give each lane of a mask [lane] a new preference out of its part of the grid."""
        rows = self.part_starts + (self.exploration.random(len(lanes)) * self.part_sizes).astype(np.int64)
        self.preferences = np.where(lanes[:, None], self.grid.cpu().numpy()[rows], self.preferences)

    def _exploration_rate(self) -> float:
        if self.steps < self.config.random_steps:
            return 1.0
        done = min(1.0, self.steps / self.config.exploration_steps)
        return self.config.exploration_start + done * (self.config.exploration_end - self.config.exploration_start)

    def _explore(self) -> NDArray[np.int64]:
        assert self.observations is not None
        lanes = len(self.observations)
        random = self.exploration.random(lanes) < self._exploration_rate()
        random_actions = self.exploration.integers(self.num_actions, size=lanes)
        return np.where(random, random_actions, self._greedy(self.observations, self.preferences))

    def _remember(
        self,
        actions: NDArray[np.int64],
        rewards: NDArray[np.float64],
        observations: Any,
        terminated: NDArray[np.bool_],
        ended: NDArray[np.bool_],
        infos: Mapping[str, Any],
    ) -> None:
        """Store one transition per lane; where an episode ended, the next observation is the episode's last."""
        encoded = self.encode(observations)
        following = encoded
        if ended.any():
            following = encoded.copy()
            lanes = np.flatnonzero(ended)
            following[lanes] = self.encode(final_observations(infos, lanes))
        columns = {
            "observation": self.observations,
            "action": actions[:, None],
            "reward": rewards,
            "next_observation": following,
            "terminated": terminated[:, None],
            "preference": self.preferences,
        }
        self.replay.add(**{name: self._tensor(column)[None] for name, column in columns.items()})
        self.observations = encoded
        self._draw_preferences(ended)

    # --- Learning -----------------------------------------------------------------------------------------------------

    def _score(self, values: Tensor, preferences: Tensor, directions: Tensor) -> Tensor:
        """Return the score by which the target chooses its action [..., action]."""
        if self.config.target_action == "utility":
            return utility(values, preferences)
        score = paper_score if self.config.target_action == "paper" else aligned_score
        return score(values, preferences, directions, self.origin)

    def _values(self, parameters: Tensor, observations: Tensor, preferences: Tensor) -> Tensor:
        """Return Q(s, ., w) [critic, batch, action, objective] for observations and preferences [1, batch, ...]."""
        inputs = torch.cat([observations, preferences], dim=-1).expand(len(parameters), -1, -1)
        return self.network(parameters, inputs).view(*inputs.shape[:2], self.num_actions, self.objectives)

    @torch.no_grad()
    def _greedy(self, encoded: NDArray[np.float32], preferences: NDArray[np.float64]) -> NDArray[np.int64]:
        weights = self._tensor(preferences)[None]
        values = self._values(self.parameters, self._tensor(encoded)[None], weights)
        actions: NDArray[np.int64] = utility(values, weights).mean(dim=0).argmax(dim=-1).cpu().numpy()
        return actions

    def _sample(self) -> dict[str, Tensor]:
        """Return a batch in which a share of the preferences is redrawn (hindsight relabelling)."""
        batch = self.replay.sample(self.config.batch_size, self.sampling)
        kept = batch["preference"]
        chance = torch.rand((*kept.shape[:-1], 1), generator=self.sampling, device=self.device)
        relabel = chance < self.config.relabelled_share
        if self.config.relabel_from == "grid":
            rows = torch.randint(len(self.grid), kept.shape[:-1], generator=self.sampling, device=self.device)
            redrawn = self.grid[rows]
        else:
            redrawn = absolute_normal(kept, self.sampling)
        batch["preference"] = torch.where(relabel, redrawn, kept)
        return batch

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float32), device=self.device)

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs."""
        return {name: getattr(self, name) for name in self._PLAIN_STATE} | {
            "parameters": self.parameters.detach(),
            "target_parameters": self.target_parameters,
            "optimiser": self.optimiser.state_dict(),
            "keys": self.keys.state_dict(),
            "diagnostics": self.diagnostics,
            "replay": self.replay.state_dict(),
            "sampling": self.sampling.get_state(),
            "exploration": self.exploration.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned, for the same problem, settings and number of lanes."""
        for name in self._PLAIN_STATE:
            setattr(self, name, state[name])
        self.parameters.data.copy_(state["parameters"])
        self.target_parameters.copy_(state["target_parameters"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.replay.load_state_dict(state["replay"])
        self.sampling.set_state(state["sampling"])
        self.exploration.bit_generator.state = state["exploration"]
        self.keys.load_state_dict(state["keys"])
        self.diagnostics = state["diagnostics"]

    _PLAIN_STATE = (
        "steps",
        "pretraining_steps",
        "updates",
        "observations",
        "preferences",
        "next_key_update",
    )

    def forget_episodes(self) -> None:
        """Begin new episodes at the next step: for environments whose state cannot be saved."""
        self.observations = None

    def export_policies(self) -> dict[int, dict[str, Any]]:
        """Return what acting needs, by policy number."""
        return {0: {"parameters": self.parameters.detach().clone()}}

    def import_policies(self, policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Take over policies that `export_policies` returned; enough to act, not to go on learning."""
        self.parameters.data.copy_(policies[0]["parameters"])
