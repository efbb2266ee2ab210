"""Agents whose policies remember: what only memory can solve, exact resuming, and settings that do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

import morl
from morl.acting import Policy
from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.config import Config as CMORLConfig
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config as MORLDConfig
from morl.agents.morl_d.solvers.on_policy import OnPolicy
from morl.envs import make
from morl.envs.core.registry import problem
from morl.envs.families.recall import LEFT, PLACES, RIGHT, front
from morl.pareto import hypervolume

pytestmark = pytest.mark.usefixtures("without_figures")
CPU = torch.device("cpu")
WALK = "toy-walk-v0"

# --- A task that only memory solves -----------------------------------------------------------------------------------

LEARNING: dict[str, dict[str, Any]] = {
    "c-morl": {
        "samples_per_update": 256,
        "minibatches": 2,
        "epochs": 4,
        "learning_rate": 3e-3,
        "extension_learning_rate": 1e-3,
        "hidden_sizes": (16,),
        "initial_steps": 15_000,
        "initial_divisions": 2,
    },
    "morl-d": {
        "solver": "ppo",
        "population": 4,
        "minibatches": 2,
        "epochs": 4,
        "actor_learning_rate": 3e-3,
        "entropy_weight": 0.02,
        "hidden_sizes": (32,),
        "rollout_steps": 64,
        "exchange_every": 4_000,
        "evaluation_episodes": 8,
    },
}
MEMORY: dict[str, dict[str, Any]] = {
    "c-morl": {"memory": "gru", "memory_size": 16, "memory_steps": 16},
    "morl-d": {"memory": "gru", "memory_size": 32, "memory_steps": 16},
}
STEPS = {"c-morl": 20_000, "morl-d": 30_000}
ROUNDS = {"num_envs": 12, "evaluate_every": 30_000, "log_every": 30_000, "evaluation_divisions": 10}


def return_of(policy: Policy, side: int) -> np.ndarray:
    """Return the prize and the time of an episode that shows a side; a policy that opens no door has neither."""
    seed = next(seed for seed in range(100) if shown(seed) == side)
    env = make("recall-v0")
    observation, _ = env.reset(seed=seed)
    state = None
    total = np.zeros(2)
    start = True
    for _ in range(PLACES[-1] + 1):
        action, state = policy.predict(observation, state=state, episode_start=start)
        observation, reward, terminated, _, _ = env.step(action)
        total += reward
        start = False
        if terminated:
            break
    return total


def shown(seed: int) -> int:
    observation, _ = make("recall-v0").reset(seed=seed)
    return LEFT if observation[0] < 0 else RIGHT


def exact_returns(run: Any) -> np.ndarray:
    """Return the expected returns [row, objective] of the policies of a front: means over both sides."""
    policies = [run.policy(row=row) for row in range(len(run.front.points))]
    return np.array([(return_of(policy, LEFT) + return_of(policy, RIGHT)) / 2.0 for policy in policies])


@pytest.mark.parametrize("agent", LEARNING)
def test_what_was_seen_long_ago_is_worth_half_of_the_front(agent: str, tmp_path: Path) -> None:
    settings = {"total_steps": STEPS[agent], "seed": 0, **ROUNDS}
    configs = {memory: LEARNING[agent] | own for memory, own in (("gru", MEMORY[agent]), ("none", {"memory": "none"}))}
    remembering = morl.train(agent, "recall-v0", run_dir=tmp_path / "gru", config=configs["gru"], **settings)
    reached = exact_returns(remembering)
    known = front(1.0)
    reference = (0.0, -10.0)
    assert hypervolume(reached, reference) > 0.85 * hypervolume(known, reference)  # its three corners have 0.9
    assert (reached[:, 0] <= known[:, 0].max()).all()

    forgetful = morl.train(agent, "recall-v0", run_dir=tmp_path / "none", config=configs["none"], **settings)
    reached = exact_returns(forgetful)
    prize_of_time = {-float(place + 1): prize for place, prize in zip(PLACES, (4.0, 10.0, 12.0), strict=True)}
    for prize, time in reached:  # both sides open the same door of the same place: one of them wins
        assert prize == prize_of_time.get(time, 0.0) / 2.0
    assert hypervolume(reached, reference) < 0.5 * hypervolume(known, reference)


# --- Saving -----------------------------------------------------------------------------------------------------------

TINY: dict[str, dict[str, Any]] = {
    "c-morl": toys.TINY_CMORL | {"samples_per_update": 16, "initial_steps": 64, "memory_steps": 4},
    "c-morl, trust region": toys.TINY_CMORL
    | {"samples_per_update": 16, "initial_steps": 64, "memory_steps": 4, "solver": "cpo"},
    "morl-d": toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "memory_steps": 2},
}
SMALL = {"memory": "gru", "memory_size": 5}


def train(case: str, run_dir: Path, steps: int, **changes: Any) -> Any:
    agent, _, _ = case.partition(",")
    schedule = toys.SCHEDULE | {"num_envs": 6} | changes
    return morl.train(agent, WALK, total_steps=steps, seed=3, run_dir=run_dir, config=TINY[case] | SMALL, **schedule)


@pytest.mark.parametrize("case", TINY)
@pytest.mark.parametrize("stop", [130, 150])
def test_a_resumed_run_ends_in_the_same_bits(case: str, stop: int, tmp_path: Path) -> None:
    """Also amid a rollout and an episode: what the policies remember of it is saved."""
    train(case, tmp_path / "whole", 300)
    train(case, tmp_path / "parts", stop)
    run = morl.resume(tmp_path / "parts", 300)
    found, expected = (toys.states(tmp_path / name, "agent") for name in ("parts", "whole"))
    assert toys.difference(found, expected) == ""
    assert "running_states" in str(list(walk_keys(found)))
    action, state = run.policy([0.5, 0.5]).predict(np.zeros(2, dtype=np.float32))
    assert state.shape == (5,)
    assert run.problem.action_space.contains(action)
    assert run.evaluate(episodes=2).discounted.shape == run.front.points.shape


def walk_keys(state: Any) -> Any:
    """Yield all keys of nested dicts."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield key
            yield from walk_keys(value)


def test_new_episodes_start_with_an_empty_memory() -> None:
    agent = MORLD(problem(WALK), MORLDConfig(**TINY["morl-d"] | SMALL), 3, 6, CPU)
    envs = morl.make_vec(WALK, 6)
    for _ in agent.learn(envs, 66, lambda preferences, *_: np.zeros((len(preferences), 2))):
        pass
    assert isinstance(agent.solver, OnPolicy)
    rollout = agent.solver.population.rollout
    assert not rollout.running_starts.all()
    agent.reset_episodes()
    assert rollout.running_starts.all()


def test_a_policy_that_replaces_another_does_not_remember_its_episodes() -> None:
    config = MORLDConfig(**TINY["morl-d"] | SMALL | {"transfer": "best", "neighbourhood": "all"})
    agent = MORLD(problem(WALK), config, 3, 6, CPU)

    def one_is_best(preferences: Any, episodes: int, policies: Any = None) -> Any:
        return np.array([[1.0, 1.0], [9.0, 9.0], [2.0, 2.0]])[policies]

    for _ in agent.learn(morl.make_vec(WALK, 6), 54, one_is_best):
        pass
    assert isinstance(agent.solver, OnPolicy)
    rollout = agent.solver.population.rollout
    assert not rollout.running_starts.all()
    agent._exchange(one_is_best)
    assert rollout.running_starts.all()


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory": "lstm"}, "memory is 'lstm', but must be one of none, gru"),
        ({"memory": "gru", "memory_size": 0}, "memory_size is 0, but must be finite and greater than 0"),
        ({"memory_size": 32}, 'memory_size is 32, which has no effect: memory must be "gru"'),
        ({"memory_steps": 8}, 'memory_steps is 8, which has no effect: memory must be "gru"'),
        (
            {"memory": "gru", "samples_per_update": 1024, "minibatches": 64},
            "minibatches is 64, but must be at most samples_per_update / memory_steps, which is 32",
        ),
    ],
)
def test_c_morl_refuses_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CMORLConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": "dqn"}, "memory is 'gru', but solver 'dqn' does not read it: it counts for ppo"),
        ({"preset": "eupg"}, "memory is 'gru', but solver 'eupg' does not read it: it counts for ppo"),
        ({"solver": "sb3:PPO"}, "memory is 'gru', but solver 'sb3:PPO' does not read it: it counts for ppo"),
        ({"memory": "none", "memory_steps": 8}, "memory_steps is 8, but it has no effect: it needs memory 'gru'"),
        ({"rollout_steps": 100}, "rollout_steps is 100, but must be a multiple of memory_steps, 32"),
        ({"minibatches": 9}, "minibatches is 9, but a rollout of a policy has only 8 sequences of memory_steps: 128"),
        ({"backend": "numba"}, "backend is 'numba', but memory is 'gru', which only eager updates support"),
    ],
)
def test_morl_d_refuses_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    settings = {"solver": "ppo", "memory": "gru", "population": 3, "rollout_steps": 128} | changes
    preset = settings.pop("preset", "vanilla")
    if preset != "vanilla":
        del settings["solver"]
    if settings["solver" if "solver" in settings else "memory"] == "dqn":
        del settings["rollout_steps"]
    with pytest.raises(ValueError, match=message):
        MORLD(problem(WALK), MORLDConfig.preset(preset, **settings), 3, 6, CPU)


def test_c_morls_rollouts_are_whole_sequences_and_eager(caplog: pytest.LogCaptureFixture) -> None:
    config = CMORLConfig(**TINY["c-morl"] | SMALL | {"samples_per_update": 18})
    with caplog.at_level("INFO", logger="morl"):
        agent = CMORL(problem(WALK), config, 3, 6, CPU)
    rollout = agent.stage.tasks.rollout
    assert (rollout.envs_per_policy, rollout.num_steps) == (2, 12)  # 9 steps each, rounded up to 3 sequences of 4
    assert agent.backend == "eager"
    assert "Updates are executed by eager PyTorch: memory is 'gru'" in caplog.text
    with pytest.raises(ValueError, match="backend is 'numba', but memory is 'gru', which only eager updates support"):
        CMORL(problem(WALK), CMORLConfig(**TINY["c-morl"] | SMALL | {"backend": "numba"}), 3, 6, CPU)


@pytest.mark.parametrize(("agent", "config"), [(CMORL, CMORLConfig), (MORLD, MORLDConfig)])
def test_a_memory_stands_behind_the_encoders_of_images(agent: Any, config: Any) -> None:
    images = problem("images/deep-sea-treasure-v0")
    settings = TINY["c-morl" if agent is CMORL else "morl-d"] | SMALL
    assert agent(images, config(**settings), 3, 6, CPU).memory_size == 5
    assert agent(images, config(**settings, image_size=0), 3, 6, CPU).memory_size == 5
    with pytest.raises(
        ValueError, match=r"memory is 'gru', but network is 'networks:.*set memory 'none', or image_siz"
    ):
        agent(images, config(**settings, network="networks:convolutional"), 3, 6, CPU)


def test_hidden_layers_behind_a_memory_are_those_of_the_settings(tmp_path: Path) -> None:
    config = TINY["c-morl"] | SMALL | {"activation": "silu", "normalization": "layer"}
    run = morl.train("c-morl", WALK, total_steps=130, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)
    policy = run.policy([0.5, 0.5])
    policy.save(tmp_path / "policy.pt")
    observations = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    actions, state = morl.load_policy(tmp_path / "policy.pt").predict(observations)
    np.testing.assert_array_equal(actions, policy.predict(observations)[0])
    assert state.shape == (20, 5)
