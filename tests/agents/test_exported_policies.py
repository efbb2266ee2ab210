"""The policies of every agent and solver as graphs: onnxruntime and TorchScript act as torch does."""

from pathlib import Path
from typing import Any

import decomposed
import numpy as np
import pytest
import torch
import toys
from graphs import Situation, assert_same_actions, in_onnx, in_torchscript
from gymnasium import spaces
from masked import MASKED

import morl
from morl.acting import Policy, load_policy
from morl.agents import AGENTS, find_agent
from morl.agents.morl_d.settings_in_use import BUILT_IN
from morl.envs.core.registry import problem
from morl.policy_files import PolicyData

pytestmark = pytest.mark.usefixtures("without_figures")

WALK, CONTINUOUS = decomposed.WALK, decomposed.CONTINUOUS
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", WALK, toys.TINY | {"critics": 2}),
    "pd-morl, masked, dict": ("pd-morl", MASKED, toys.TINY),
    "pd-morl, continuous": ("pd-morl", CONTINUOUS, toys.TINY_CONTINUOUS),
    "pd-morl, hypernetwork": ("pd-morl", WALK, toys.TINY | {"critics": 2, "networks": "hyper"}),
    "pd-morl, continuous, combination": ("pd-morl", CONTINUOUS, toys.TINY_CONTINUOUS | {"networks": "combination"}),
    "c-morl": ("c-morl", "toy-nested-walk-v0", toys.TINY_CMORL),
    "c-morl, continuous": ("c-morl", CONTINUOUS, toys.TINY_CMORL),
    "c-morl, masked": ("c-morl", MASKED, toys.TINY_CMORL | {"solver": "cpo"}),
    "mo-tsivr-pg": ("mo-tsivr-pg", WALK, toys.TINY_TSIVR),
    "mo-tsivr-pg, continuous": ("mo-tsivr-pg", CONTINUOUS, toys.TINY_TSIVR),
    "morl-d, dqn": ("morl-d", "toy-tuple-walk-v0", {"preset": "tchebycheff"}),
    "morl-d, sac": ("morl-d", CONTINUOUS, {"solver": "sac"}),
    "morl-d, discrete-sac": ("morl-d", MASKED, {"solver": "discrete-sac"}),
    "morl-d, td3": ("morl-d", CONTINUOUS, {"solver": "td3"}),
    "morl-d, ppo": ("morl-d", CONTINUOUS, {"solver": "ppo", "rollout_steps": 8}),
    "morl-d, ppo, masked": ("morl-d", MASKED, {"solver": "ppo", "rollout_steps": 8}),
    "morl-d, eupg": ("morl-d", WALK, {"preset": "eupg", "rollout_steps": 8}),
    "morl-d, one network": ("morl-d", WALK, {"preset": "gpi-ls"}),
    "morl-d, one network, continuous": ("morl-d", CONTINUOUS, {"preset": "gpi-ls"}),
    "morl-d, hypernetwork": ("morl-d", CONTINUOUS, {"networks": "hyper"}),
    "gmorl": ("gmorl", "toy-nested-walk-v0", toys.TINY_GMORL),
    "gmorl, masked": ("gmorl", MASKED, toys.TINY_GMORL),
    "gmorl, rows": ("gmorl", "mec-offloading-v0", toys.TINY_GMORL),
    "mogfn-pc": ("mogfn-pc", "toy-nested-walk-v0", toys.TINY_MOGFN),
    "mogfn-pc, masked": ("mogfn-pc", MASKED, toys.TINY_MOGFN),
    "mogfn-pc, grid": (
        "mogfn-pc",
        "hyper-grid-v0",
        toys.TINY_MOGFN | {"parents": "grid", "exponent": (8.0, 64.0), "acting_exponent": 40.0},
    ),
    "morl-d, sb3:DQN": ("morl-d", WALK, {"solver": "sb3:DQN", "learning_starts": 12}),
    "morl-d, sb3:A2C": ("morl-d", CONTINUOUS, {"solver": "sb3:A2C", "rollout_steps": 5}),
    "morl-d, sb3:SAC": ("morl-d", CONTINUOUS, {"solver": "sb3:SAC"}),
}
"""What is called -> agent, environment, settings that make it small."""


def test_every_agent_and_solver_is_tested() -> None:
    assert set(AGENTS) <= {agent for agent, _, _ in CASES.values()}
    assert {f"morl-d, {solver}" for solver in BUILT_IN} <= set(CASES)


def evaluated(preferences: Any, episodes: int, policies: Any = None) -> Any:
    return preferences if policies is None else decomposed.answer(preferences, episodes, policies)


def exported(name: str) -> dict[int, PolicyData]:
    """Return the policies of an agent that has trained a little."""
    agent_name, env, settings = CASES[name]
    if agent_name == "morl-d":
        return decomposed.learn(decomposed.build(env, **settings), env).export_policies()
    stated = problem(env)
    kind: Any = find_agent(agent_name, stated.action_space)
    agent = kind(stated, kind.config_class(**settings), 3, 4, torch.device("cpu"))
    for _ in agent.learn(morl.make_vec(env, 4), 150, evaluated):
        pass
    found: dict[int, PolicyData] = agent.export_policies()
    return found


@pytest.mark.parametrize("name", CASES)
def test_its_policies_act_alike_everywhere(name: str, tmp_path: Path) -> None:
    data = list(exported(name).values())[-1]
    wanted = np.array([0.25, 0.75])
    if data.spec.conditioned:
        policy = Policy(data, wanted, preference_scale=np.array([3.0, 0.5])).conditioned_on(wanted)
    else:
        policy = Policy(data, wanted)
    policy.save(tmp_path / "policy.pt")
    policy.to_onnx(tmp_path / "policy.onnx")
    policy.to_torchscript(tmp_path / "policy.torchscript")
    loaded = load_policy(tmp_path / "policy.pt")
    situation = Situation(policy, 50)
    expected = situation.predicted()
    for run in (in_onnx(tmp_path / "policy.onnx"), in_torchscript(tmp_path / "policy.torchscript")):
        action, *_ = run(situation.inputs())
        assert_same_actions(policy, action, expected)
    situation.policy = loaded
    np.testing.assert_array_equal(situation.predicted(), expected)
    if not isinstance(data.spec.action_space, spaces.Discrete):  # a choice may hardly be trained, and be one everywhere
        assert len(np.unique(expected)) > 10
