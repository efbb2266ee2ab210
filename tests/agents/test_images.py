"""Images, alone and beside numbers, over all agents: runs, policies in files, exact resuming, the contract."""

from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
import torch
import toys
from graphs import assert_same_actions, in_torch, leaves

import morl
from morl.agents import check_agent
from morl.envs import make_vec
from morl.experiment.components import find_task
from morl.experiment.settings import resolve_sources
from morl.policy_export import PolicyGraph
from morl.policy_networks import PolicyNetwork

pytestmark = pytest.mark.usefixtures("without_figures")

LEARNERS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", False, toys.TINY),
    "pd-morl-continuous": ("pd-morl", True, toys.TINY_CONTINUOUS),
    "pd-morl-pretraining": ("pd-morl", True, toys.TINY_CONTINUOUS | {"key_pretraining_steps": 30}),
    "c-morl": ("c-morl", False, toys.TINY_CMORL),
    "c-morl-cpo": ("c-morl", True, toys.TINY_CMORL | {"solver": "cpo"}),
    "dqn": ("morl-d", False, toys.TINY_MORLD_OFF_POLICY),
    "conditioned": ("morl-d", False, toys.TINY_MORLD_CONDITIONED | {"preset": "gpi-ls"}),
    "discrete-sac": ("morl-d", False, toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac"}),
    "shared-layers": ("morl-d", False, toys.TINY_MORLD_CONDITIONED | {"networks": "shared-layers"}),
    "sac": ("morl-d", True, toys.TINY_MORLD_OFF_POLICY),
    "td3": ("morl-d", True, toys.TINY_MORLD_OFF_POLICY | {"solver": "td3"}),
    "ppo": ("morl-d", True, toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
    "eupg": ("morl-d", False, toys.TINY_MORLD_ON_POLICY | {"preset": "eupg"}),
    "c-morl-memory": ("c-morl", False, toys.TINY_CMORL | {"memory": "gru", "memory_size": 5, "memory_steps": 4}),
    "c-morl-cpo-memory": (
        "c-morl",
        True,
        toys.TINY_CMORL | {"memory": "gru", "memory_size": 5, "memory_steps": 4, "solver": "cpo"},
    ),
    "ppo-memory": (
        "morl-d",
        True,
        toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "memory": "gru", "memory_size": 5, "memory_steps": 2},
    ),
}
"""Name -> agent, whether actions are continuous, settings."""

SB3: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "sb3:DQN": ("morl-d", False, toys.TINY_MORLD | {"solver": "sb3:DQN", "learning_starts": 16, "buffer_size": 200}),
    "sb3:SAC": ("morl-d", True, toys.TINY_MORLD | {"solver": "sb3:SAC", "learning_starts": 16, "buffer_size": 200}),
    "sb3:TD3": ("morl-d", True, toys.TINY_MORLD | {"solver": "sb3:TD3", "learning_starts": 16, "buffer_size": 200}),
    "sb3:PPO": ("morl-d", True, toys.TINY_MORLD | {"solver": "sb3:PPO", "rollout_steps": 4, "batch_size": 8}),
    "sb3:A2C": ("morl-d", False, toys.TINY_MORLD | {"solver": "sb3:A2C", "rollout_steps": 4}),
}
SCHEDULE = toys.SCHEDULE | {"num_envs": 6, "evaluate_every": 60, "log_every": 30}


def train(learner: str, name: str, run_dir: Path, total_steps: int = 96, **config: Any) -> Any:
    agent, continuous, settings = (LEARNERS | SB3)[learner]
    env = images.env_id(name, continuous)
    return morl.train(agent, env, total_steps=total_steps, run_dir=run_dir, config=settings | config, **SCHEDULE)


def observations(learner: str, name: str, count: int = 5) -> Any:
    envs = make_vec(images.env_id(name, (LEARNERS | SB3)[learner][1]), count)
    batch, _ = envs.reset(seed=7)
    envs.close()
    return batch


def assert_acts_alike(run: Any, learner: str, name: str, file: Path) -> None:
    """A policy acts from its file as in its run, in a batch as alone."""
    batch = observations(learner, name)
    policy = run.policy(row=0)
    policy.save(file)
    loaded = morl.load_policy(file)
    assert loaded.data.spec.image_size == 84
    assert len(loaded.data.spec.image_layers) == (2 if name == "image-tuple" else 1)
    expected, _ = policy.predict(batch)
    found, _ = loaded.predict(batch)
    np.testing.assert_array_equal(found, expected)
    graph = PolicyGraph(PolicyNetwork(loaded.data.spec), loaded.data, None, distribution=False)
    drawn, *_ = in_torch(graph, leaves(loaded.data.spec.observation_space, batch) | first_step(loaded, len(expected)))
    assert_same_actions(loaded, drawn, expected)
    alone = [loaded.predict(one(batch, index))[0] for index in range(5)]
    np.testing.assert_allclose(np.stack(alone), expected, rtol=1e-4, atol=1e-5)


def first_step(policy: Any, count: int) -> dict[str, Any]:
    """Return what a graph takes beside observations, as it is at the start of an episode."""
    spec = policy.data.spec
    if spec.memory_size:
        return {"state": np.zeros((count, spec.memory_size), np.float32)}
    if spec.augmented_units is None:
        return {}
    return {"accrued_reward": np.tile([0.0] * len(spec.objectives) + [1.0], (count, 1))}


def one(batch: Any, index: int) -> Any:
    match batch:
        case dict():
            return {key: one(part, index) for key, part in batch.items()}
        case tuple():
            return tuple(one(part, index) for part in batch)
    return batch[index]


@pytest.mark.parametrize("learner", LEARNERS | SB3)
def test_every_learner_learns_from_images_and_numbers(learner: str, tmp_path: Path) -> None:
    run = train(learner, "image-dict", tmp_path / "run")
    assert np.isfinite(run.front.points).all()
    assert_acts_alike(run, learner, "image-dict", tmp_path / "policy.pt")


ALONE = [(learner, name) for learner in ("pd-morl", "c-morl", "dqn", "sb3:A2C") for name in ("image", "image-tuple")]
ALONE += [("dqn", "first"), ("c-morl", "stacked"), ("pd-morl", "gray"), ("dqn", "large"), ("sb3:DQN", "first")]
ALONE += [("c-morl-memory", "image"), ("ppo-memory", "image-tuple")]


@pytest.mark.parametrize(("learner", "name"), ALONE)
def test_images_alone_and_in_other_forms(learner: str, name: str, tmp_path: Path) -> None:
    run = train(learner, name, tmp_path / "run")
    assert_acts_alike(run, learner, name, tmp_path / "policy.pt")


EXACT = ["pd-morl", "pd-morl-pretraining", "c-morl", "c-morl-memory", "dqn", "sac", "ppo", "ppo-memory", "sb3:DQN"]


@pytest.mark.parametrize("learner", EXACT)
def test_a_run_goes_on_exactly(learner: str, tmp_path: Path) -> None:
    train(learner, "image-dict", tmp_path / "whole", 96)
    train(learner, "image-dict", tmp_path / "parts", 54)
    morl.resume(tmp_path / "parts", 96)
    whole = toys.states(tmp_path / "whole", "agent")
    parts = toys.states(tmp_path / "parts", "agent")
    for states in (whole, parts):  # counters of calls of `learn`, of which there were more
        for model in states["agent"].get("solver", {}).get("models", []):
            for name in ("_total_timesteps", "_current_progress_remaining"):
                model.pop(name, None)
    assert toys.difference(whole, parts) == ""
    assert toys.front(tmp_path / "whole", "evaluation_steps") == toys.front(tmp_path / "parts", "evaluation_steps")


@pytest.mark.parametrize("learner", ["pd-morl", "pd-morl-continuous", "c-morl", "c-morl-memory", "dqn", "ppo"])
def test_the_contract_holds(learner: str) -> None:
    agent, continuous, settings = LEARNERS[learner]
    check_agent(agent, images.env_id("image-dict", continuous), settings, total_steps=120)


@pytest.mark.parametrize("learner", ["pd-morl", "pd-morl-continuous", "dqn", "discrete-sac", "c-morl", "ppo"])
def test_pixels_are_bytes_in_memory_and_in_checkpoints(learner: str, tmp_path: Path) -> None:
    total_steps = 90 if learner in ("c-morl", "ppo") else 96  # in the middle of a rollout
    train(learner, "image", tmp_path / "run", total_steps)
    pixels = images.SIDE**2 * 3
    found = [(tensor.dtype, tensor.shape[-1]) for tensor in arrays(toys.states(tmp_path / "run", "agent"))]
    wide = {dtype for dtype, width in found if pixels <= width <= 2 * pixels + 4}
    assert torch.uint8 in wide or np.dtype(np.uint8) in wide
    numbers = [width for dtype, width in found if dtype in (torch.float32, np.dtype(np.float32))]
    rows = [width for width in numbers if 2 * pixels <= width <= 2 * pixels + 20]
    assert not rows, "transitions are kept as numbers"


def arrays(state: Any) -> Any:
    """Yield all arrays with at least two axes in a nested state."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        for part in state:
            yield from arrays(part)
    elif isinstance(state, torch.Tensor | np.ndarray) and len(state.shape) >= 2:
        yield state


def test_pixels_as_numbers_are_learned_from_by_perceptrons(tmp_path: Path) -> None:
    for learner in ("pd-morl", "c-morl", "dqn", "sb3:A2C"):
        run = train(learner, "image", tmp_path / learner, image_size=0)
        spec = run.policy(row=0).data.spec
        assert (spec.image_size, spec.image_layers) == (0, ())


def test_what_networks_see_is_what_was_stored(tmp_path: Path) -> None:
    """A batch from the replay of MORL/D and of PD-MORL equals the encoded observations of the steps."""
    for learner in ("dqn", "pd-morl"):
        agent_name, _, settings = LEARNERS[learner]
        env = images.env_id("image-dict")
        task = find_task(agent_name, env, {})
        resolved = resolve_sources(task.agent_class.config_class, agent_name, env, [{"agent": settings}])
        agent = task.agent_class(task.problem, resolved.settings.agent, 0, 6, torch.device("cpu"))
        seen: list[Any] = []
        envs = make_vec(env, 6)
        for _ in agent.learn(envs, 12, lambda preferences, *_: np.zeros((len(preferences), 2))):
            latest = agent.collector.observations if learner == "dqn" else agent.episodes.observations
            seen.append(latest)
        if learner == "dqn":
            stored = torch.cat([agent.solver.bytes.rows.float(), agent.solver.replay.rows], dim=1).numpy()
        else:
            stored = torch.cat([agent.replay.bytes.rows[0].float(), agent.replay.buffer.rows[0]], dim=1).numpy()
        used = stored[stored.any(axis=1)]
        pixels = images.SIDE**2 * 3
        assert {row[:pixels].tobytes() for row in seen[0]} <= {row[:pixels].tobytes() for row in used}
        assert len(used) == 12
