"""Any algorithm of Stable-Baselines3 (or sb3-contrib) as the inner solver of MORL/D: `--agent.solver sb3:TQC`.

One model for each policy, paid the weighted sum of rewards through `morl.envs.backends.sb3.ScalarizedVecEnv`. A model steps the
environments itself, so policies train one after another, each in all lanes. What transfers, is archived and is saved
are plain tensors; nothing is pickled.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.exploration import exploration_rate
from morl.envs.backends.sb3 import ScalarizedVecEnv
from morl.learning.actions import BoundedActions
from morl.protocols import Problem
from morl.seeding import derived_seed

Indices = NDArray[np.int64]
COUNTERS = (
    *("num_timesteps", "_n_updates", "_episode_num", "_total_timesteps", "_current_progress_remaining"),
    *("_n_calls", "exploration_rate"),  # of DQN and its kin
)
RING = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def find_algorithm(name: str) -> Any:
    """Return the class of an algorithm by name, of stable_baselines3 or sb3_contrib.

    Raises:
        ValueError: there is none of that name, or sb3_contrib would be needed and is not installed.
    """
    found = getattr(stable_baselines3, name, None)
    if found is None:
        try:
            found = getattr(import_module("sb3_contrib"), name, None)
        except ImportError:
            raise ValueError(
                f"solver is 'sb3:{name}', but stable_baselines3 has no {name} and sb3_contrib is not installed"
            ) from None
    if found is None or not hasattr(found, "learn"):
        raise ValueError(f"solver is 'sb3:{name}', but neither stable_baselines3 nor sb3_contrib has {name}")
    return found


class StableBaselines:
    """One model for each policy; satisfies what `morl.agents.morl_d.agent` asks of a solver that steps environments itself.

    Args:
        name: class of the algorithm.
        problem: the environment.
        config: resolved settings.
        discount: of learning.
        num_envs: number of lanes.
        seed: of all random streams; Stable-Baselines3 draws from the global ones.
        device: where the models live.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        config: Config,
        discount: float,
        num_envs: int,
        seed: int,
        device: torch.device,
    ) -> None:
        algorithm = find_algorithm(name)
        self.box: Any = problem.observation_space
        continuous = isinstance(problem.action_space, spaces.Box)
        self.ranges = BoundedActions(problem.action_space) if continuous else None
        stub = _Spaces(num_envs, problem)
        options = {
            "learning_rate": config.actor_learning_rate,
            "gamma": discount,
            "device": device,
            "verbose": 0,
            "batch_size": config.batch_size,
            "buffer_size": config.buffer_size,
            "train_freq": 1,
            "learning_starts": config.learning_starts,
            "policy_kwargs": {"net_arch": list(config.hidden_sizes)},
            "gradient_steps": max(1, round(config.updates_per_step * num_envs)),
        }
        if not issubclass(algorithm, OffPolicyAlgorithm):
            options["n_steps"] = config.rollout_steps  # there the same word means returns of that many steps
        taken = inspect.signature(algorithm.__init__).parameters
        options = {key: value for key, value in options.items() if key in taken}
        seeds = [derived_seed(seed, "network", number) for number in range(config.population)]
        try:
            self.models = [algorithm("MlpPolicy", stub, seed=number, **options) for number in seeds]
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"solver is 'sb3:{name}', but it cannot act in {problem.id}: {error}") from error
        self.scaled, rate = config.scale == "range", exploration_rate(config, greedy=True)
        for model in self.models:
            if hasattr(model, "exploration_schedule"):  # theirs depends on when `learn` is asked to stop
                model.exploration_schedule = lambda _, model=model: float(rate(model.num_timesteps))
        options |= {"buffer_size": 1} if "buffer_size" in taken else {}
        self.template = algorithm("MlpPolicy", stub, seed=0, **options)
        set_random_seed(derived_seed(seed, "learner"))
        self.members = {"actor": torch.stack([_flat(_acting_part(model)) for model in self.models])}
        self.active, self.preferences = np.zeros(1, np.int64), torch.empty(0)
        self.running: int | None = None  # whose episodes the lanes are in the middle of
        self.lanes: ScalarizedVecEnv | None = None

    def load(self, active: Indices, preferences: Tensor, bounds: Tensor, values: Tensor) -> None:  # noqa: ARG002
        """Let one policy train, for preferences [1, objective]; on scale range, paid shares of it."""
        span = bounds[1] - bounds[0]
        self.active, self.preferences = active, preferences / span if self.scaled else preferences

    def store(self, rows: int | None = None) -> None:  # noqa: ARG002
        """Write the actor of the policy that trains to the members."""
        for policy in self.active.tolist():
            self.members["actor"][policy] = _flat(_acting_part(self.models[policy]))

    def replace(self, sources: Indices) -> None:
        """Replace every policy by a copy of the one it continues from; optimizers come along."""
        states = {int(source): _parameters(self.models[source]) for source in set(sources.tolist())}
        for policy, source in enumerate(sources.tolist()):
            if policy != source:
                _set_parameters(self.models[policy], states[source])
                self.members["actor"][policy] = _flat(_acting_part(self.models[policy]))

    def ready(self, sources: Indices) -> NDArray[np.bool_]:
        """Return that no policy learns without acting."""
        return np.zeros(len(sources), dtype=np.bool_)

    def run(self, envs: VectorEnv[Any, Any, Any], most: int) -> tuple[int, int]:
        """Train the active policy for about `most` steps in all lanes; return steps taken and gradient updates made."""
        policy = int(self.active[0])
        model, weights = self.models[policy], self.preferences[0].double().cpu().numpy()
        if self.lanes is None or self.lanes.envs is not envs:
            self.lanes = ScalarizedVecEnv(envs, weights)
        self.lanes.preference = weights
        if self.running != policy:  # begins new episodes: their seeds do not depend on what the lanes did before
            self.lanes.seed(derived_seed(int(model.seed), "environments", model.num_timesteps))
        model.set_env(self.lanes, force_reset=self.running != policy)
        steps, updates = model.num_timesteps, model._n_updates
        model.learn(most, reset_num_timesteps=False)
        self.running = policy
        return model.num_timesteps - steps, model._n_updates - updates

    def greedy(self, actors: Tensor, observations: Tensor, preferences: Tensor, bounds: Tensor) -> Tensor:  # noqa: ARG002
        """Return the deterministic actions [policy, batch, width] of any actors [policy, n]."""
        actions = []
        part = _acting_part(self.template)
        for actor, rows in zip(actors, observations, strict=True):
            _fill(part, actor)
            shaped = rows.cpu().numpy().reshape(-1, *self.box.shape).astype(self.box.dtype)
            found, _ = self.template.predict(shaped, deterministic=True)
            flat = found.reshape(len(rows), -1)
            if self.ranges is not None:  # the caller maps [-1, 1] to the environment's box
                flat = (flat - self.ranges.centre) / self.ranges.half_range
            actions.append(torch.as_tensor(flat))
        return torch.stack(actions)

    def metrics(self) -> dict[str, float]:
        """Return nothing: Stable-Baselines3 logs for itself."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return all that exact resuming needs, the global random generators included."""
        numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
        return {
            "models": [_model_state(model) for model in self.models],
            "running": -1 if self.running is None else self.running,
            "torch": torch.get_rng_state(),
            "numpy": numpy_state,
            "members": self.members,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        for model, saved in zip(self.models, state["models"], strict=True):
            _load_model(model, saved)
        self.running = None if state["running"] < 0 else state["running"]
        torch.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        self.members["actor"].copy_(state["members"]["actor"])

    def reset_episodes(self) -> None:
        """Begin new episodes at the next step."""
        self.running = None


class _Spaces(VecEnv):
    """Lanes that have spaces and nothing else: what a model is built on before it trains."""

    def __init__(self, num_envs: int, problem: Problem) -> None:
        action_space: Any = problem.action_space
        if isinstance(action_space, spaces.Discrete):  # as `ScalarizedVecEnv`: their policies count from zero
            action_space = spaces.Discrete(int(action_space.n))
        super().__init__(num_envs, problem.observation_space, action_space)

    def reset(self) -> Any: ...
    def step_async(self, actions: Any) -> None: ...
    def step_wait(self) -> Any: ...
    def close(self) -> None: ...
    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:  # noqa: ARG002
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...
    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:  # noqa: ARG002
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:  # noqa: ARG002
        return [False] * self.num_envs


# --- Models as plain data ---------------------------------------------------------------------------------------------


def _acting_part(model: Any) -> Any:
    """Return the module that acting needs: the actor or the Q-network where there is one, else the whole policy."""
    return getattr(model.policy, "actor", None) or getattr(model.policy, "q_net", None) or model.policy


def _flat(module: Any) -> Tensor:
    return torch.cat([value.detach().float().flatten() for value in module.state_dict().values()]).cpu()


def _fill(module: Any, flat: Tensor) -> None:
    start = 0
    for value in module.state_dict().values():
        value.copy_(flat[start : start + value.numel()].view_as(value))
        start += value.numel()


def _parameters(model: Any) -> dict[str, Any]:
    """Return copies of parameters, optimizers and single tensors (such as SAC's temperature)."""
    _, single = model._get_torch_save_params()
    parts = {name: _copied(part) for name, part in model.get_parameters().items()}
    return {"parts": parts, "single": {name: getattr(model, name).detach().clone() for name in single}}


def _set_parameters(model: Any, state: Mapping[str, Any]) -> None:
    model.set_parameters(_copied(state["parts"]), device=model.device)
    for name, value in state["single"].items():
        getattr(model, name).data.copy_(value)


def _copied(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state.detach().clone() if isinstance(state, Tensor) else state


def _model_state(model: Any) -> dict[str, Any]:
    state = _parameters(model) | {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
    state |= {"last_observations": model._last_obs, "last_starts": getattr(model, "_last_episode_starts", None)}
    state["action_space"] = model.action_space.np_random.bit_generator.state
    if isinstance(model, OffPolicyAlgorithm):
        ring: Any = model.replay_buffer
        used = ring.buffer_size if ring.full else ring.pos
        state["ring"] = {name: getattr(ring, name)[:used] for name in RING if hasattr(ring, name)}
        state["ring"] |= {"pos": ring.pos, "full": ring.full}
        state["last_original"] = model._last_original_obs
    return state


def _load_model(model: Any, state: Mapping[str, Any]) -> None:
    _set_parameters(model, state)
    for name in COUNTERS:
        if name in state:
            setattr(model, name, state[name])
    model._last_obs, model._last_episode_starts = state["last_observations"], state["last_starts"]
    model.action_space.np_random.bit_generator.state = state["action_space"]
    if "ring" in state:
        ring, saved = model.replay_buffer, dict(state["ring"])
        ring.pos, ring.full = saved.pop("pos"), saved.pop("full")
        for name, rows in saved.items():
            getattr(ring, name)[: len(rows)] = rows
        model._last_original_obs = state["last_original"]
