"""Environments and agents that the tests train with, and how two runs are compared. On the path through conftest.py."""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

import morl.envs
from morl.experiment import checkpoint
from morl.experiment.components import find_task
from morl.experiment.ownership import OwnedFolder
from morl.experiment.session import Session
from morl.experiment.settings import resolve_sources
from morl.learning.observations import encoder
from morl.policy_files import PolicyData, PolicySpec
from morl.seeding import stream

STEPS: dict[str, int] = {}
"""How often each environment was really stepped, by name: to recount what a run says."""

TINY: dict[str, Any] = {
    "hidden_sizes": (16,),
    "batch_size": 8,
    "updates_per_step": 0.2,
    "random_exploration_steps": 20,
    "learning_starts": 16,
    "key_update_steps": 70,
    "buffer_size": 100,
    "exploration_steps": 200,
    "preference_divisions": 6,
}
TINY_CONTINUOUS: dict[str, Any] = {
    "hidden_sizes": (16, 16),
    "batch_size": 8,
    "updates_per_step": 0.2,
    "random_exploration_steps": 20,
    "learning_starts": 16,
    "noise_correlation": 0.5,
    "key_update_steps": 70,
    "buffer_size": 100,
    "preference_divisions": 6,
}
TINY_CMORL: dict[str, Any] = {
    "hidden_sizes": (8,),
    "initial_steps": 48,
    "initial_divisions": 2,
    "samples_per_update": 8,
    "minibatches": 2,
    "epochs": 2,
    "selected": 2,
    "extension_updates": 2,
    "snapshot_updates": 2,
    "snapshot_episodes": 1,
}
TINY_MORLD: dict[str, Any] = {
    "population": 3,
    "exchange_every": 60,
    "evaluation_episodes": 2,
    "hidden_sizes": (8,),
}
TINY_MORLD_CONDITIONED: dict[str, Any] = TINY_MORLD | {
    "batch_size": 4,
    "random_exploration_steps": 16,
    "learning_starts": 16,
    "buffer_size": 200,
    "updates_per_step": 0.3,
}
TINY_MORLD_OFF_POLICY: dict[str, Any] = TINY_MORLD_CONDITIONED | {"offline_updates": 2, "workers": 1}
TINY_MORLD_ON_POLICY: dict[str, Any] = TINY_MORLD | {"rollout_steps": 4, "epochs": 2, "minibatches": 2}
TINY_GMORL: dict[str, Any] = {
    "hidden_sizes": (8,),
    "batch_size": 8,
    "updates_per_step": 0.2,
    "random_exploration_steps": 20,
    "buffer_size": 200,
}
TINY_TSIVR: dict[str, Any] = {
    "population": 3,
    "initial_episodes": 2,
    "episodes": 1,
    "inner_steps": 3,
    "learning_rate": 0.05,
    "normalize": False,  # it takes a batch of its own
    "hidden_sizes": (8,),
}
TINY_MOGFN: dict[str, Any] = {
    "parents": "tree",
    "batch_size": 5,
    "preference_bins": 3,
    "hidden_sizes": (8,),
    "hidden_sizes_z": (4,),
}
SCHEDULE: dict[str, Any] = {
    "num_envs": 5,
    "evaluate_every": 100,
    "log_every": 50,
    "evaluation_divisions": 4,
    "evaluation_episodes": 1,
    "device": "cpu",
}

# --- Environments -----------------------------------------------------------------------------------------------------


class Fork(gymnasium.Env[Any, Any]):
    """Two choices between two; of the four leaves three are non-dominated. Observation: the node, a Discrete."""

    LEAVES = np.array([[0.0, 10.0], [6.0, 6.0], [3.0, 3.0], [10.0, 0.0]])

    def __init__(self) -> None:
        self.observation_space = spaces.Discrete(3)
        self.action_space = spaces.Discrete(2)
        self.reward_space = spaces.Box(0.0, 10.0, (2,), np.float64)
        self.node = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.node = 0
        return 0, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self.node == 0:
            self.node = 1 + int(action)
            return self.node, np.zeros(2), False, False, {}
        return self.node, self.LEAVES[2 * (self.node - 1) + int(action)], True, False, {}


class ConcaveFork(Fork):
    """The same fork with a concave front: no weighted sum is the best at its middle."""

    LEAVES = np.array([[0.0, 10.0], [4.0, 4.0], [3.0, 3.0], [10.0, 0.0]])


def fork_front(discount: float) -> Any:
    return discount * Fork.LEAVES[[0, 1, 3]]


class Walk(gymnasium.Env[Any, Any]):
    """A noisy walk on a line: stochastic starts, steps, rewards and ends; the reward space is declared."""

    kind = "box"

    def __init__(self, drift: float = 0.1) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.observation_space = {
            "box": box,
            "dict": spaces.Dict({"where": box, "parity": spaces.Discrete(2, start=3)}),
            "nested": spaces.Dict({"inner": spaces.Dict({"where": box}), "parity": spaces.Discrete(2, start=3)}),
            "tuple": spaces.Tuple((spaces.MultiDiscrete([2, 2]), box)),
            "flags": spaces.MultiBinary(3),
        }[self.kind]
        self.action_space = spaces.Discrete(3, start=-1)
        self.reward_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.drift = drift
        self.place = 0.0
        self.clock = 0

    def _observe(self) -> Any:
        where = np.array([self.place, self.clock / 12], dtype=np.float32)
        odd = self.clock % 2
        match self.kind:
            case "dict":
                return {"where": where, "parity": np.int64(3 + odd)}
            case "nested":
                return {"inner": {"where": where}, "parity": np.int64(3 + odd)}
            case "tuple":
                return (np.array([odd, 1 - odd]), where)
            case "flags":
                return np.array([odd, self.place > 0, self.place > 1], dtype=np.int8)
        return where

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.clock = float(self.np_random.normal()), 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        move = float(np.asarray(action).sum())
        STEPS[type(self).__name__] = STEPS.get(type(self).__name__, 0) + 1
        self.place += self.drift + move + 0.3 * float(self.np_random.normal())
        self.clock += 1
        reward = np.array([self.place, -abs(move) - self.np_random.random()])
        return self._observe(), reward, bool(self.np_random.random() < 0.05), self.clock >= 12, {}


class DictWalk(Walk):
    kind = "dict"


class NestedWalk(Walk):
    kind = "nested"


class TupleWalk(Walk):
    kind = "tuple"


class FlagsWalk(Walk):
    kind = "flags"


class ForgetfulWalk(Walk):
    """Holds an iterator, whose state nobody can write down."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = itertools.count()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        next(self.counter)
        return super().step(action)


class BrokenWalk(Walk):
    """Pays NaN (or infinity) at the given step of its life."""

    def __init__(self, at: int = 1, infinite: bool = False) -> None:
        super().__init__()
        self.at = at
        self.life = 0
        self.value = np.inf if infinite else np.nan

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        self.life += 1
        return observation, np.array([self.value, 0.0]) if self.life == self.at else reward, terminated, truncated, info


class SlowWalk(Walk):
    """Takes its time, so that a process that trains on it can be stopped in the middle."""

    def __init__(self, seconds: float = 0.001) -> None:
        super().__init__()
        self.seconds = seconds

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        time.sleep(self.seconds)
        return super().step(action)


class ScalarWalk(Walk):
    def __init__(self) -> None:
        super().__init__()
        del self.reward_space

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, float(reward.sum()), terminated, truncated, info


class ContinuousWalk(Walk):
    """The walk with steps of any size in [-2, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-2.0, 1.0, (1,), np.float32)


class PairsWalk(Walk):
    """The walk with actions that no agent of ours takes."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.MultiDiscrete([2, 2])


def build_fork() -> Fork:
    return Fork()


def _register() -> None:
    morl.envs.register(
        "toy-fork-v0", Fork, objectives=("left", "right"), reference_point=(-1.0, -1.0), known_front=fork_front
    )
    morl.envs.register("toy-concave-v0", ConcaveFork, objectives=("left", "right"), reference_point=(-1.0, -1.0))
    for kind in (
        Walk,
        DictWalk,
        NestedWalk,
        TupleWalk,
        FlagsWalk,
        ForgetfulWalk,
        BrokenWalk,
        SlowWalk,
        ContinuousWalk,
        PairsWalk,
    ):
        name = kind.__name__.removesuffix("Walk").lower()
        morl.envs.register(f"toy-{name + '-' if name else ''}walk-v0", kind, objectives=("place", "rest"))
    gymnasium.register("toy-scalar-walk-v0", ScalarWalk, disable_env_checker=True)


if "toy-fork-v0" not in gymnasium.registry:
    _register()

# --- Agents -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CoinConfig:
    """Settings of three fixed coins."""

    members: int = 3
    """Policies in the population."""


class Coins:
    """A population without preferences: member i always takes action i modulo the number of actions."""

    config_class = CoinConfig

    def __init__(self, problem: Any, config: CoinConfig, seed: int, num_envs: int, device: torch.device) -> None:
        self.problem = problem
        self.members, self.num_envs = config.members, num_envs
        self.actions, self.objectives = int(problem.action_space.n), problem.num_objectives
        self.first = int(problem.action_space.start)
        self.random = stream(seed, "coins")
        self.steps = self.pretraining_steps = self.updates = 0
        self.begun = False

    def learn(self, envs: Any, total_steps: int, evaluate: Any) -> Iterator[None]:
        if not self.begun:
            envs.reset(seed=1)
            self.begun = True
        while self.steps < total_steps:
            envs.step(self.first + self.random.integers(self.actions, size=self.num_envs))
            self.steps += self.num_envs
            self.updates += 1
            yield

    def act(self, observations: Any, preferences: Any, policies: Any) -> Any:
        assert np.isnan(preferences).all()
        return self.first + policies % self.actions

    def policies(self, preferences: Any) -> Any:
        return np.arange(self.members), np.full((self.members, self.objectives), np.nan)

    def metrics(self) -> dict[str, float]:
        return {"luck": float("nan")}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "updates": self.updates, "random": self.random.bit_generator.state}

    def load_state_dict(self, state: Any) -> None:
        self.steps = state["steps"]
        self.updates = state["updates"]
        self.begun = True
        self.random.bit_generator.state = state["random"]

    def reset_episodes(self) -> None:
        self.begun = False

    def export_policies(self) -> dict[int, PolicyData]:
        return {member: self.coin(member) for member in range(self.members)}

    def coin(self, member: int) -> PolicyData:
        """Return a network without hidden layers whose bias decides."""
        width = encoder(self.problem.observation_space)[1]
        spec = PolicySpec(
            agent="coins",
            head="categorical",
            hidden_sizes=(),
            observation_space=self.problem.observation_space,
            action_space=self.problem.action_space,
            objectives=self.problem.objectives,
        )
        biases = torch.nn.functional.one_hot(torch.tensor(member % self.actions), self.actions).float()
        parameters = torch.cat([torch.zeros(width * self.actions), biases])
        return PolicyData(spec=spec, parameters=parameters, preference=np.full(self.objectives, np.nan))


class DoomedCoins(Coins):
    """Coins whose parameters, of which there is one, are no longer finite from a step on."""

    diverges_at = 150

    def all_parameters(self) -> list[torch.Tensor]:
        return [torch.full((1,), float("nan") if self.steps >= self.diverges_at else 0.0)]


# --- Comparing runs ---------------------------------------------------------------------------------------------------

CLOCKS = ("wall_seconds", "steps_per_second")


def train(run_dir: Path, env: Any = "toy-walk-v0", total_steps: int = 200, **changes: Any) -> Any:
    """Train a tiny PD-MORL; `config` adds to TINY, everything else to SCHEDULE."""
    config = TINY | changes.pop("config", {})
    agent = changes.pop("agent", "pd-morl")
    if agent != "pd-morl":
        config = {}
    return morl.train(agent, env, total_steps=total_steps, run_dir=run_dir, config=config, **SCHEDULE | changes)


def session(run_dir: Path, agent: str, env: str, **settings: Any) -> Session:
    """Return a run in the making, whose files are there and whose training has not begun."""
    task = find_task(agent, env, {})
    made = Session(task.experiment(resolve_sources(task.agent_class.config_class, agent, env, [settings])), run_dir)
    with OwnedFolder.for_new_run(run_dir, overwrite=False) as folder:
        made.create_files(folder, "a test")
    return made


def strict_json(text: str) -> Any:
    """Parse JSON, refusing what strict JSON does not know."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def lines(file: Path, *dropped: str) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file without clocks and dropped keys."""
    records = [strict_json(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in (*CLOCKS, *dropped)} for line in records]


def front(run_dir: Path, *dropped: str) -> dict[str, Any]:
    """Return front.json without clocks and dropped keys."""
    record = strict_json((run_dir / "front.json").read_text())
    return {key: value for key, value in record.items() if key not in (*CLOCKS, *dropped)}


def states(run_dir: Path, *names: str) -> dict[str, Any]:
    """Return what the newest checkpoint holds; clocks left out."""
    newest = checkpoint.newest(run_dir)
    assert newest is not None
    loaded = checkpoint.load(newest, {})
    del loaded["counters"]["wall_seconds"]
    return {name: loaded[name] for name in names or loaded}


def _without_generators_of_spaces(record: dict[str, Any]) -> dict[str, Any]:
    """Return a saved environment state without the generators of its spaces; any other dict as it is."""
    objects = record.get("objects")
    if not isinstance(objects, list) or "root" not in record:
        return record
    of_spaces = set()
    for entry in objects:
        if entry.get("kind") == "space" and isinstance(entry["attributes"].get("_np_random"), dict):
            of_spaces.add(entry["attributes"]["_np_random"]["ref"])
    return record | {"objects": [{} if index in of_spaces else entry for index, entry in enumerate(objects)]}


def difference(one: Any, other: Any, path: str = "") -> str:
    """Return where two nested states first differ, bit for bit; an empty string where they do not.

    A space's own generator, which `sample` draws from, is not seeded with the environment and serves nobody.
    """
    if type(one) is not type(other):
        return f"{path}: {type(one).__name__} and {type(other).__name__}"
    if isinstance(one, dict):
        one = _without_generators_of_spaces(one)
        other = _without_generators_of_spaces(other)
        if list(one) != list(other):
            return f"{path}: keys {list(one)} and {list(other)}"
        return next((found for key in one if (found := difference(one[key], other[key], f"{path}/{key}"))), "")
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return f"{path}: {len(one)} and {len(other)} entries"
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for i, pair in pairs if (found := difference(*pair, f"{path}/{i}"))), "")
    if isinstance(one, torch.Tensor):
        return difference(one.numpy(), other.numpy(), path)
    if isinstance(one, np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        return "" if same else f"{path}: arrays differ"
    same = one == other or (one != one and other != other)
    return "" if same else f"{path}: {one!r} and {other!r}"


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of a run that TensorBoard shows, by tag; clocks left out."""
    return scalars_of(run_dir / "tensorboard")


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars in the event files of a folder, by tag; clocks left out."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    found = {}
    for tag in sorted(set(events.Tags()["tensors"]) - {f"time/{name}" for name in CLOCKS}):
        arrays = [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        if all(array.ndim == 0 and array.dtype.kind == "f" for _, array in arrays):
            found[tag] = [(step, array.item()) for step, array in arrays]
    return found
