"""Policies as graphs that run without this package: ONNX and TorchScript.

`PolicyGraph` is a policy as one torch module, from what an environment gives (observations, action masks) to what it
takes (actions). Networks, heads and utilities run in the code that acts (`morl.acting`); encoding, normalization and
the map to the environment's actions, which act in NumPy, are written here once more in torch, and tests compare the
two. `torch.export` records the module once, and both file formats are made from that record.

A new kind of observation needs a case in `leaf_tensors` and `_encoded_part`, a new field of `PolicySpec` an entry in
`EXPORTED_FIELDS`. What is unknown is refused with its name.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from morl.learning.tensor_spaces import (
    TensorSpec,
    action_tensor,
    encoded,
    environment_action,
    leaf_tensors,
    leaf_values,
)
from morl.output_files import check_output_file
from morl.policy_files import PolicyData, PolicySpec
from morl.policy_networks import PolicyArrays, PolicyNetwork
from morl.protocols import FloatArray
from morl.version import VERSION
from morl.whole_files import write_atomically

if TYPE_CHECKING:
    from torch.export import CustomDecompTable, ExportedProgram

EXPORTED_FIELDS: Final = frozenset(
    {
        "agent",
        "head",
        "hidden_sizes",
        "activation",
        "normalization",
        "image_size",
        "image_layers",
        "network",
        "observation_space",
        "action_space",
        "objectives",
        "one_hot",
        "conditioned",
        "augmented_units",
        "utility",
        "ensemble",
        "utility_of_shares",
        "reward_units",
        "action_masks",
        "memory_size",
        "shared_rows",
        "policy_set",
        "preference_bins",
    }
)
"""Fields of `PolicySpec` that a graph honors; a policy in which another one is set is refused."""

OPSET: Final = 18
"""Version of ONNX's operators: that of November 2022, read by onnxruntime from 1.14."""

EXTRA_FILE: Final = "morl.json"
"""Name of the metadata inside a TorchScript file."""

CLIP: Final = 10.0
"""Normalized observations are clipped to this many standard deviations, as in `morl.acting`."""


class PolicyGraph(nn.Module):
    """A policy from the environment's observations to its actions, as tensors with a batch axis.

    Inputs, in this order: one tensor for each leaf of the observation space; `preference` where `preference_scale` is
    given; `accrued_reward` where the policy sees it; `action_mask` where it was trained with masks; `state` where the
    policy has a memory. Outputs: `action`; the parameters of the distribution where these are asked for; `next_state`.

    Args:
        network: of the policy.
        data: the policy.
        preference_scale: [objective] what a preference is multiplied by before it is scaled to sum one and conditions
            the network; None: the preference of `data` is part of the graph.
        distribution: whether the parameters of the distribution over actions are outputs too.

    Raises:
        ValueError: the policy is of a kind that no graph exists for, or has no distribution.
    """

    policy_parameters: Tensor
    utility_bounds: Tensor
    preference_weights: Tensor
    reward_units: Tensor
    observation_mean: Tensor
    observation_scale: Tensor

    def __init__(
        self, network: PolicyNetwork, data: PolicyData, preference_scale: FloatArray | None, distribution: bool
    ) -> None:
        super().__init__()
        spec = data.spec
        _refuse_unknown(spec)
        if distribution and not spec.stochastic:
            raise ValueError(
                f"distribution is True, but this policy of {spec.agent} is deterministic: its head is {spec.head!r}"
            )
        self.spec = spec
        self.network = network
        self.preference_is_input = preference_scale is not None
        self.distribution = distribution
        self.leaves = list(leaf_tensors(spec.observation_space, "observation"))
        names = [leaf.name for leaf in self.leaves]
        if len(set(names)) < len(names):
            raise ValueError(f"observation_space is {spec.observation_space}, but two of its parts have the same path")
        self._check_encoding()
        bounds = np.zeros((2, len(spec.objectives))) if data.bounds is None else data.bounds
        weights = data.preference if preference_scale is None else preference_scale
        self._constant("policy_parameters", data.parameters.detach()[None])
        self._constant("utility_bounds", torch.as_tensor(bounds, dtype=torch.float32)[None])
        self._constant("preference_weights", torch.as_tensor(weights, dtype=torch.float64)[None])
        self.normalized = data.mean is not None and data.scale is not None
        if self.normalized:  # a buffer that is None would confuse torch.export
            self._constant("observation_mean", torch.as_tensor(data.mean))
            self._constant("observation_scale", torch.as_tensor(data.scale))
        units = np.ones(len(spec.objectives)) if spec.reward_units is None else np.array(spec.reward_units)
        self._constant("reward_units", torch.as_tensor(np.append(units * network.augmented.units, 1.0)))

    def _check_encoding(self) -> None:
        """Raise ValueError where torch encodes an observation otherwise than the network does."""
        space = copy.deepcopy(self.spec.observation_space)
        space.seed(0)
        batch, _ = self.network.batched(space.sample())
        values = zip(leaf_values(space, batch), self.leaves, strict=True)
        tensors = [torch.as_tensor(value.astype(leaf.numpy_dtype)) for value, leaf in values]
        rows = encoded(space, self.spec.one_hot, self.spec.image_size, tensors).numpy()
        if not np.array_equal(rows, self.network.encode(batch)):
            raise ValueError(
                f"observation_space is {space}, and observations of this kind cannot be exported as a graph yet"
            )

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.cpu().clone())

    @property
    def inputs(self) -> list[TensorSpec]:
        """Return the inputs, in the order of `forward`."""
        spec = self.spec
        count = len(spec.objectives)
        found = list(self.leaves)
        if self.preference_is_input:
            meaning = f"weights >= 0 of {', '.join(spec.objectives)}, not all zero; the graph scales them to sum one"
            found.append(TensorSpec("preference", torch.float32, (count,), meaning))
        if spec.augmented_units is not None:
            meaning = (
                "what the episode has paid so far: the discounted sum of rewards of each objective, then the discount"
                " of the next reward; zeros and a one at its start"
            )
            found.append(TensorSpec("accrued_reward", torch.float32, (count + 1,), meaning))
        if spec.action_masks:
            width = (self.network.num_actions,)
            found.append(TensorSpec("action_mask", torch.bool, width, "true where a choice is allowed, at least one"))
        if spec.memory_size:
            meaning = "what the policy remembers: the next_state of the step before; zeros at the start of an episode"
            found.append(TensorSpec("state", torch.float32, (spec.memory_size,), meaning))
        return found

    @property
    def outputs(self) -> list[TensorSpec]:
        """Return the outputs of `forward`."""
        if self.spec.memory_size == 0:
            return self._action_outputs()
        meaning = "what the policy remembers after this step"
        return [*self._action_outputs(), TensorSpec("next_state", torch.float32, (self.spec.memory_size,), meaning)]

    def _action_outputs(self) -> list[TensorSpec]:
        space = self.spec.action_space
        action = action_tensor(space)
        if not self.distribution:
            return [action]
        if isinstance(space, spaces.Discrete):
            meaning = f"of the choices, counted from {int(space.start)}"
            return [action, TensorSpec("probabilities", torch.float32, (self.network.num_actions,), meaning)]
        bounded = isinstance(space, spaces.Box) and space.is_bounded()
        units = "in [-1, 1], which stands for the bounds of the action" if bounded else "in its own units"
        meaning = f"of the Gaussian, {'before the tanh' if self.spec.head == 'squashed-gaussian' else units}"
        width = (self.network.num_actions,)
        return [action, *(TensorSpec(name, torch.float32, width, meaning) for name in ("mean", "standard_deviation"))]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for the inputs, both in the order of the properties of these names."""
        given = {tensor.name: value for tensor, value in zip(self.inputs, tensors, strict=True)}
        rows = encoded(
            self.spec.observation_space, self.spec.one_hot, self.spec.image_size, tensors[: len(self.leaves)]
        )
        if self.spec.augmented_units is not None:
            accrued = given["accrued_reward"].double() / self.reward_units
            rows = torch.cat([rows, accrued.float()], dim=1)
        if self.normalized:
            pixels = self.network.pixels  # which encoders scale
            columns = ((rows[:, pixels:] - self.observation_mean) * self.observation_scale).clamp(-CLIP, CLIP)
            rows = torch.cat([rows[:, :pixels], columns.float()], dim=1)
        preferences = self._preferences(given.get("preference"), rows)
        if self.spec.conditioned:
            rows = torch.cat([rows, preferences], dim=1)
        mask = given.get("action_mask")
        masks = None if mask is None else mask[None]
        arrays = PolicyArrays(self.policy_parameters, self.utility_bounds)
        if self.spec.memory_size:
            rows = self.network.remember(arrays.parameters, rows[None], given["state"][None])[0]
        chosen = self.network.actions(arrays, rows[None], preferences[None], masks)[0]
        found = [environment_action(self.spec.action_space, chosen)]
        if self.distribution:
            parameters = self.network.distribution_parameters(arrays.parameters, rows[None], masks)
            found += [parameter[0] for parameter in parameters]
        return (*found, rows) if self.spec.memory_size else tuple(found)

    def _preferences(self, given: Tensor | None, rows: Tensor) -> Tensor:
        """Return the preferences [batch, objective] that the network is conditioned on, in float32."""
        if given is None:
            fixed = self.preference_weights.float()
            return torch.zeros_like(rows[:, :1]) + fixed  # one row for each of the batch, whose size is not recorded
        weights = given.double() * self.preference_weights
        return (weights / weights.sum(dim=1, keepdim=True)).float()


def _refuse_unknown(spec: PolicySpec) -> None:
    """Raise ValueError where a field is set that a graph does not honor."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name not in EXPORTED_FIELDS and value != field.default:
            raise ValueError(
                f"the policy has {field.name} = {value!r}, and such policies cannot be exported as a graph yet"
            )


# --- Files ------------------------------------------------------------------------------------------------------------


def write_onnx(file: str | Path, graph: PolicyGraph, facts: Mapping[str, object]) -> None:
    """Write a policy as an ONNX file.

    Args:
        file: path of the file; it appears whole or not at all.
        graph: the policy.
        facts: what else the metadata says, by name.

    Raises:
        ValueError: a package that writes ONNX is not installed, the policy cannot be recorded, or nothing can be
            written there.
    """
    path = check_output_file("file", file)
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it, and says so in a page of text
    except ImportError as error:
        raise ValueError(
            f"a policy is written as ONNX with the package {error.name}, which is not installed: pip install"
            " 'morl-suite[onnx]'"
        ) from error
    program = _recorded(graph)
    names = [tensor.name for tensor in graph.inputs]
    with _quiet():
        if graph.spec.head == "action-values":  # computed in float64
            program = program.run_decompositions(_with_convolutions_as_products())
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=names,
            output_names=[tensor.name for tensor in graph.outputs],
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    for node in model.graph.node:  # where in our source each one comes from: a robot does not care
        del node.metadata_props[:]
        node.doc_string = ""
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        del tensor.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name = "morl"
    model.producer_version = VERSION
    del model.metadata_props[:]
    for name, text in metadata(graph, facts).items():
        model.metadata_props.add(key=name, value=text)
    onnx.checker.check_model(model, full_check=True)
    contents = model.SerializeToString(deterministic=True)
    _refuse_unsupported(contents, graph.spec)
    write_atomically(path, contents)


def _refuse_unsupported(contents: bytes, spec: PolicySpec) -> None:
    """Raise ValueError where onnxruntime has no code for an operator of a model; pass where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(contents, options)
    except Exception as error:  # its exceptions have no common class of their own
        operator = str(error).rpartition("implementation for ")[2].partition(" node")[0]
        exact = (
            "; action values are computed in float64, for which it has fewer" if spec.head == "action-values" else ""
        )
        raise ValueError(
            f"network is {spec.network!r}, but onnxruntime does not have the operator {operator}{exact}: use others, or"
            " export to TorchScript"
        ) from error


def write_torchscript(file: str | Path, graph: PolicyGraph, facts: Mapping[str, object]) -> None:
    """Write a policy as a TorchScript file, for `torch.jit.load` and for C++.

    Args:
        file: path of the file; it appears whole or not at all.
        graph: the policy.
        facts: what else the metadata says, by name.

    Raises:
        ValueError: the policy cannot be recorded, or nothing can be written there.
    """
    path = check_output_file("file", file)
    program = _recorded(graph)
    if any("sym_size" in str(node.target) for node in program.graph.nodes):
        raise ValueError("the policy computes with the size of the batch, which TorchScript would fix: export to ONNX")
    stream = io.BytesIO()
    extra = {EXTRA_FILE: json.dumps(metadata(graph, facts))}
    with _quiet():
        module = torch.jit.trace(program.module(), _examples(graph), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(module, stream, _extra_files=extra)
    write_atomically(path, stream.getvalue())


def metadata(graph: PolicyGraph, facts: Mapping[str, object]) -> dict[str, str]:
    """Return what a file says about itself: name -> a text, or JSON.

    Args:
        graph: the policy.
        facts: what else there is to say.
    """
    spec = graph.spec
    found: dict[str, object] = {
        "morl_version": VERSION,
        "agent": spec.agent,
        "objectives": list(spec.objectives),
        "inputs": [tensor.record() for tensor in graph.inputs],
        "outputs": [tensor.record() for tensor in graph.outputs],
        **facts,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _examples(graph: PolicyGraph) -> tuple[Tensor, ...]:
    return tuple(torch.ones((2, *tensor.shape), dtype=tensor.dtype) for tensor in graph.inputs)


def _recorded(graph: PolicyGraph) -> "ExportedProgram":
    """Return the record of a graph for batches of any size.

    Raises:
        ValueError: it computes something that cannot be recorded, such as a user's utility with an `if` in it.
    """
    examples = _examples(graph)
    batch = torch.export.Dim("batch")
    sizes = (tuple({0: batch} for _ in examples),)
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(graph, examples, dynamic_shapes=sizes)
    except Exception as error:  # torch raises a dozen types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        utility = "" if graph.spec.head != "action-values" else f" with the utility {graph.spec.utility!r}"
        raise ValueError(
            f"this policy of {graph.spec.agent}{utility} cannot be recorded as a graph: {reason}"
        ) from error


def _with_convolutions_as_products() -> "CustomDecompTable":
    """Return torch's replacements of operators and one more: of convolutions in float64, which onnxruntime has not."""
    table = torch.export.default_decompositions()
    table[torch.ops.aten.convolution.default] = _convolution_as_product
    return table


def _convolution_as_product(
    images: Tensor,
    weights: Tensor,
    biases: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    *others: object,
) -> Tensor:
    """Return a convolution [batch, filter, row, column] in float64 as a product of matrices.

    Args:
        images: [batch, channel, row, column].
        weights: [filter, channel, row, column].
        biases: [filter].
        stride: of both axes.
        padding: zeros around the images, of both axes.
        dilation: of both axes.
        transposed: whether it is a transposed convolution, which is left as it is.
        others: padding of the output and number of groups.
    """
    groups = others[-1]
    if images.dtype != torch.float64 or images.dim() != 4 or transposed or groups != 1:
        return NotImplemented  # type: ignore[no-any-return]  # torch then keeps the operator
    padded = torch.nn.functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    filters, channels, height, width = weights.shape
    starts = [
        torch.arange(0, padded.shape[axis] - dilation[axis - 2] * (weights.shape[axis] - 1), stride[axis - 2])
        for axis in (2, 3)
    ]
    rows = starts[0].unsqueeze(1) + dilation[0] * torch.arange(height)  # [row of the result, row of the weights]
    columns = starts[1].unsqueeze(1) + dilation[1] * torch.arange(width)
    seen = padded.index_select(2, rows.flatten()).index_select(3, columns.flatten())
    blocks = seen.reshape(-1, channels, len(rows), height, len(columns), width).permute(0, 2, 4, 1, 3, 5)
    product = blocks.reshape(-1, channels * height * width) @ weights.reshape(filters, -1).T
    found = product if biases is None else product + biases
    return found.reshape(-1, len(rows), len(columns), filters).permute(0, 3, 1, 2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from reporting what it thinks of its own parts: deprecations, packages that nothing here needs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
