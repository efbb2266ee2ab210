"""Run exported policies, and compare what they do with `Policy.predict`. On the path through conftest.py."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from morl.acting import Policy
from morl.action_masks import num_choices
from morl.policy_export import PolicyGraph

Inputs = Mapping[str, Any]
"""Name of an input -> its batch."""


def sampled(space: Any, count: int, seed: int) -> Any:
    """Return random observations of a space, batched as a vector environment would."""
    batched = batch_space(space, count)
    batched.seed(seed)
    return batched.sample()


def leaves(space: Any, batch: Any, path: str = "observation") -> dict[str, Any]:
    """Return a batch of observations as the inputs of a graph."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return {path: np.asarray(batch)}
    keys = space.spaces if isinstance(space, spaces.Dict) else range(len(space.spaces))
    found: dict[str, Any] = {}
    for key in keys:
        found |= leaves(space[key], batch[key], f"{path}.{key}")
    return found


def row(batch: Any, index: int) -> Any:
    match batch:
        case dict():
            return {key: row(part, index) for key, part in batch.items()}
        case tuple():
            return tuple(row(part, index) for part in batch)
    return batch[index]


class Situation:
    """Random observations, preferences, masks and accrued rewards for a policy."""

    def __init__(self, policy: Policy, count: int, seed: int = 0) -> None:
        spec = policy.data.spec
        random = np.random.default_rng(seed)
        objectives = len(spec.objectives)
        self.policy = policy
        self.observations = sampled(spec.observation_space, count, seed)
        self.preferences = random.dirichlet(np.ones(objectives), count).astype(np.float32) * 3.0
        self.accrued = np.column_stack([random.normal(size=(count, objectives)), random.uniform(size=count)])
        self.accrued = self.accrued.astype(np.float32)
        choices = num_choices(spec.action_space)
        self.masks = random.uniform(size=(count, choices)) < 0.6
        if choices:
            self.masks[np.arange(count), random.integers(choices, size=count)] = True
        self.remembered = np.tanh(random.normal(size=(count, spec.memory_size))).astype(np.float32)
        self.count = count

    def inputs(self, fixed_preference: bool = False) -> dict[str, Any]:
        """Return what the graph takes, in the dtypes in which this is found here."""
        spec = self.policy.data.spec
        found = leaves(spec.observation_space, self.observations)
        if self.policy.preference_scale is not None and not fixed_preference:
            found["preference"] = self.preferences
        if spec.augmented_units is not None:
            found["accrued_reward"] = self.accrued
        if spec.action_masks:
            found["action_mask"] = self.masks
        if spec.memory_size:
            found["state"] = self.remembered
        return found

    def predicted(self, fixed_preference: bool = False) -> Any:
        """Return what `predict` does; under a preference for each row where the graph takes one."""
        spec = self.policy.data.spec
        extras: dict[str, Any] = {}
        if spec.augmented_units is not None:
            extras["state"] = self.accrued
        if spec.memory_size:
            extras["state"] = self.remembered
        if spec.action_masks:
            extras["action_masks"] = self.masks
        if self.policy.preference_scale is None or fixed_preference:
            return self.policy.predict(self.observations, **extras)[0]
        actions = []
        for index in range(self.count):
            conditioned = self.policy.conditioned_on(self.preferences[index].astype(np.float64))
            given = {name: value[index] for name, value in extras.items()}
            actions.append(conditioned.predict(row(self.observations, index), **given)[0])
        return np.stack(actions)


def in_torch(graph: PolicyGraph, inputs: Inputs) -> list[Any]:
    """Return the outputs of a graph that was not written."""
    tensors = [torch.as_tensor(inputs[one.name]).to(one.dtype) for one in graph.inputs]
    with torch.no_grad():
        return [output.numpy() for output in graph(*tensors)]


def onnx_session(file: Path) -> Any:
    import onnxruntime  # the extra [onnx], which `make test` installs

    return onnxruntime.InferenceSession(str(file))


def onnx_facts(session: Any) -> dict[str, Any]:
    """Return the metadata of an ONNX file, JSON read."""
    texts = session.get_modelmeta().custom_metadata_map
    return {name: json.loads(text) if text[0] in "[{" else text for name, text in texts.items()}


def in_onnx(file: Path) -> Callable[[Inputs], list[Any]]:
    """Return a function from inputs to the outputs of an ONNX file."""
    session = onnx_session(file)
    dtypes = {one["name"]: one["dtype"] for one in onnx_facts(session)["inputs"]}
    assert [one.name for one in session.get_inputs()] == list(dtypes)

    def run(inputs: Inputs) -> list[Any]:
        outputs: list[Any] = session.run(None, {name: inputs[name].astype(dtypes[name]) for name in dtypes})
        return outputs

    return run


def in_torchscript(file: Path) -> Callable[[Inputs], list[Any]]:
    """Return a function from inputs to the outputs of a TorchScript file."""
    extra = {"morl.json": ""}
    with pytest.warns(DeprecationWarning, match="torch.jit.load"):
        module = torch.jit.load(str(file), _extra_files=extra)  # type: ignore[no-untyped-call]
    given = json.loads(json.loads(extra["morl.json"])["inputs"])

    def run(inputs: Inputs) -> list[Any]:
        tensors = [torch.as_tensor(inputs[one["name"]]).to(getattr(torch, one["dtype"])) for one in given]
        return [output.numpy() for output in module(*tensors)]

    return run


def assert_same_actions(policy: Policy, found: Any, expected: Any) -> None:
    """Assert that actions agree to 1e-5 of the size of the action space, choices exactly."""
    assert found.shape == expected.shape
    space = policy.data.spec.action_space
    if isinstance(space, spaces.Discrete):
        np.testing.assert_array_equal(found, expected)
        return
    if np.dtype(space.dtype).kind in "iu":  # a half may fall to either side where sums were added in another order
        difference = np.abs(found.astype(np.int64) - expected.astype(np.int64))
        assert difference.max() <= 1
        assert difference.sum() <= 1 + difference.size // 100
        return
    assert found.dtype == expected.dtype
    size = np.where(np.isfinite(space.low) & np.isfinite(space.high), np.abs(space.low) + np.abs(space.high), 1.0)
    size = np.maximum(size, np.abs(expected.astype(np.float64)))
    assert (np.abs(found.astype(np.float64) - expected) <= 1e-5 * np.maximum(size, 1e-30)).all()
    assert ((found >= space.low) & (found <= space.high)).all()
