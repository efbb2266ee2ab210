"""Policies as graphs that run without this package: ONNX and TorchScript.

`PolicyGraph` is a policy as one torch module, from what an environment gives (observations, action masks) to what it
takes (actions). Networks, heads and utilities run in the code that acts (`morl.acting`); encoding, normalization and
the map to the environment's actions, which act in NumPy, are written here once more in torch, and tests compare the
two. `torch.export` records the module once, and both file formats are made from that record.

A new kind of observation needs a case in `_leaves` and `_encoded`, a new field of `PolicySpec` an entry in
`EXPORTED_FIELDS`. What is unknown is refused with its name.
"""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from morl.action_masks import num_choices
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution, SquashedGaussian
from morl.learning.observations import has_few_joint_states
from morl.policy_files import PolicyData, PolicySpec, write_atomically
from morl.policy_networks import PolicyArrays, PolicyNetwork
from morl.protocols import FloatArray
from morl.version import VERSION

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXPORTED_FIELDS: Final = frozenset(
    {
        "agent",
        "head",
        "hidden_sizes",
        "activation",
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
    }
)
"""Fields of `PolicySpec` that a graph honors; a policy in which another one is set is refused."""

OPSET: Final = 18
"""Version of ONNX's operators: that of November 2022, read by onnxruntime from 1.14."""

EXTRA_FILE: Final = "morl.json"
"""Name of the metadata inside a TorchScript file."""

CLIP: Final = 10.0
"""Normalized observations are clipped to this many standard deviations, as in `morl.acting`."""


class GraphTensor(NamedTuple):
    """An input or an output of a graph; its first axis is the batch."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Without the batch."""
    meaning: str
    """In words, for the metadata."""

    def record(self) -> dict[str, object]:
        """Return plain data for the metadata."""
        name = str(self.dtype).removeprefix("torch.")
        return {"name": self.name, "dtype": name, "shape": ["batch", *self.shape], "meaning": self.meaning}


class PolicyGraph(nn.Module):
    """A policy from the environment's observations to its actions, as tensors with a batch axis.

    Inputs, in this order: one tensor for each leaf of the observation space; `preference` where `preference_scale` is
    given; `accrued_reward` where the policy sees it; `action_mask` where it was trained with masks. Outputs: `action`,
    then the parameters of the distribution where these are asked for.

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
        self.leaves = list(_leaves(spec.observation_space, "observation"))
        names = [leaf.name for leaf in self.leaves]
        if len(set(names)) < len(names):
            raise ValueError(f"observation_space is {spec.observation_space}, but two of its parts have the same path")
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

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.cpu().clone())

    @property
    def inputs(self) -> list[GraphTensor]:
        """Return the inputs, in the order of `forward`."""
        spec = self.spec
        count = len(spec.objectives)
        found = list(self.leaves)
        if self.preference_is_input:
            meaning = f"weights >= 0 of {', '.join(spec.objectives)}, not all zero; the graph scales them to sum one"
            found.append(GraphTensor("preference", torch.float32, (count,), meaning))
        if spec.augmented_units is not None:
            meaning = (
                "what the episode has paid so far: the discounted sum of rewards of each objective, then the discount"
                " of the next reward; zeros and a one at its start"
            )
            found.append(GraphTensor("accrued_reward", torch.float32, (count + 1,), meaning))
        if spec.action_masks:
            shape = (num_choices(spec.action_space),)
            found.append(GraphTensor("action_mask", torch.bool, shape, "true where a choice is allowed, at least one"))
        return found

    @property
    def outputs(self) -> list[GraphTensor]:
        """Return the outputs of `forward`."""
        space = self.spec.action_space
        action = GraphTensor("action", _action_dtype(space), tuple(space.shape or ()), _described(space))
        if not self.distribution:
            return [action]
        if isinstance(space, spaces.Discrete):
            meaning = f"of the choices, counted from {int(space.start)}"
            return [action, GraphTensor("probabilities", torch.float32, (int(space.n),), meaning)]
        assert isinstance(space, spaces.Box)
        width = int(np.prod(space.shape))
        units = "in [-1, 1], which stands for the bounds of the action" if space.is_bounded() else "in its own units"
        place = "before the tanh" if self.spec.head == "squashed-gaussian" else units
        return [
            action,
            GraphTensor("mean", torch.float32, (width,), f"of the Gaussian, {place}"),
            GraphTensor("standard_deviation", torch.float32, (width,), f"of the Gaussian, {place}"),
        ]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for the inputs, both in the order of the properties of these names."""
        given = {tensor.name: value for tensor, value in zip(self.inputs, tensors, strict=True)}
        rows = _encoded(self.spec.observation_space, self.spec.one_hot, iter(tensors))
        if self.spec.augmented_units is not None:
            accrued = given["accrued_reward"].double() / self.reward_units
            rows = torch.cat([rows, accrued.float()], dim=1)
        if self.normalized:
            rows = ((rows - self.observation_mean) * self.observation_scale).clamp(-CLIP, CLIP).float()
        preferences = self._preferences(given.get("preference"), rows)
        if self.spec.conditioned:
            rows = torch.cat([rows, preferences], dim=1)
        mask = given.get("action_mask")
        masks = None if mask is None else mask[None]
        arrays = PolicyArrays(self.policy_parameters, self.utility_bounds)
        chosen = self.network.actions(arrays, rows[None], preferences[None], masks)[0]
        action = _environment_action(self.spec.action_space, chosen)
        if not self.distribution:
            return (action,)
        return (action, *_parameters(self.network.distribution(arrays.parameters, rows[None], masks)))

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


def _leaves(space: gymnasium.Space[Any], path: str) -> Iterator[GraphTensor]:
    """Yield the leaves of an observation space that hold anything; names are paths such as observation.camera."""
    match space:
        case spaces.Dict():
            for key, part in space.spaces.items():
                yield from _leaves(part, f"{path}.{key}")
        case spaces.Tuple():
            for index, part in enumerate(space.spaces):
                yield from _leaves(part, f"{path}.{index}")
        case spaces.Discrete():
            yield GraphTensor(path, torch.int64, (), _described(space))
        case spaces.Box() | spaces.MultiDiscrete() | spaces.MultiBinary():
            if 0 not in space.shape:
                yield GraphTensor(path, _observation_dtype(space), tuple(space.shape), _described(space))
        case _:
            raise ValueError(f"{path} is {space}, and observations of this kind cannot be exported as a graph yet")


def _described(space: gymnasium.Space[Any]) -> str:
    """Return what a leaf of an observation space, or an action space, holds, in words."""
    match space:
        case spaces.Discrete():
            return f"a whole number from {int(space.start)} to {int(space.start + space.n) - 1}"
        case spaces.Box() if space.low.size > 0:
            numbers = "whole numbers" if np.dtype(space.dtype).kind in "iu" else "numbers"
            return f"{numbers} from {space.low.min()} to {space.high.max()}, as the environment has them"
        case spaces.MultiBinary():
            return "zeros and ones"
        case _:
            return f"whole numbers of the space {space}"


DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "bool": torch.bool,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.int32,  # torch stores larger unsigned integers, but does not compute with them
    "uint32": torch.int64,
    "uint64": torch.int64,
}
"""dtype of a space -> dtype of its tensors in a graph."""


def _observation_dtype(space: gymnasium.Space[Any]) -> torch.dtype:
    """Return float32 for all floats, as networks see them, else the dtype of the space."""
    dtype = np.dtype(space.dtype)
    return torch.float32 if dtype.kind == "f" else DTYPES[dtype.name]


def _encoded(space: gymnasium.Space[Any], one_hot: bool, tensors: Iterator[Tensor]) -> Tensor:
    """Return observations as rows [batch, width] of float32, as `morl.learning.observations.encoder` does.

    Args:
        space: of one observation.
        one_hot: whether bounded integers become one-hot.
        tensors: those of the leaves, in order.
    """
    match space:
        case spaces.Dict() | spaces.Tuple():
            parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
            return torch.cat([_encoded(part, one_hot, tensors) for part in parts if _holds(part)], dim=1)
        case spaces.Discrete():
            return _one_hot(next(tensors).reshape(-1, 1), np.array([space.start]), np.array([space.n]))
        case spaces.MultiDiscrete():
            counts = space.nvec.ravel()
            return _one_hot(next(tensors).reshape(-1, len(counts)), space.start.ravel(), counts)
        case spaces.Box() if one_hot and np.issubdtype(space.dtype, np.integer):
            low = space.low.ravel().astype(np.int64)
            counts = space.high.ravel().astype(np.int64) - low + 1
            values = next(tensors).reshape(-1, len(counts))
            if not has_few_joint_states(counts.tolist()):
                return _one_hot(values, low, counts)
            strides = np.append(np.cumprod(counts[:0:-1])[::-1], 1)
            states = ((values.long() - torch.as_tensor(low)) * torch.as_tensor(strides)).sum(dim=1, keepdim=True)
            return _one_hot(states, np.array([0]), np.array([counts.prod()]))
        case _:
            return next(tensors).float().reshape(-1, int(np.prod(space.shape or ())))


def _holds(space: gymnasium.Space[Any]) -> bool:
    """Return whether an observation space has any leaf that holds something."""
    return any(True for _ in _leaves(space, ""))


def _one_hot(values: Tensor, start: NDArray[Any], counts: NDArray[Any]) -> Tensor:
    """Return the categories [batch, n], counted from `start` [n], as one-hot columns [batch, sum of counts]."""
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]) - start
    columns = values.long() + torch.as_tensor(offsets.astype(np.int64))
    return (columns.unsqueeze(-1) == torch.arange(int(counts.sum()))).float().sum(dim=1)


def _action_dtype(space: gymnasium.Space[Any]) -> torch.dtype:
    """Return the dtype of actions, which `PolicyBank.act` has too; choices are int64."""
    return DTYPES[np.dtype(space.dtype).name] if isinstance(space, spaces.Box) else torch.int64


def _environment_action(space: gymnasium.Space[Any], actions: Tensor) -> Tensor:
    """Return actions [batch, ...] of the environment for those of a policy, as `morl.learning.actions` does.

    Args:
        space: of one action.
        actions: [batch, width]: a number of a choice, or numbers in [-1, 1] where the space is bounded.
    """
    if isinstance(space, spaces.Discrete):
        return actions[:, 0].long() + int(space.start)
    assert isinstance(space, spaces.Box)
    dtype = np.dtype(space.dtype)
    precision = torch.float64 if dtype.kind in "iu" or dtype == np.float64 else torch.float32
    low = torch.as_tensor(space.low.ravel().astype(np.float64))
    high = torch.as_tensor(space.high.ravel().astype(np.float64))
    scaled = actions.to(precision)
    if space.is_bounded():
        scaled = ((high + low) / 2).to(precision) + ((high - low) / 2).to(precision) * scaled
    scaled = torch.minimum(torch.maximum(scaled, low.to(precision)), high.to(precision))
    if dtype.kind in "iu":
        scaled = scaled.round()  # of float64: halves must fall as they do in NumPy
    return scaled.to(_action_dtype(space)).reshape(-1, *space.shape)


def _parameters(distribution: Distribution | SquashedGaussian) -> tuple[Tensor, ...]:
    """Return the parameters [batch, ...] of the only policy's distribution, as `PolicyGraph.outputs` names them."""
    match distribution:
        case Categorical():
            return (distribution.log_probabilities[0].exp(),)
        case DiagonalGaussian() | SquashedGaussian():
            return distribution.mean[0], (torch.zeros_like(distribution.mean) + distribution.log_std.exp())[0]


# --- Files ------------------------------------------------------------------------------------------------------------


def write_onnx(file: Path, graph: PolicyGraph, facts: Mapping[str, object]) -> None:
    """Write a policy as an ONNX file.

    Args:
        file: path of the file; it appears whole or not at all.
        graph: the policy.
        facts: what else the metadata says, by name.

    Raises:
        ValueError: a package that writes ONNX is not installed, or the policy cannot be recorded.
    """
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
    write_atomically(file, model.SerializeToString(deterministic=True))


def write_torchscript(file: Path, graph: PolicyGraph, facts: Mapping[str, object]) -> None:
    """Write a policy as a TorchScript file, for `torch.jit.load` and for C++.

    Args:
        file: path of the file; it appears whole or not at all.
        graph: the policy.
        facts: what else the metadata says, by name.

    Raises:
        ValueError: the policy cannot be recorded.
    """
    program = _recorded(graph)
    if any("sym_size" in str(node.target) for node in program.graph.nodes):
        raise ValueError("the policy computes with the size of the batch, which TorchScript would fix: export to ONNX")
    stream = io.BytesIO()
    extra = {EXTRA_FILE: json.dumps(metadata(graph, facts))}
    with _quiet():
        module = torch.jit.trace(program.module(), _examples(graph), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(module, stream, _extra_files=extra)
    write_atomically(file, stream.getvalue())


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
