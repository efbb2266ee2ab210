"""Algorithms of Stable-Baselines3 as solvers of MORL/D: their policies, their settings, exact resuming."""

import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import images  # noqa: F401  (registers walks that are seen as images)
import numpy as np
import pytest
import stable_baselines3
import torch
import toys
from decomposed import CONTINUOUS, WALK, answer, build, learn, tiny
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

import morl
from morl.agents import check_agent
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.solvers.sb3_arguments import find_algorithm
from morl.agents.morl_d.solvers.sb3_observations import Presentation
from morl.agents.morl_d.solvers.sb3_policies import acting_network
from morl.experiment.divergence import refuse_diverged_parameters
from morl.experiment.settings import resolve_sources
from morl.learning.observations import observation_encoder
from morl.protocols import ReturnsParameters

pytestmark = pytest.mark.usefixtures("without_figures")

ALGORITHMS = [
    ("sb3:DQN", WALK, {"learning_starts": 12}),
    ("sb3:PPO", WALK, {"rollout_steps": 4, "batch_size": 8}),
    ("sb3:A2C", CONTINUOUS, {"rollout_steps": 5}),
    (
        "sb3:PPO",
        CONTINUOUS,
        {"rollout_steps": 4, "batch_size": 8, "solver_kwargs": {"policy_kwargs.activation_fn": "relu"}},
    ),
    ("sb3:SAC", CONTINUOUS, {}),
    ("sb3:TD3", CONTINUOUS, {}),
    ("sb3:DDPG", CONTINUOUS, {}),
]


@pytest.mark.parametrize(("solver", "env", "settings"), ALGORITHMS)
def test_a_policy_acts_as_its_model_does(solver: str, env: str, settings: Any) -> None:
    agent = learn(build(env, solver=solver, **settings), env, steps=130)
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for policy, model in enumerate(agent.solver.models):
        expected, _ = model.predict(observations, deterministic=True)
        expected = expected + (-1 if env == WALK else 0)  # theirs count from zero
        actions = agent.act(observations, np.full((50, 2), np.nan), np.full(50, policy))
        np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-5)
    if env == CONTINUOUS:
        assert len(np.unique(expected)) > 10


def test_policies_with_other_layers_are_refused() -> None:
    policy = build(CONTINUOUS, solver="sb3:SAC").solver.models[0].policy
    policy.actor.latent_pi[1] = nn.Softplus()
    with pytest.raises(ValueError, match="do not alternate with one activation of relu, tanh"):
        acting_network(policy)
    del policy.actor
    with pytest.raises(ValueError, match="its policy SACPolicy is unknown"):
        acting_network(policy)
    reason = "sb3:PPO', but its policies cannot be saved as plain layers: its exploration is state-dependent"
    with pytest.raises(ValueError, match=reason):
        build(CONTINUOUS, solver="sb3:PPO", rollout_steps=4, batch_size=8, solver_kwargs={"use_sde": True})


def test_further_arguments_reach_the_constructor() -> None:
    kwargs = {"ent_coef": 0.25, "policy_kwargs.n_critics": 3}
    models = build(CONTINUOUS, solver="sb3:SAC", solver_kwargs=kwargs).solver.models
    assert all(model.ent_coef == 0.25 for model in models)
    assert all(len(model.critic.q_networks) == 3 for model in models)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"solver_kwargs": {"entropy": 0.1}}, "solver_kwargs has entropy, but the constructor of SAC does not take it"),
        ({"solver_kwargs": {"gamma": 0.1}}, "solver_kwargs has gamma, but another setting of MORL/D determines it"),
        ({"solver_kwargs": {"batch_size": 4}}, "solver_kwargs has batch_size, but another setting"),
        ({"solver_kwargs": {"policy_kwargs.nets": 3}}, "cannot act in"),
        ({"tau": 0.1}, "tau is 0.1, but solver 'sb3:SAC' does not read it"),
        ({"one_hot": True}, "one_hot is True, but solver 'sb3:SAC' does not read it"),
        ({"offline_updates": 3}, "offline_updates is 3, but solver 'sb3:SAC' does not read it"),
        ({"exploration_steps": 3}, "exploration_steps is 3, but solver 'sb3:SAC' does not read it"),
        ({"critic_learning_rate": 0.1}, "critic_learning_rate is 0.1, but solver 'sb3:SAC' does not read it"),
        ({"network": "networks:small"}, "network is 'networks:small', but solver 'sb3:SAC' does not read it"),
        ({"normalization": "layer"}, "normalization is 'layer', but solver 'sb3:SAC' does not read it"),
        ({"solver_kwargs": {"learning_rate": 1e-3}}, "solver_kwargs has learning_rate, but another setting"),
        ({"solver_kwargs": {"learning_rate": "linear:x"}}, "a schedule is 'linear:START' or 'linear:START:END'"),
        ({"solver_kwargs": {"learning_rate": "linear:1:2:3"}}, "a schedule is 'linear:START'"),
        ({"solver_kwargs": {"ent_coef": "linear:0.1"}}, "cannot act in"),
        (
            {"solver_kwargs": {"learning_rate": "cosine:1e-3"}, "actor_learning_rate": 1e-3},
            "solver_kwargs has learning_rate, but actor_learning_rate is 0.001: set only one",
        ),
        (
            {"solver_kwargs": {"policy_kwargs.activation_fn": "relu"}, "activation": "elu"},
            "solver_kwargs has policy_kwargs.activation_fn, but activation is 'elu': set only one",
        ),
    ],
)
def test_an_option_that_the_algorithm_does_not_take_is_refused(settings: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build(CONTINUOUS, solver="sb3:SAC", **settings)


def test_further_arguments_can_be_set_in_a_file_and_by_a_flag() -> None:
    table = tomllib.loads(
        '[agent]\nsolver = "sb3:A2C"\n[agent.solver_kwargs]\nent_coef = 0.02\n"policy_kwargs.activation_fn" = "relu"\n'
    )
    flags = ["--agent.solver-kwargs", "ent_coef", "0.03", "n_epochs", "4"]
    resolved = resolve_sources(Config, "morl-d", WALK, [table, flags]).settings.agent
    assert resolved.solver_kwargs == {"ent_coef": 0.03, "policy_kwargs.activation_fn": "relu", "n_epochs": 4}


OTHERS = [
    ("sb3:DQN", WALK, {"exploration_steps": 90, "learning_starts": 12}),
    ("sb3:TD3", CONTINUOUS, {"scale": "range"}),
    ("sb3:DDPG", CONTINUOUS, {"adaptation": "psa"}),
    ("sb3:A2C", WALK, {"rollout_steps": 5}),
]


@pytest.mark.parametrize(("solver", "env", "settings"), OTHERS, ids=[solver for solver, _, _ in OTHERS])
def test_a_run_goes_on_exactly_wherever_it_stopped(solver: str, env: str, settings: Any, tmp_path: Path) -> None:
    """It stops between two exchanges, where a solver of Stable-Baselines3 is asked for fewer steps than otherwise."""
    config = tiny(env, solver=solver, **settings)
    schedule: dict[str, Any] = {"num_envs": 6, "evaluate_every": 120, "evaluation_episodes": 1, "device": "cpu"}

    def train(name: str, steps: int) -> None:
        morl.train("morl-d", env, total_steps=steps, run_dir=tmp_path / name, config=config, seed=4, **schedule)

    train("whole", 240)
    train("parts", 150)
    morl.resume(tmp_path / "parts", 240)
    for part in ("members", "torch", "numpy"):
        one, other = (toys.states(tmp_path / name, "agent")["agent"]["solver"][part] for name in ("whole", "parts"))
        assert toys.difference(one, other) == "", part
    counted = "evaluation_steps"  # the stop was evaluated too
    assert toys.front(tmp_path / "whole", counted) == toys.front(tmp_path / "parts", counted)


def test_a_dqn_of_theirs_explores_as_the_settings_say() -> None:
    agent = build(solver="sb3:DQN", exploration_steps=100, exploration_end=0.2)
    learn(agent, steps=400)
    assert all(model.exploration_rate == pytest.approx(0.2) for model in agent.solver.models)


@pytest.mark.parametrize("activation", ["silu", "elu", "gelu", "leaky-relu"])
def test_activations_of_theirs_are_saved(activation: str) -> None:
    agent = learn(build(CONTINUOUS, solver="sb3:SAC", activation=activation), CONTINUOUS)
    assert agent.components.spec.activation == activation
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    expected, _ = agent.solver.models[0].predict(observations, deterministic=True)
    actions = agent.act(observations, np.full((50, 2), np.nan), np.zeros(50, dtype=np.int64))
    np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-5)


def test_schedules_follow_the_steps_of_a_policy() -> None:
    rates = {"learning_rate": "linear:1e-2", "clip_range": "cosine:0.4:0.2"}
    agent = build(solver="sb3:PPO", rollout_steps=2, batch_size=4, solver_kwargs=rates)
    model = agent.solver.models[0]
    assert (model.lr_schedule(1.0), model.clip_range(1.0)) == (1e-2, 0.4)
    learn(agent, steps=120)
    for policy in agent.solver.models:
        share = policy.num_timesteps / 40  # of the run's 120 steps, for each of three policies
        assert policy.lr_schedule(1.0) == pytest.approx(1e-2 * max(0.0, 1.0 - share))
    assert model.clip_range(1.0) == pytest.approx(0.3 + 0.1 * np.cos(np.pi * min(1.0, model.num_timesteps / 40)))


def test_a_run_with_a_schedule_goes_on_exactly() -> None:
    """A schedule depends on the length of the run, so that it is resumed to the same length."""
    config = tiny(WALK, solver="sb3:A2C", rollout_steps=5, solver_kwargs={"learning_rate": "linear:1e-2:1e-3"})
    check_agent("morl-d", WALK, config, total_steps=160)


POLICIES = {
    "walk": "MlpPolicy",
    "dict-walk": "MlpPolicy",
    "tuple-walk": "MlpPolicy",
    "flags-walk": "MlpPolicy",
    "image-walk": "CnnPolicy",
    "stacked-walk": "CnnPolicy",
    "image-dict-walk": "MultiInputPolicy",
    "image-tuple-walk": "MultiInputPolicy",
}


@pytest.mark.parametrize("env", POLICIES)
def test_their_policies_fit_the_observations(env: str) -> None:
    agent = build(f"toy-{env}-v0", solver="sb3:A2C", rollout_steps=4)
    assert agent.solver.presentation.policy == POLICIES[env]


def test_large_images_pass_through_their_own_convolutions() -> None:
    agent = learn(build("toy-large-walk-v0", solver="sb3:DQN", learning_starts=12), "toy-large-walk-v0", steps=60)
    model = agent.solver.models[1]
    assert isinstance(model.policy.q_net.features_extractor, NatureCNN)
    envs = morl.make_vec("toy-large-walk-v0", 7)
    observations, _ = envs.reset(seed=0)
    expected, _ = model.predict(agent.solver.presentation.show(observations), deterministic=True)
    actions = agent.act(observations, np.full((7, 2), np.nan), np.ones(7, dtype=np.int64))
    np.testing.assert_array_equal(actions, expected - 1)


def test_images_whose_channels_look_like_rows_are_refused_for_theirs() -> None:
    space = spaces.Box(0, 255, (4, 5, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="an image has 12 channels of 5 x 5 pixels"):
        Presentation.of(space, observation_encoder(space))


def test_rollouts_are_for_those_on_policy_only() -> None:
    """Off policy, `n_steps` of Stable-Baselines3 means returns of that many steps."""
    with pytest.raises(ValueError, match="rollout_steps is 8, but solver 'sb3:SAC' does not read it"):
        build(CONTINUOUS, solver="sb3:SAC", rollout_steps=8)
    for model in build(CONTINUOUS, solver="sb3:SAC").solver.models:
        assert model.n_steps == 1
        assert type(model.replay_buffer) is ReplayBuffer
    assert all(model.n_steps == 8 for model in build(solver="sb3:PPO", rollout_steps=8).solver.models)


def test_on_scale_range_theirs_are_paid_shares_of_it() -> None:
    agent = build(solver="sb3:PPO", rollout_steps=4, batch_size=8, scale="range", weights="lattice")
    agent.solver.load(np.array([1]), torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 10.0], [4.0, 110.0]]), None)
    torch.testing.assert_close(agent.solver.preferences, torch.tensor([[0.125, 0.005]]))


def test_a_solver_that_steps_by_itself_lets_others_speak_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.agents.morl_d.agent.MAX_STEPS_PER_YIELD", 20)
    agent = build(solver="sb3:A2C", rollout_steps=2, exchange_every=400)
    stops = [agent.steps for _ in agent.learn(morl.make_vec(WALK, 6), 120, answer)]
    assert stops == [24, 48, 72, 96, 120]


def test_algorithms_of_sb3_contrib_are_found_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    contributed = ModuleType("sb3_contrib")
    contributed.TQC = stable_baselines3.SAC  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sb3_contrib", contributed)
    assert find_algorithm("TQC") is stable_baselines3.SAC
    with pytest.raises(ValueError, match="neither stable_baselines3 nor sb3_contrib has NOPE"):
        find_algorithm("NOPE")
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)  # not installed
    reason = (
        r"stable_baselines3 has no TQC and sb3_contrib is not installed: add it by pip install 'morl-suite\[sb3-contrib"
    )
    with pytest.raises(ValueError, match=reason):
        find_algorithm("TQC")


@pytest.mark.parametrize(("solver", "env", "settings"), ALGORITHMS)
def test_every_parameter_of_a_model_is_checked_for_divergence(solver: str, env: str, settings: Any) -> None:
    agent = build(env, solver=solver, **settings)
    assert isinstance(agent, ReturnsParameters)
    refuse_diverged_parameters(agent)
    last = agent.solver.models[-1]
    named = [*last.policy.named_parameters()]
    named += [(name, getattr(last, name)) for name in ("log_ent_coef",) if hasattr(last, name)]
    assert len(named) > 3
    for _, parameter in named:
        before = parameter.detach().clone()
        parameter.data.view(-1)[-1] = float("nan")
        with pytest.raises(ValueError, match="parameters are no longer finite: learning has diverged"):
            refuse_diverged_parameters(agent)
        parameter.data.copy_(before)
    refuse_diverged_parameters(agent)


@pytest.mark.parametrize(("solver", "env", "settings"), ALGORITHMS)
def test_learning_that_diverges_ends_with_one_sentence(solver: str, env: str, settings: Any, tmp_path: Path) -> None:
    config = toys.TINY_MORLD | {"solver": solver, "actor_learning_rate": 1e30} | settings
    schedule = toys.SCHEDULE | {"num_envs": 4}
    with pytest.raises(ValueError, match=r"^the agent's (actions|parameters) .*: learning has diverged"):
        morl.train("morl-d", env, total_steps=600, run_dir=tmp_path / "run", config=config, **schedule)
    assert "learning has diverged at step" in (tmp_path / "run" / "divergence.txt").read_text()
