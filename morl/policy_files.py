"""Policies as plain data: what a policy file holds, and how it is written and read without running code.

A policy is a specification (the shape of its network, its spaces, how outputs become actions) and arrays (parameters,
observation statistics, preference). `morl.acting` acts with it.
"""

import hashlib
import io
import json
import math
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, NamedTuple, get_args

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.observations import row_shape
from morl.learning.space_records import record_of_space, space_of_record
from morl.learning.types import (
    Activation,
    Convolution,
    ImageLayers,
    Normalization,
    PolicySet,
    PolicySetForm,
    RowShape,
    Thermometer,
)
from morl.output_files import check_output_file, checked_path
from morl.protocols import FloatArray
from morl.whole_files import write_atomically

FORMAT = 2
"""Of policy files; format 1 (0.1.0.dev) held parts of a learner."""
MAX_BINS: Final = 10_000
"""Bins of a thermometer code: more than any network should have inputs for a preference."""
LARGEST_FILE: Final = 2**29
"""Bytes of a policy file that is read."""

Head = Literal["deterministic", "squashed-gaussian", "gaussian", "categorical", "action-values"]
"""What a network's outputs mean.

deterministic: tanh of them is the action in [-1, 1]. squashed-gaussian: means and log standard deviations of a Gaussian
behind a tanh (SAC). gaussian: means; the log standard deviations follow the network's parameters. categorical: logits.
action-values: Q(s, a) of every action and objective; the action with the highest utility is taken.
"""


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """Everything about a policy that training does not change; the same for all policies of one agent."""

    agent: str
    """Name of the agent that trained it."""
    head: Head
    """What the network's outputs mean."""
    hidden_sizes: tuple[int, ...]
    """Widths of the hidden layers."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""
    normalization: Normalization = "none"
    """Normalization of the hidden layers."""
    image_size: int = 0
    """Largest side of an image (`morl.learning.observations`); 0: pixels are numbers like others."""
    image_layers: tuple[ImageLayers, ...] = ()
    """Layers that encode each image of an observation; their parameters come before those of the hidden layers."""
    network: str = ""
    """The user's own network, "module:factory"; empty: the layers above."""
    observation_space: gymnasium.Space[Any]
    """Of single observations."""
    action_space: gymnasium.Space[Any]
    """Of single actions: Discrete, or a Box."""
    objectives: tuple[str, ...]
    """Names of the objectives."""
    one_hot: bool = False
    """Whether bounded integer observations are encoded one-hot (`morl.learning.observations.encoder`)."""
    conditioned: bool = False
    """Whether the network's inputs end with the preference."""
    augmented_units: tuple[float, ...] | None = None
    """[objective] units of the accrued reward that follows the observation; None for a policy that does not see it."""
    utility: str = "linear"
    """Utility of action values: a name of `morl.utilities.UTILITIES`, or "module:name"."""
    ensemble: int = 1
    """Networks whose mean action values count; their parameters follow one another."""
    utility_of_shares: bool = False
    """Whether the utility sees shares of the range between `PolicyData.bounds` instead of returns."""
    reward_units: tuple[float, ...] | None = None
    """[objective] the returns of the environment that the policy sees as 1; None: they are the environment's own."""
    action_masks: bool = False
    """Whether it was trained with action masks, and so must be given those of the observations that it acts for."""
    memory_size: int = 0
    """Units of the GRU that sees the inputs, and whose state the network sees instead; 0: it has no memory."""
    shared_rows: bool = False
    """Whether observations are matrices with a row for each choice, over which the network shares its weights
    (`morl.learning.equivariant`)."""
    policy_set: PolicySet | None = None
    """How the network's parameters depend on the preference (`morl.learning.policy_sets`); None: they do not."""
    preference_bins: int = 0
    """Bins of the thermometer code in which the network sees preferences (`morl.learning.thermometer`); 0: numbers."""

    @property
    def rows(self) -> RowShape | None:
        """Return the rows of observations over which weights are shared; None: there are none."""
        return row_shape(self.observation_space, self.action_space) if self.shared_rows else None

    @property
    def thermometer(self) -> Thermometer | None:
        """Return the columns that the network sees in thermometer code; None: there are none."""
        return Thermometer(len(self.objectives), self.preference_bins) if self.preference_bins else None

    @property
    def stochastic(self) -> bool:
        """Return whether the policy is a distribution over actions that can be sampled."""
        return self.head in ("squashed-gaussian", "gaussian", "categorical")

    def record(self) -> dict[str, Any]:
        """Return the specification as plain data."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["observation_space"] = record_of_space(self.observation_space)
        fields["action_space"] = record_of_space(self.action_space)
        return fields

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> "PolicySpec":
        """Return the specification that `record` wrote down.

        Args:
            record: plain data.

        Raises:
            ValueError: it is incomplete, or a value is impossible.
        """
        try:
            fields = dict(record)
            fields["observation_space"] = space_of_record(fields["observation_space"])
            fields["action_space"] = space_of_record(fields["action_space"])
            fields["hidden_sizes"] = tuple(_listed(fields, "hidden_sizes", int))
            fields["objectives"] = tuple(_listed(fields, "objectives", str))
            fields["image_layers"] = tuple(_image_layers(each) for each in _listed(fields, "image_layers", list))
            if fields.get("policy_set") is not None:
                form, objectives, features = _listed(fields, "policy_set", str | int)
                fields["policy_set"] = PolicySet(form, objectives, features)
            for name in ("augmented_units", "reward_units"):
                if fields.get(name) is not None:
                    fields[name] = tuple(float(unit) for unit in _listed(fields, name, int | float))
            spec = PolicySpec(**fields)
        except (LookupError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"the policy's specification is incomplete, or of another version: {error}") from error
        spec._check()
        return spec

    def _check(self) -> None:
        """Raise ValueError where a field has a value that no policy has."""
        count = len(self.objectives)
        possible = {
            "agent": isinstance(self.agent, str),
            "head": self.head in get_args(Head),
            "hidden_sizes": all(size > 0 for size in self.hidden_sizes),
            "activation": self.activation in get_args(Activation),
            "normalization": self.normalization in get_args(Normalization),
            "image_size": type(self.image_size) is int and self.image_size >= 0,
            "network": isinstance(self.network, str),
            "objectives": count > 0 and all(self.objectives) and len(set(self.objectives)) == count,
            "utility": isinstance(self.utility, str),
            "ensemble": type(self.ensemble) is int and self.ensemble > 0,
            "memory_size": type(self.memory_size) is int and self.memory_size >= 0,
            "preference_bins": type(self.preference_bins) is int
            and 0 <= self.preference_bins <= (MAX_BINS if self.conditioned is True else 0),
            "augmented_units": self.augmented_units is None or _are_units(self.augmented_units, count),
            "reward_units": self.reward_units is None or _are_units(self.reward_units, count),
            **{
                name: isinstance(getattr(self, name), bool)
                for name in ("one_hot", "conditioned", "utility_of_shares", "action_masks")
            },
            "shared_rows": self.shared_rows is (self.rows is not None),
            "policy_set": self.policy_set is None or self._has_set(self.policy_set),
        }
        for name, holds in possible.items():
            if not holds:
                raise ValueError(f"the policy's {name} is {getattr(self, name)!r:.100}, which no policy has")

    def _has_set(self, policy_set: PolicySet) -> bool:
        """Return whether a policy can be of such a set."""
        known = policy_set.form in get_args(PolicySetForm) and policy_set.objectives == len(self.objectives)
        return known and self.conditioned and (policy_set.features > 0) is (policy_set.form == "hyper")


def _image_layers(record: Sequence[Any]) -> ImageLayers:
    convolutions, features = record
    layers = ImageLayers(tuple(Convolution._make(each) for each in convolutions), features)
    numbers = [layers.features, *(number for layer in layers.convolutions for number in layer)]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError(f"the policy's image_layers hold {record!r:.100}, which no policy has")
    return layers


def _listed(fields: Mapping[str, Any], name: str, kind: type | UnionType) -> list[Any]:
    """Return the entries of a field that must be a list of values of a kind; no bool is a number.

    Raises:
        ValueError: it is something else.
        KeyError: there is no such field.
    """
    values = fields[name]
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, kind) and not isinstance(value, bool) for value in values
    ):
        raise ValueError(f"the policy's {name} is {values!r:.100}, which no policy has")
    return list(values)


def _are_units(units: Sequence[float], count: int) -> bool:
    """Return whether numbers are the units of so many objectives."""
    return len(units) == count and all(0.0 < unit < math.inf for unit in units)


@dataclass(frozen=True, kw_only=True)
class PolicyData:
    """One policy: its specification and the arrays that acting needs."""

    spec: PolicySpec
    """The shape of the policy."""
    parameters: Tensor
    """[n] float32: of the memory, of the network (or networks), then (gaussian) the log standard deviations."""
    mean: NDArray[np.floating[Any]] | None = None
    """[width] mean of the observations, without pixels; None where observations are not normalized."""
    scale: NDArray[np.floating[Any]] | None = None
    """[width] 1 / standard deviation of the observations, in the precision that normalizes them."""
    preference: FloatArray
    """[objective] the preference it acts for; NaN where it has none."""
    bounds: FloatArray | None = None
    """[2, objective] lowest and ideal return of its utility; None where the utility needs none."""

    def state_dict(self) -> dict[str, Any]:
        """Return the policy as plain data for a checkpoint."""
        arrays = {name: getattr(self, name) for name in ("parameters", "mean", "scale", "preference", "bounds")}
        return {"spec": json.dumps(self.spec.record()), **arrays}

    @staticmethod
    def of_state_dict(state: Mapping[str, Any]) -> "PolicyData":
        """Return the policy that `state_dict` wrote down.

        Args:
            state: plain data.

        Raises:
            ValueError: the data is incomplete, or arrays do not fit the specification.
        """
        try:
            spec = PolicySpec.of_record(json.loads(state["spec"]))
            arrays = {name: state[name] for name in ("parameters", "mean", "scale", "preference", "bounds")}
        except (LookupError, TypeError, RecursionError) as error:
            raise ValueError(f"the policy's data is incomplete: {error}") from error
        for name, value in arrays.items():
            optional = value is None and name in ("mean", "scale", "bounds")
            if not optional and not _is_array(value, Tensor if name == "parameters" else np.ndarray):
                raise ValueError(f"the policy's {name} must be an array of floats")
        return PolicyData(spec=spec, **arrays)


class PolicyFile(NamedTuple):
    """The content of a policy file."""

    data: PolicyData
    """The policy."""
    preference: FloatArray
    """[objective] what the policy was selected for."""
    preference_scale: FloatArray | None = None
    """[objective] what a preference is multiplied by before it is scaled to sum one and conditions the network; None:
    the policy acts for the preference of `data` only."""
    env_id: str = ""
    """Id of the environment that it was trained in; empty where the file does not say."""


def save_policy(file: str | Path, content: PolicyFile) -> None:
    """Write a policy file: plain data, with the SHA-256 of its content.

    Args:
        file: path of the file; it appears whole or not at all.
        content: of the file.

    Raises:
        ValueError: nothing can be written there.
    """
    path = check_output_file("file", file)
    facts: dict[str, object] = {}
    if content.preference_scale is not None:
        facts["preference_scale"] = content.preference_scale
    if content.env_id:
        facts["env_id"] = content.env_id
    write_atomically(path, policy_bytes(content.data.state_dict(), content.preference, facts))


def policy_bytes(
    state: Mapping[str, Any], preference: FloatArray | None = None, facts: Mapping[str, object] | None = None
) -> bytes:
    """Return the content of a policy file; equal policies have equal content.

    Args:
        state: what `PolicyData.state_dict` returned.
        preference: [objective] what the policy was selected for; default: the preference it acts for.
        facts: the fields `preference_scale` and `env_id` of a `PolicyFile`, where they are known.
    """
    wanted = state["preference"] if preference is None else preference
    content = {"format": FORMAT, **_tensors({**state, **(facts or {}), "wanted": np.array(wanted)})}
    content["sha256"] = _digest(content)
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def read_policy(file: str | Path) -> PolicyFile:
    """Return the content of a file that `save_policy` wrote; no code in the file is run.

    Args:
        file: path of the file.

    Raises:
        ValueError: the file is missing, damaged, altered, or of another format.
    """
    try:
        with checked_path("file", file).open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"policy file {file} is missing or damaged: {error}") from error
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{file} is no policy file: it has more than {LARGEST_FILE:,} bytes")
    return parse_policy(content, str(file))


def parse_policy(content: bytes, name: str) -> PolicyFile:
    """Return a policy file from its bytes; no code in them is run.

    Args:
        content: of the file.
        name: what messages call the file.

    Raises:
        ValueError: the content is damaged, altered, or of another format.
    """
    fields = _parse(content, name)
    try:
        data = PolicyData.of_state_dict(fields)
        _check_numbers(data, fields)
    except ValueError as error:
        raise ValueError(f"policy file {name} is damaged: {error}") from error
    return PolicyFile(
        data,
        preference=fields["wanted"],
        preference_scale=fields.get("preference_scale"),
        env_id=fields.get("env_id", ""),
    )


def _check_numbers(data: PolicyData, fields: Mapping[str, Any]) -> None:
    """Check the vectors of a policy file, and that a policy computes with numbers.

    Args:
        data: the policy.
        fields: of the file.

    Raises:
        ValueError: a field has another shape, or numbers that no policy has.
    """
    vectors = {"wanted": fields.get("wanted"), "preference_scale": fields.get("preference_scale", data.preference)}
    for key, vector in vectors.items():
        if not _is_array(vector, np.ndarray) or vector.shape != (len(data.spec.objectives),):
            raise ValueError(f"its {key} must be one number for each objective")
    for key, vector in {"preference": data.preference, "wanted": fields["wanted"]}.items():
        if np.isinf(vector).any():
            raise ValueError(f"its {key} is {_shown(vector)}, but must be finite numbers, or NaN where it has none")
    scale = fields.get("preference_scale")
    if scale is not None and not (np.isfinite(scale) & (scale > 0.0)).all():
        raise ValueError(f"its preference_scale is {_shown(scale)}, but must be finite numbers greater than 0")
    arrays = {"parameters": data.parameters.numpy(), "mean": data.mean, "scale": data.scale}
    for key, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"its {key} must be finite numbers")
    if not isinstance(fields.get("env_id", ""), str):
        raise ValueError(f"its env_id is {_shown(fields['env_id'])}, but must be the id of an environment")


def _shown(value: object) -> str:
    """Return a value of a file for a message: short, in one line."""
    return " ".join(f"{value!r:.100}".split())


def _is_array(value: object, kind: type) -> bool:
    """Return whether a value is an array of floats of a kind, a tensor or a NumPy array."""
    if isinstance(value, np.ndarray):
        return kind is np.ndarray and value.dtype.kind == "f"
    return isinstance(value, Tensor) and kind is Tensor and value.dtype == torch.float32


def _parse(file_content: bytes, name: str) -> dict[str, Any]:
    """Return the content of a policy file after checking its format and hash; parameters are a tensor, else arrays."""
    try:
        content = _loaded(file_content)
        if not content.keys() & {"spec", "sha256"}:
            raise ValueError("it is no policy file")
        if content.get("format", 1) != FORMAT:
            found = content.get("format", 1)
            raise ValueError(f"it has format {found!r:.20}, but this version of morl reads format {FORMAT}")
        sha256 = content.pop("sha256", None)
        if sha256 != _digest(content):
            raise ValueError("its content does not match its SHA-256")
        return {
            key: value.numpy() if isinstance(value, Tensor) and key != "parameters" else value
            for key, value in content.items()
        }
    except Exception as error:  # torch raises a dozen types for a damaged archive
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"policy file {name} is missing or damaged: {reason}") from error


def _loaded(file_content: bytes) -> dict[str, Any]:
    """Return the content of a policy file, unchecked but for its size."""
    with zipfile.ZipFile(io.BytesIO(file_content)) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    if expanded > len(file_content):  # torch does not compress
        raise ValueError(f"it would expand to {expanded:,} bytes")
    try:
        content: object = torch.load(io.BytesIO(file_content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's message advises to run what the file names
        raise ValueError("it holds more than numbers and words, which no policy file does") from None
    if not isinstance(content, dict):
        raise ValueError("it is no policy file")
    claimed = sum(value.nbytes for value in content.values() if isinstance(value, Tensor))
    if claimed > len(file_content):  # one stored number can be declared as a tensor of any size
        raise ValueError(f"it would expand to {claimed:,} bytes")
    return content


def _tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with arrays as tensors of their own on the CPU."""
    tensors = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.array(value, order="C"))
        elif isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().clone()
        else:
            tensors[name] = value
    return tensors


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a policy file's content."""
    sha = hashlib.sha256()
    for name in sorted(content):
        value = content[name]
        if isinstance(value, Tensor):
            sha.update(f"{name}: {value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.contiguous().numpy().tobytes())
        else:
            sha.update(f"{name}: {value!r}".encode())
    return sha.hexdigest()
