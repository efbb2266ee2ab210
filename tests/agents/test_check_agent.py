"""`check_agent` accepts agents that keep the contract, and names the clause that a broken one violates."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from morl.agents import AGENTS, AgentContractViolation, check_agent
from morl.agents.check import difference

FILE = Path(__file__).parents[2] / "examples" / "custom_agent.py"


def load_example() -> Any:
    if "custom_agent" not in sys.modules:
        specification = importlib.util.spec_from_file_location("custom_agent", FILE)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules["custom_agent"] = module
        specification.loader.exec_module(module)
    return sys.modules["custom_agent"]


EXAMPLE = load_example()
Reinforce: Any = EXAMPLE.Reinforce
SMALL = {"rollout_steps": 10, "hidden_sizes": (8,)}


def check(agent: Any) -> None:
    check_agent(agent, config=SMALL, total_steps=200)


def test_the_example_keeps_the_contract() -> None:
    check(Reinforce)
    check("custom_agent:Reinforce")


REGISTERED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", "deep-sea-treasure-v0", toys.TINY),
    "pd-morl, continuous": ("pd-morl", "mo-mountaincarcontinuous-v0", toys.TINY_CONTINUOUS),
    "pd-morl, hypernetwork": ("pd-morl", "mo-mountaincarcontinuous-v0", toys.TINY_CONTINUOUS | {"networks": "hyper"}),
    "c-morl": ("c-morl", "deep-sea-treasure-v0", toys.TINY_CMORL),
    "c-morl, continuous": ("c-morl", "mo-mountaincarcontinuous-v0", toys.TINY_CMORL),
    "morl-d": ("morl-d", "deep-sea-treasure-v0", toys.TINY_MORLD),
    "morl-d, combination": (
        "morl-d",
        "deep-sea-treasure-v0",
        toys.TINY_MORLD_CONDITIONED | {"networks": "combination"},
    ),
    "gmorl": ("gmorl", "deep-sea-treasure-v0", toys.TINY_GMORL),
    "mo-tsivr-pg": ("mo-tsivr-pg", "fruit-tree-v0", toys.TINY_TSIVR),
    "mo-tsivr-pg, continuous": ("mo-tsivr-pg", "lab/concave-arc-v0", toys.TINY_TSIVR),
    "mogfn-pc": ("mogfn-pc", "hyper-grid-v0", toys.TINY_MOGFN | {"parents": "grid"}),
    "c-morl, memory": ("c-morl", "recall-v0", toys.TINY_CMORL | {"memory": "gru", "memory_steps": 4}),
    "morl-d, memory": (
        "morl-d",
        "recall-v0",
        toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "memory": "gru", "memory_steps": 2},
    ),
}


@pytest.mark.parametrize("name", REGISTERED)
def test_registered_agents_keep_the_contract(name: str) -> None:
    agent, env, config = REGISTERED[name]
    check_agent(agent, env, config=config, total_steps=160)


def test_every_registered_agent_is_checked() -> None:
    assert {agent for agent, _, _ in REGISTERED.values()} == set(AGENTS)


# --- Agents that break one clause each --------------------------------------------------------------------------------


class StopsLate(Reinforce):
    def learn(self, envs: Any, total_steps: int, evaluate: Any) -> Iterator[None]:
        yield from super().learn(envs, total_steps + 40, evaluate)


class ForgetsToCount(Reinforce):
    def learn(self, envs: Any, total_steps: int, evaluate: Any) -> Iterator[None]:
        for number, _ in enumerate(super().learn(envs, total_steps, evaluate)):
            if number == 3:
                envs.step(np.zeros(envs.num_envs, dtype=np.int64))
            yield


class NeverLearns(Reinforce):
    def _update(self) -> None:
        self.rollout = []


class CountsFromOne(Reinforce):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.updates = 1


class MetricsAreIntegers(Reinforce):
    def metrics(self) -> Any:
        return {"updates": self.updates}


class OffersNothing(Reinforce):
    def policies(self, preferences: Any) -> Any:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 2))


class OffersFloats(Reinforce):
    def policies(self, preferences: Any) -> Any:
        return np.zeros(1), self.preference[None]


class OffersShortPreferences(Reinforce):
    def policies(self, preferences: Any) -> Any:
        return np.zeros(1, dtype=np.int64), np.ones((1, 1))


class ActsOutside(Reinforce):
    def act(self, observations: Any, preferences: Any, policies: Any) -> Any:
        return super().act(observations, preferences, policies) + 4


class ActsAtRandom(Reinforce):
    def act(self, observations: Any, preferences: Any, policies: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return np.full(len(policies), self.calls % 4)


class IgnoresItsSeed(Reinforce):
    def __init__(self, problem: Any, config: Any, seed: int, num_envs: int, device: Any) -> None:
        super().__init__(problem, config, 0, num_envs, device)


class DrawsFromTheGlobalGenerator(Reinforce):
    def _update(self) -> None:
        super()._update()
        self.parameters.data += 1e-3 * float(np.random.normal())  # noqa: NPY002


class ForgetsItsOptimizer(Reinforce):
    def state_dict(self) -> Any:
        state = super().state_dict()
        del state["optimizer"]
        return state

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "optimizer": {}})


class ForgetsItsRollout(Reinforce):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "rollout": []})


class SavesAnObject(Reinforce):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "generator": self.random}


class ExportsAView(Reinforce):
    def export_policies(self) -> Any:
        data = super().export_policies()[0]
        return {0: replace(data, parameters=self.parameters.detach()[0])}


class ExportsNothing(Reinforce):
    def export_policies(self) -> Any:
        return {}

    def act(self, observations: Any, preferences: Any, policies: Any) -> Any:
        return np.zeros(len(policies), dtype=np.int64)


class ExportsADict(Reinforce):
    def export_policies(self) -> Any:
        return {0: {"parameters": self.parameters}}

    def act(self, observations: Any, preferences: Any, policies: Any) -> Any:
        return np.zeros(len(policies), dtype=np.int64)


class ExportsAnotherPolicy(Reinforce):
    def act(self, observations: Any, preferences: Any, policies: Any) -> Any:
        return (super().act(observations, preferences, policies) + 1) % 4


class NeverResets(Reinforce):
    def reset_episodes(self) -> None:
        pass


class NoGenerator(Reinforce):
    def learn(self, envs: Any, total_steps: int, evaluate: Any) -> Any:
        return [None for _ in super().learn(envs, total_steps, evaluate)]


class OtherConstructor(Reinforce):
    def __init__(self, problem: Any, config: Any) -> None:
        pass


@dataclass
class Thawed:
    """Settings that can be changed."""

    preference: tuple[float, ...] = (0.5, 0.5)
    """Weights."""


class ThawedSettings(Reinforce):
    config_class = Thawed


@dataclass(frozen=True, kw_only=True)
class Undocumented:
    """Settings."""

    preference: tuple[float, ...] = (0.5, 0.5)
    """Weights."""
    hidden_sizes: tuple[int, ...] = (8,)
    learning_rate: float = 1e-2
    """Step size."""
    rollout_steps: int = 10
    """Steps."""


class UndocumentedSettings(Reinforce):
    config_class = Undocumented


class NoSettings(Reinforce):
    config_class = dict


class RemembersNothing(Reinforce):
    memory_size = 3

    def act(self, observations: Any, preferences: Any, policies: Any, memory: Any = None) -> Any:
        return super().act(observations, preferences, policies)


class BeginsElsewhere(Reinforce):
    memory_size = 3

    def act(self, observations: Any, preferences: Any, policies: Any, memory: Any = None) -> Any:
        actions = super().act(observations, preferences, policies)
        if memory is None:
            return actions
        memory += 1.0
        return (actions + 1) % 2


class DescribesWithNumbers(Reinforce):
    metric_descriptions = {"loss": 1}  # noqa: RUF012


VIOLATIONS: dict[type[Any], str] = {
    StopsLate: "learn must stop at total_steps, 200, got 240 steps",
    ForgetsToCount: "every environment step must be counted: 204 taken, 200 counted",
    NeverLearns: "must learn",
    CountsFromOne: "updates of an untrained agent must be 0, got 1",
    MetricsAreIntegers: "metrics must be floats by name, got 'updates': 0",
    OffersNothing: "policies must offer at least one policy",
    OffersFloats: "integer ids",
    OffersShortPreferences: r"preferences of shape \(1, 2\), got \(1, 1\)",
    ActsOutside: "actions must lie in Discrete",
    ActsAtRandom: "act must be deterministic",
    IgnoresItsSeed: "another seed must give another run",
    DrawsFromTheGlobalGenerator: "the same seed must give the same run",
    ForgetsItsOptimizer: "a run resumed at yield|load_state_dict must restore",
    ForgetsItsRollout: r"load_state_dict must restore everything, got a difference at state\['rollout'\]",
    SavesAnObject: r"plain data .*, got .*Generator.* at state_dict\['generator'\]",
    ExportsAView: r"exported policies must be copies, but training went on and changed policies\[0\]\['parameters'\]",
    ExportsNothing: r"export_policies must hold every candidate for the front, got none for ids \[0\]",
    ExportsADict: "export_policies must return morl.policy_files.PolicyData",
    ExportsAnotherPolicy: "an exported policy must act as the agent does",
    NeverResets: "learn must reset the environments after reset_episodes",
    NoGenerator: "learn must be a generator",
    RemembersNothing: "act must replace memory in place",
    BeginsElsewhere: "act without memory must act as at the start of an episode",
    OtherConstructor: "the class must be constructed from",
    ThawedSettings: "config_class must be frozen",
    UndocumentedSettings: "every setting must have a docstring under it, got none for 'hidden_sizes'",
    NoSettings: "config_class must be a dataclass",
    DescribesWithNumbers: "metric_descriptions must be texts by name",
}


@pytest.mark.parametrize("agent", VIOLATIONS, ids=lambda agent: agent.__name__)
def test_a_violation_is_named(agent: type[Any]) -> None:
    settings = SMALL if agent is not ThawedSettings else {}
    with pytest.raises(AgentContractViolation, match=VIOLATIONS[agent]) as caught:
        check_agent(agent, config=settings, total_steps=200)
    assert re.match(r"\S+:" + agent.__name__ + ": ", str(caught.value))
    assert "\n" not in str(caught.value)


def test_differences_are_located() -> None:
    one = {"a": [np.zeros(2), {"b": 1}], "c": float("nan")}
    assert difference(one, {"a": [np.zeros(2), {"b": 1}], "c": float("nan")}) == ""
    assert difference(one, {"a": [np.zeros(2), {"b": 2}], "c": float("nan")}) == "state['a'][1]['b'] (1 and 2)"
    assert difference(one, {"a": [-np.zeros(2), {"b": 1}], "c": 0.0}) == "state['a'][0]"
    assert difference(one, {"a": [np.zeros(2)], "c": 0.0}).startswith("state['a']")
