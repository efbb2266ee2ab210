"""Base class of all vector environments, and the guard around single ones that validates what they return."""

import inspect

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv, VectorWrapper

from morl.envs.core.outcomes import Fault, InvalidOutcome, MaskCheck, observation_check, reward_fault
from morl.envs.core.types import (
    Action,
    ActionBatch,
    Array,
    Env,
    Info,
    Observation,
    ObservationBatch,
    Options,
    SavedState,
    Seed,
    Step,
)
from morl.protocols import StateDict


class MultiObjectiveVectorEnv(VectorEnv[ObservationBatch, ActionBatch, Array]):
    """Gymnasium's VectorEnv with float64 rewards [env, objective], same-step autoreset and a state that can be saved.

    `metadata["backend"]` names the backend.
    """

    num_objectives: int
    objectives: tuple[str, ...]
    first_seed: int | None = None
    """Seed of the first `reset()` that is not given one."""

    def drew_nothing(self) -> bool:
        """Return whether no random number is known to have been drawn since the latest seeds were given."""
        return False

    def state_dict(self) -> SavedState:
        """Return all that the next steps depend on, as nested dicts and lists of arrays, numbers and strings.

        Raises:
            StateNotCapturable: an environment that holds something that cannot be saved, a Box2D world for example.
        """
        raise NotImplementedError

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken, in an environment built with the same arguments."""
        raise NotImplementedError


class MultiObjectiveVectorWrapper(VectorWrapper[ObservationBatch, ActionBatch, Array], MultiObjectiveVectorEnv):
    """Base class of wrappers around vector environments with vector rewards: all calls are passed on.

    Args:
        env: the environments.
    """

    def __init__(self, env: MultiObjectiveVectorEnv) -> None:
        super().__init__(env)
        self.num_objectives = env.num_objectives
        self.objectives = env.objectives
        self.metadata = env.metadata
        self.first_seed = env.first_seed

    @property
    def inner(self) -> MultiObjectiveVectorEnv:
        """Return the environments inside."""
        assert isinstance(self.env, MultiObjectiveVectorEnv)
        return self.env

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments."""
        return self.inner.reset(seed=seed, options=options)  # type: ignore[arg-type] # it takes lists too

    def state_dict(self) -> SavedState:
        """Return the state of the environments."""
        return self.inner.state_dict()

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken."""
        self.inner.load_state_dict(saved)


class OutcomeGuard(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Validates what an environment returns and copies it, naming id, environment, seed and step of what is wrong.

    Rewards become float64 [objective]. Observations and infos are copies, so that an environment may return the same
    array each time.

    Args:
        env: the environment.
        env_id: its id, for messages.
        index: its number in the vector environment, for messages.
        num_objectives: length of the reward vector.
    """

    def __init__(self, env: Env, env_id: str, index: int, num_objectives: int) -> None:
        super().__init__(env)
        _check_reset_arguments(env, env_id)
        self.env_id = env_id
        self.index = index
        self.num_objectives = num_objectives
        self.last_seed: int | None = None
        self.steps = 0
        self.check_observation = observation_check(env.observation_space)
        self.check_mask = MaskCheck(env.action_space)

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Reset, remembering the seed for messages, and check what is returned."""
        if seed is not None:
            self.last_seed = seed
            self.steps = 0
        result: object = self.env.reset(seed=seed, options=options)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            raise InvalidOutcome(self._sentence("result of reset", "must be (observation, info)" + _got(result)))
        return self._checked(result[0], result[1], terminated=False)

    def step(self, action: Action) -> Step:
        """Step, and check what is returned."""
        result: object = self.env.step(action)
        self.steps += 1
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            wanted = "must be (observation, reward, terminated, truncated, info)"
            raise InvalidOutcome(self._sentence("result of step", wanted + _got(result)))
        observation, reward, terminated, truncated, info = result
        try:
            given = np.asarray(reward)
        except ValueError:  # lists of different lengths
            given = np.array(None)
        if given.dtype.kind not in "biuf":
            fault = f"must be {self.num_objectives} real numbers{_got(reward)}"
            raise InvalidOutcome(self._sentence("reward", fault))
        vector = np.array(given, dtype=np.float64)
        fault = reward_fault(vector, self.num_objectives)
        if fault:
            raise InvalidOutcome(self._sentence("reward", fault))
        observation, info = self._checked(observation, info, terminated=bool(terminated))
        return observation, vector, terminated, truncated, info

    def drew_nothing(self) -> bool:
        """Return whether the environment's generator is as its latest seed made it."""
        if self.last_seed is None:
            return False
        fresh, _ = seeding.np_random(self.last_seed)
        return bool(self.unwrapped.np_random.bit_generator.state == fresh.bit_generator.state)

    def _checked(self, observation: Observation, info: Info, terminated: bool) -> tuple[Observation, Info]:
        try:
            observation = self.check_observation(observation)
            info = self.check_mask(info, terminated)
        except Fault as fault:
            subject, _, rest = str(fault).partition(" ")
            raise InvalidOutcome(self._sentence(subject, rest)) from None
        return observation, copied(info)

    def _sentence(self, subject: str, fault: str) -> str:
        """Return the one sentence that names the subject, where it was returned, and what is wrong with it."""
        seed = "" if self.last_seed is None else f", seed {self.last_seed}"
        return f"{self.env_id}: the {subject} at step {self.steps} of environment {self.index}{seed} {fault}"


def _check_reset_arguments(env: Env, env_id: str) -> None:
    """Raise ValueError where `reset` does not take the arguments that Gymnasium has had since gym 0.26."""
    parameters = inspect.signature(env.unwrapped.reset).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    missing = [] if takes_any else [name for name in ("seed", "options") if name not in parameters]
    if missing:
        lacking = " and no ".join(missing)
        raise ValueError(
            f"{env_id}: its reset must take seed= and options=, as Gymnasium's does, but takes no {lacking}"
        )


def _got(result: object) -> str:
    """Return what was returned instead of the tuple that the contract asks for."""
    if isinstance(result, tuple):
        return f", got {len(result)} values: {result!r:.100}"
    return f", got {result!r:.100}"


def copied(value: Observation) -> Observation:
    """Return a copy of nested dicts, tuples and lists with copies of the arrays inside."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(copied(item) for item in value)
    return value.copy() if isinstance(value, np.ndarray) else value
