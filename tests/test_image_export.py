"""Policies that see images, and policies with a user's own network, as ONNX and TorchScript graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import Situation, assert_same_actions, in_onnx, in_torch, in_torchscript
from gymnasium import spaces

from morl.acting import Policy
from morl.policy_export import PolicyGraph
from morl.policy_files import PolicyData, PolicySpec
from morl.policy_networks import PolicyNetwork


def image(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


SPEED = spaces.Box(-np.inf, np.inf, (2,), np.float64)
IMAGES: dict[str, tuple[Any, int]] = {
    "gray": (image(12, 10), 84),
    "channels last": (image(11, 9, 3), 84),
    "channels first": (image(3, 11, 9), 84),
    "stacked frames": (image(2, 11, 9, 3), 84),
    "shrunk by a factor that divides neither side": (image(25, 38, 3), 13),
    "two images between numbers": (
        spaces.Dict({"a": spaces.Discrete(3), "camera": image(12, 9, 3), "speed": SPEED, "z": image(40, 37)}),
        20,
    ),
    "pixels as numbers": (image(12, 10), 0),
}
HEADS: dict[str, dict[str, Any]] = {
    "deterministic": {"head": "deterministic", "conditioned": True},
    "squashed-gaussian": {"head": "squashed-gaussian"},
    "gaussian": {"head": "gaussian", "augmented_units": (1.0, 2.0)},
    "categorical": {"head": "categorical", "action_masks": True, "conditioned": True},
    "action-values": {"head": "action-values", "utility": "tchebycheff", "ensemble": 2, "conditioned": True},
}


def policy_of(head: str, space: Any, image_size: int, **changes: Any) -> Policy:
    """Return a random policy with statistics of the columns that are no pixels, where its agent keeps them."""
    discrete = head in ("categorical", "action-values")
    fields: dict[str, Any] = {
        "agent": "test",
        "hidden_sizes": (16,),
        "observation_space": space,
        "action_space": spaces.Discrete(4) if discrete else spaces.Box(-2.0, 1.0, (2,), np.float32),
        "objectives": ("speed", "energy"),
        "image_size": image_size,
        **HEADS[head],
        **changes,
    }
    spec = PolicySpec(**fields)
    network = PolicyNetwork(spec)
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    parameters = network.network.initialize(spec.ensemble, generator).flatten()
    if spec.memory_size:
        parameters = torch.cat([network.memory.initialize(1, generator).flatten(), parameters])
    columns = network.row_width - network.pixels
    normalized = head in ("gaussian", "categorical")
    data = PolicyData(
        spec=spec,
        parameters=torch.cat([parameters, torch.zeros(network.num_log_stds)]),
        mean=random.normal(size=columns) if normalized else None,
        scale=random.uniform(0.1, 2.0, size=columns) if normalized else None,
        preference=random.dirichlet(np.ones(2)),
        bounds=np.array([[-3.0, -2.0], [3.0, 4.0]]),
    )
    scale = random.uniform(0.1, 10.0, 2) if spec.conditioned else None
    return Policy(data, np.full(2, 0.5), preference_scale=scale, env_id="some-env-v0")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", IMAGES)
def test_a_graph_sees_images_as_predict_does(kind: str, head: str) -> None:
    policy = policy_of(head, *IMAGES[kind])
    graph = PolicyGraph(PolicyNetwork(policy.data.spec), policy.data, policy.preference_scale, False)
    for count in (1, 5):
        situation = Situation(policy, count, seed=count)
        (action,) = in_torch(graph, situation.inputs())
        assert_same_actions(policy, action, situation.predicted())


def assert_both_formats_agree(policy: Policy, folder: Path) -> None:
    policy.to_onnx(folder / "policy.onnx")
    policy.to_torchscript(folder / "policy.torchscript")
    for run in (in_onnx(folder / "policy.onnx"), in_torchscript(folder / "policy.torchscript")):
        for count in (1, 7):
            situation = Situation(policy, count, seed=count)
            assert_same_actions(policy, run(situation.inputs())[0], situation.predicted())


@pytest.mark.parametrize(
    ("kind", "head"), [*((kind, "categorical") for kind in IMAGES), *(("gray", h) for h in HEADS if h != "categorical")]
)
def test_both_formats_see_images(kind: str, head: str, tmp_path: Path) -> None:
    assert_both_formats_agree(policy_of(head, *IMAGES[kind]), tmp_path)


@pytest.mark.parametrize("head", ["gaussian", "categorical"])
def test_both_formats_see_images_with_a_memory(head: str, tmp_path: Path) -> None:
    kind = IMAGES["two images between numbers"]
    assert_both_formats_agree(policy_of(head, *kind, memory_size=6, augmented_units=None), tmp_path)


OWN = [*(("small", head) for head in HEADS), *(("convolutional", head) for head in HEADS if head != "action-values")]


@pytest.mark.parametrize(("network", "head"), OWN)
def test_both_formats_hold_the_users_own_network(network: str, head: str, tmp_path: Path) -> None:
    space, image_size = (image(12, 9, 3), 84) if network == "convolutional" else (SPEED, 0)
    assert_both_formats_agree(policy_of(head, space, image_size, network=f"networks:{network}"), tmp_path)


def test_operators_that_onnxruntime_does_not_have_are_named(tmp_path: Path) -> None:
    policy = policy_of("action-values", image(12, 9, 3), 84, network="networks:convolutional")
    policy.to_torchscript(tmp_path / "policy.torchscript")
    with pytest.raises(ValueError, match=r"network is 'networks:convolutional', but .* InstanceNormalization.*float64"):
        policy.to_onnx(tmp_path / "policy.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["policy.torchscript"]
