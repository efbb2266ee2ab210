"""Any algorithm of Stable-Baselines3 (or sb3-contrib) as the inner solver of MORL/D: `--agent.solver sb3:TQC`.

One model for each policy, which is rewarded with the weighted sum of rewards through
`morl.envs.backends.sb3.ScalarizedVecEnv`. A model steps the environments itself, so policies train one after another,
each in all sub-environments. Policies that are transferred, archived and saved are plain tensors; nothing is pickled.
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.exploration import ExplorationSchedule
from morl.agents.morl_d.solvers.protocol import SelfSteppingSolver
from morl.agents.morl_d.solvers.sb3_arguments import Schedule, constructor_arguments, find_algorithm, takes_masks
from morl.agents.morl_d.solvers.sb3_observations import Presentation
from morl.agents.morl_d.solvers.sb3_policies import acting_network, parameters_of
from morl.envs.backends.sb3 import ScalarizedVecEnv
from morl.learning.actions import BoundedActions
from morl.learning.observations import ObservationEncoder
from morl.policy_files import PolicySpec
from morl.protocols import BoolArray, FloatArray, IndexArray, Observations, Problem, StateDict, VectorEnvironment
from morl.seeding import derived_seed

COUNTERS: Final = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_total_timesteps",
    "_current_progress_remaining",
    "_n_calls",  # of DQN and its kin
    "exploration_rate",
)
REPLAY_COLUMNS: Final = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class StableBaselines:
    """One model for each policy; satisfies `morl.agents.morl_d.solvers.protocol.SelfSteppingSolver`.

    Args:
        name: class of the algorithm.
        problem: the environment.
        config: settings.
        observations: encoder of the observations.
        discount: of learning.
        num_envs: number of sub-environments.
        seed: of all random streams; Stable-Baselines3 draws from the global ones.
        device: where the models live.

    Raises:
        ValueError: the algorithm does not fit the environment, or its policy is no multilayer perceptron.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        config: Config,
        observations: ObservationEncoder,
        discount: float,
        num_envs: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.problem = problem
        self.device = device
        self.horizon = 1
        self.backend = "eager"
        self.box_actions = (
            BoundedActions(problem.action_space) if isinstance(problem.action_space, spaces.Box) else None
        )
        algorithm = find_algorithm(name)
        policies = range(config.population)
        arguments = [constructor_arguments(name, config, discount, num_envs, device) for _ in policies]
        try:
            self.presentation = Presentation.of(problem.observation_space, observations)
            flattened = self.presentation.unchanged and is_image_space(problem.observation_space)
            self.input_scale = 1.0 / 255.0 if flattened else 1.0
            envs = _SpacesOnly(num_envs, problem, self.presentation.space)
            self.models: list[BaseAlgorithm] = []
            for policy, own in zip(policies, arguments, strict=True):
                own["policy_kwargs"] = self.presentation.policy_kwargs | own["policy_kwargs"]
                model_seed = derived_seed(seed, "network", policy)
                self.models.append(algorithm(self.presentation.policy, envs, seed=model_seed, **own))
                self._start_schedules(self.models[-1], own)
        except (AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"solver is 'sb3:{name}', but it cannot act in {problem.id}: {error}") from error
        try:
            self.network = acting_network(self.models[0].policy)
        except ValueError as error:
            raise ValueError(
                f"solver is 'sb3:{name}', but its policies cannot be saved as plain layers: {error}"
            ) from error
        self._set_exploration(config)
        self.scaled = config.scale == "range"
        # MaskablePPO asks for masks unless it is told not to; other algorithms do not know the argument.
        self.learn_options: dict[str, Any] = {"use_masking": problem.action_masks} if takes_masks(name) else {}
        set_random_seed(derived_seed(seed, "learner"))
        self.members = {"actor": torch.stack([self._actor(policy) for policy in range(config.population)])}
        self.active = np.zeros(1, np.int64)
        self.preferences = torch.empty(0)
        self.running: int | None = None  # policy whose episodes the environments are in the middle of
        self.envs: _PresentedVecEnv | None = None
        self.restored_masks: BoolArray | None = None  # [env, choice] of the latest observations, after resuming

    def _set_exploration(self, config: Config) -> None:
        """Replace DQN's schedule, which depends on the length of each call of `learn`, by that of the settings."""
        schedule = ExplorationSchedule(config, greedy=True)
        for model in self.models:
            if hasattr(model, "exploration_schedule"):
                model.exploration_schedule = lambda _, model=model: float(schedule.decayed(model.num_timesteps))

    def _start_schedules(self, model: BaseAlgorithm, arguments: Mapping[str, object]) -> None:
        """Let the schedules among the arguments of a model follow its steps."""
        for value in arguments.values():
            if isinstance(value, Schedule):
                value.done = lambda: model.num_timesteps / self.horizon

    def _actor(self, policy: int) -> Tensor:
        """Return the parameters [n] that act, of one policy."""
        objectives = self.problem.num_objectives
        return parameters_of(self.models[policy].policy, objectives, self.box_actions, self.input_scale)

    def load(self, active: IndexArray, preferences: Tensor, bounds: Tensor, returns: Tensor) -> None:  # noqa: ARG002
        """Let one policy train, for preferences [1, objective]; on scale range, rewards are shares of it."""
        self.active = active
        self.preferences = preferences / (bounds[1] - bounds[0]) if self.scaled else preferences

    def store(self, rows: int | None = None) -> None:  # noqa: ARG002
        """Write the actor of the active policy to the members."""
        for policy in self.active.tolist():
            self.members["actor"][policy] = self._actor(policy)

    def replace(self, sources: IndexArray) -> None:
        """Replace every policy by a copy of the one it continues from, optimizers included."""
        states = {int(source): _parameters(self.models[source]) for source in set(sources.tolist())}
        for policy, source in enumerate(sources.tolist()):
            if policy != source:
                _set_parameters(self.models[policy], states[source])
                self.members["actor"][policy] = self._actor(policy)

    def run(self, envs: VectorEnvironment, max_steps: int) -> tuple[int, int]:
        """Train the active policy in all sub-environments; return environment steps and gradient updates.

        Args:
            envs: the vector environment.
            max_steps: environment steps; exceeded by less than one rollout.
        """
        policy = int(self.active[0])
        model = self.models[policy]
        weights = self.preferences[0].double().cpu().numpy()
        if self.envs is None or self.envs.envs is not envs:
            self.envs = _PresentedVecEnv(envs, weights, self.presentation)
            self.envs.masks = self.restored_masks
        self.envs.preference = weights
        if self.running != policy:  # new episodes, whose seeds do not depend on the steps of other policies
            self.envs.seed(derived_seed(int(model.seed or 0), "environments", model.num_timesteps))
        model.set_env(self.envs, force_reset=self.running != policy)
        steps = model.num_timesteps
        updates = model._n_updates
        model.learn(max_steps, reset_num_timesteps=False, **self.learn_options)
        self.running = policy
        return model.num_timesteps - steps, model._n_updates - updates

    def model_parameters(self) -> list[Tensor]:
        """Return all parameters of all models: actors, critics, target networks, and single ones (temperatures)."""
        networks = [list(model.policy.parameters()) for model in self.models]
        single = [[getattr(model, name) for name in model._get_torch_save_params()[1]] for model in self.models]
        return [tensor for tensors in (*networks, *single) for tensor in tensors]

    def metrics(self) -> dict[str, float]:
        """Return no metrics: Stable-Baselines3 has a logger of its own."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state for a checkpoint, the global random generators included."""
        numpy_state: object = np.random.get_state(legacy=False)  # noqa: NPY002
        return {
            "models": [_model_state(model) for model in self.models],
            "running": -1 if self.running is None else self.running,
            "masks": self.restored_masks if self.envs is None else self.envs.masks,
            "torch": torch.get_rng_state(),
            "device": self._device_generator(),
            "numpy": numpy_state,
            "members": self.members,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        for model, saved in zip(self.models, state["models"], strict=True):
            _load_model(model, saved)
        self.running = None if state["running"] < 0 else state["running"]
        self.restored_masks = state["masks"]
        torch.set_rng_state(state["torch"])
        if self._device_generator() is not None and state["device"] is not None:
            torch.get_device_module(self.device).set_rng_state(state["device"], self.device)
        np.random.set_state(state["numpy"])  # noqa: NPY002
        self.members["actor"].copy_(state["members"]["actor"])

    def _device_generator(self) -> Tensor | None:
        """Return the state of the global generator of a GPU, which actors there draw from; None on a CPU."""
        if self.device.type == "cpu":
            return None
        state: Tensor = torch.get_device_module(self.device).get_rng_state(self.device)
        return state

    def reset_episodes(self) -> None:
        """Reset the environments at the next step."""
        self.running = None


def build(
    name: str,
    problem: Problem,
    config: Config,
    observations: ObservationEncoder,
    discount: float,
    num_envs: int,
    seed: int,
    device: torch.device,
) -> tuple[SelfSteppingSolver, PolicySpec]:
    """Return a solver, and the specification of the policies that it trains; arguments as of `StableBaselines`."""
    solver = StableBaselines(name, problem, config, observations, discount, num_envs, seed, device)
    spec = PolicySpec(
        agent="morl-d",
        head=solver.network.head,
        hidden_sizes=solver.network.hidden_sizes,
        activation=solver.network.activation,
        image_size=config.image_size if observations.images else 0,
        image_layers=solver.network.image_layers,
        observation_space=solver.problem.observation_space,
        action_space=solver.problem.action_space,
        objectives=solver.problem.objectives,
        action_masks=solver.problem.action_masks,
    )
    return solver, spec


class _PresentedVecEnv(ScalarizedVecEnv):
    """The scalarized environments, whose observations are shown as an algorithm takes them.

    Args:
        envs: rewards [env, objective].
        preference: weights [objective].
        presentation: how observations are shown.
    """

    def __init__(self, envs: VectorEnvironment, preference: FloatArray, presentation: Presentation) -> None:
        super().__init__(envs, preference)
        self.presentation = presentation
        self.observation_space = presentation.space

    def reset(self) -> Observations:
        """Reset all environments and return the first observations."""
        return self.presentation.show(super().reset())

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all environments; return observations, weighted sums [env], ended episodes [env] and infos."""
        observations, rewards, dones, infos = super().step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = self.presentation.show_one(info["terminal_observation"])
        return self.presentation.show(observations), rewards, dones, infos


class _SpacesOnly(VecEnv):
    """A vector environment that has spaces and nothing else: a model is built on it before it trains."""

    def __init__(self, num_envs: int, problem: Problem, observation_space: spaces.Space[Any]) -> None:
        action_space = problem.action_space
        if isinstance(action_space, spaces.Discrete):  # as `ScalarizedVecEnv`: their actions count from zero
            action_space = spaces.Discrete(int(action_space.n))
        super().__init__(num_envs, observation_space, action_space)

    def reset(self) -> NoReturn:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def step_async(self, actions: object) -> NoReturn:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def step_wait(self) -> NoReturn:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""

    def get_attr(self, attr_name: str, indices: object = None) -> list[None]:  # noqa: ARG002
        """Return None for each environment: there are no attributes."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: object, indices: object = None) -> NoReturn:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: object, indices: object = None, **kwargs: object) -> NoReturn:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: object, indices: object = None) -> list[bool]:  # noqa: ARG002
        """Return False for each environment."""
        return [False] * self.num_envs


# --- Models as plain data ---------------------------------------------------------------------------------------------


def _parameters(model: BaseAlgorithm) -> dict[str, Any]:
    """Return copies of parameters, optimizers and single tensors (such as SAC's temperature)."""
    _, single = model._get_torch_save_params()
    parts = {name: _copied(part) for name, part in model.get_parameters().items()}
    return {"parts": parts, "single": {name: getattr(model, name).detach().clone() for name in single}}


def _set_parameters(model: BaseAlgorithm, state: StateDict) -> None:
    model.set_parameters(_copied(state["parts"]), device=model.device)
    for name, value in state["single"].items():
        getattr(model, name).data.copy_(value)


def _copied(state: object) -> Any:
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state.detach().clone() if isinstance(state, Tensor) else state


def _model_state(model: BaseAlgorithm) -> dict[str, Any]:
    state = _parameters(model) | {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
    state["last_observations"] = model._last_obs
    state["last_starts"] = getattr(model, "_last_episode_starts", None)
    state["action_space"] = model.action_space.np_random.bit_generator.state
    if isinstance(model, OffPolicyAlgorithm):
        replay = model.replay_buffer
        assert replay is not None
        used = replay.buffer_size if replay.full else replay.pos
        columns = {name: _first(getattr(replay, name), used) for name in REPLAY_COLUMNS if hasattr(replay, name)}
        state["replay"] = {**columns, "pos": replay.pos, "full": replay.full}
        state["last_original"] = model._last_original_obs
    return state


def _first(rows: Any, count: int) -> Any:
    """Return the first rows of an array, or of each array of a dict."""
    return {key: part[:count] for key, part in rows.items()} if isinstance(rows, Mapping) else rows[:count]


def _load_model(model: BaseAlgorithm, state: StateDict) -> None:
    _set_parameters(model, state)
    for name in COUNTERS:
        if name in state:
            setattr(model, name, state[name])
    model._last_obs = state["last_observations"]
    model._last_episode_starts = state["last_starts"]
    model.action_space.np_random.bit_generator.state = state["action_space"]
    if isinstance(model, OffPolicyAlgorithm):
        replay = model.replay_buffer
        assert replay is not None
        columns = dict(state["replay"])
        replay.pos = columns.pop("pos")
        replay.full = columns.pop("full")
        for name, rows in columns.items():
            parts = rows if isinstance(rows, Mapping) else {"": rows}
            for key, part in parts.items():
                held = getattr(replay, name)
                (held[key] if isinstance(rows, Mapping) else held)[: len(part)] = part
        model._last_original_obs = state["last_original"]
