"""TD3 (Fujimoto, van Hoof, Meger, ICML 2018; arXiv 1802.09477) with vector critics, for a whole population at once.

Critics predict vectors of returns; a preference w turns them into the utility w.Q that actors climb. With states that
include w it is the core of PD-MORL's MO-TD3-HER; with one w per policy it is a solver of MORL/D.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from morl.learning.backends.numba.td3 import CompiledUpdates, can_compile
from morl.learning.backends.numba.td3_kernel import WAY_BACK
from morl.learning.networks import MultilayerPerceptron
from morl.learning.optimizers import Adam, clip_norms, soft_update
from morl.learning.sampled_batches import SampledBatches
from morl.learning.values import angle_degrees, pessimistic, utility


@dataclass(frozen=True, kw_only=True)
class TD3Settings:
    """What stays the same over all updates; see `morl.agents.pd_morl.config.Config` for what each one means."""

    hidden_sizes: tuple[int, ...]
    discount: float
    learning_rate: float = 3e-4
    tau: float = 0.005
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    max_grad_norm: float = float("inf")
    loss: Literal["huber", "squared"] = "squared"
    layer_norm: bool = False
    action_gradient: Literal["tanh", "leaky"] = "tanh"
    actor_starts: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    critic_angle: float = 0.0
    actor_angle: float = 0.0


def smoothed(actions: Tensor, noise: Tensor, clip: float) -> Tensor:
    """Return clip(a + clip(noise, -c, c), -1, 1): target policy smoothing."""
    return (actions + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)


def leaky(slopes: Tensor, actions: Tensor) -> Tensor:
    """Return the slopes of a loss behind actions = tanh(x), by those at the actions; never lost on the way back.

    The derivative of tanh is 1 - a^2: an actor that an early, wrong critic has driven to the end of its range could
    hardly turn round. A slope that leads back from there counts at least `WAY_BACK`. (Inverting gradients, Hausknecht
    and Stone 2016, arXiv 1511.04143, weigh every slope by the room ahead; that draws actors away from the ends.)
    """
    derivative = 1.0 - actions.square()
    return slopes * torch.where(slopes * actions > 0, derivative.clamp(min=WAY_BACK), derivative)


class TD3:
    """PolicyBank pi(s) and twin critics Q_i(s, a) of a population, their targets and optimizers.

    Actions lie in [-1, 1]. Parameters are flat rows: actors [policy, n], critics [policy * 2, n], two by two.

    Args:
        state_width: numbers that make a state, the preference included where networks are conditioned on it.
        action_width: numbers that make an action.
        objectives: length of the reward vector.
        settings: see there.
        initial_seeds: one for each policy: of its first parameters.
        device: where the networks live.
    """

    def __init__(
        self,
        state_width: int,
        action_width: int,
        objectives: int,
        settings: TD3Settings,
        initial_seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        self.settings, self.policies = settings, len(initial_seeds)
        dtype = getattr(torch, settings.precision)
        self.actor = MultilayerPerceptron((state_width, *settings.hidden_sizes, action_width), inner_dtype=dtype)
        widths = (state_width + action_width, *settings.hidden_sizes, objectives)
        self.critic = MultilayerPerceptron(widths, settings.layer_norm, dtype)
        actors, critics = [], []
        for seed in initial_seeds:
            generator = torch.Generator().manual_seed(seed)
            actors.append(self.actor.initialize(1, generator))
            critics.append(self.critic.initialize(2, generator))
        self.actors = torch.cat(actors).to(device).requires_grad_()
        self.critics = torch.cat(critics).to(device).requires_grad_()
        self.target_actors = self.actors.detach().clone()
        self.target_critics = self.critics.detach().clone()
        self.actor_optimizer, self.critic_optimizer = Adam(self.actors), Adam(self.critics)
        self.updates = 0
        self.compiled = CompiledUpdates(self) if can_compile(self) else None

    @torch.no_grad()
    def act(self, states: Tensor, actors: Tensor | None = None) -> Tensor:
        """Return the deterministic actions [policy, batch, action_width] for states [policy, batch, state_width].

        Those of all policies, or of the rows of `actors` or `target_actors` that are given.
        """
        return self.actor(self.actors if actors is None else actors, states).tanh()

    def values(self, parameters: Tensor, states: Tensor, actions: Tensor) -> Tensor:
        """Return Q_i(s, a) [policy, critic, batch, objective]."""
        inputs = torch.cat([states, actions], dim=-1).repeat_interleave(len(parameters) // self.policies, dim=0)
        values = self.critic(parameters, inputs)
        return values.view(self.policies, -1, *values.shape[1:])

    def learn(self, draws: SampledBatches) -> dict[str, Tensor]:
        """Take all updates that were drawn; return what `update` returns, of the last."""
        if self.compiled is not None:
            return self.compiled(draws)
        looked_at: dict[str, Tensor] = {}
        for batch in draws.batches():
            looked_at = self._update(batch)
        return looked_at

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take one gradient step of the critics and, every `policy_delay` updates, of actors and targets.

        Args:
            batch: state and next_state [policy, batch, state_width]; action and noise (standard normal)
                [policy, batch, action_width]; reward and weight (the w of utilities) [policy, batch, objective];
                continues [policy, batch, 1], 0 where nothing is bootstrapped; direction [policy, batch, objective]
                and origin [policy, 1, objective], without which no angle is in the losses.

        Returns:
            Detached tensors to look at: loss [policy] of the critics, values [policy, batch, objective] of the first.
        """
        return self._update(batch) if self.compiled is None else self.compiled(SampledBatches.of(batch))

    def _update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        settings = self.settings
        with torch.no_grad():
            targets = self.targets(batch)
        values = self.values(self.critics, batch["state"], batch["action"])
        error = smooth_l1_loss if settings.loss == "huber" else mse_loss
        errors = error(values, targets.unsqueeze(1).expand_as(values), reduction="none").mean(dim=-1)
        if settings.critic_angle > 0.0 and "direction" in batch:
            direction, origin = batch["direction"].unsqueeze(1), batch["origin"].unsqueeze(1)
            errors = errors + settings.critic_angle * angle_degrees(direction, values - origin)
        losses = errors.mean(dim=-1).sum(dim=-1)  # [policy]: mean over the batch, sum over critics
        (gradient,) = torch.autograd.grad(losses.sum(), self.critics)
        clip_norms(gradient.view(self.policies, -1), settings.max_grad_norm)
        self.critic_optimizer.step(gradient, settings.learning_rate)
        self.updates += 1
        if self.updates % settings.policy_delay == 0:
            self._update_actors(batch)
        return {"loss": losses.detach(), "values": values[:, 0].detach()}

    def targets(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return y = r + gamma Q'_i(s', a') [policy, batch, objective], i the critic with the lower utility at a'."""
        settings, states = self.settings, batch["next_state"]
        noise = settings.target_noise * batch["noise"]
        actions = smoothed(self.actor(self.target_actors, states).tanh(), noise, settings.target_noise_clip)
        values = pessimistic(self.values(self.target_critics, states, actions), batch["weight"])
        return batch["reward"] + settings.discount * batch["continues"] * values

    def actor_rate(self) -> float:
        """Return the learning rate of the actors: none until update `actor_starts`, so that critics learn first."""
        return self.settings.learning_rate if self.updates > self.settings.actor_starts else 0.0

    def _update_actors(self, batch: Mapping[str, Tensor]) -> None:
        """Take one step on the loss -w.Q_1(s, pi(s)) plus angle, then move the targets."""
        first_critics = self.critics.detach()[::2]
        proposed = self.actor(self.actors, batch["state"])
        actions = proposed.tanh()
        values = self.values(first_critics, batch["state"], actions).squeeze(1)
        losses = -utility(values, batch["weight"])
        if self.settings.actor_angle > 0.0 and "direction" in batch:
            losses = losses + self.settings.actor_angle * angle_degrees(batch["direction"], values - batch["origin"])
        loss = losses.mean(dim=-1).sum()
        if self.settings.action_gradient == "tanh":
            (gradient,) = torch.autograd.grad(loss, self.actors)
        else:
            (slopes,) = torch.autograd.grad(loss, actions, retain_graph=True)
            (gradient,) = torch.autograd.grad(proposed, self.actors, leaky(slopes, actions.detach()))
        clip_norms(gradient, self.settings.max_grad_norm)
        self.actor_optimizer.step(gradient, self.actor_rate())
        soft_update(self.target_actors, self.actors, self.settings.tau)
        soft_update(self.target_critics, self.critics, self.settings.tau)

    def state_dict(self, policies: slice = slice(None)) -> dict[str, Any]:
        """Return parameters, targets and optimizer states of some policies or all; views, not copies."""
        start, stop, _ = policies.indices(self.policies)
        rows = {"actors": policies, "critics": slice(2 * start, 2 * stop)}
        state: dict[str, Any] = {"updates": self.updates}
        for role, mine in rows.items():
            optimizer = self.actor_optimizer if role == "actors" else self.critic_optimizer
            state[role] = getattr(self, role).detach()[mine]
            state[f"target_{role}"] = getattr(self, f"target_{role}")[mine]
            state[f"{role}_optimizer"] = {name: tensor[mine] for name, tensor in optimizer.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any], policies: slice = slice(None)) -> None:
        """Take over a state that `state_dict` returned; all policies must come from the same update."""
        self.updates = state["updates"]
        for name, mine in self.state_dict(policies).items():
            if isinstance(mine, Tensor):
                mine.copy_(state[name])
            elif isinstance(mine, dict):
                for part, tensor in mine.items():
                    tensor.copy_(state[name][part])
