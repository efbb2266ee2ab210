"""The interface that all off-policy algorithms share: settings, state, updates and acting. See td3.py, sac.py, dqn.py.

An algorithm updates a population: its parameters and the state of its optimizers are tensors [policy, ...], one row for
each policy. It counts its updates itself (`updates`); how they are executed is the choice of
`morl.learning.backends.make_update`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from morl.learning.encoders import Architecture
from morl.learning.optimizers import Adam
from morl.learning.sampled_batches import Batch
from morl.learning.scalarization import UtilityFn
from morl.learning.types import Activation, ImageShape, Network, Normalization, PolicySet, Role

Precision: TypeAlias = Literal["float32", "float64", "bfloat16", "tf32"]
"""Of parameters and arithmetic. Parameters are float32 with the last two: bfloat16 computes products between hidden
layers in bfloat16; tf32, on GPUs only, rounds the factors of all products to 10 bits of mantissa."""


@dataclass(frozen=True, kw_only=True)
class OffPolicySettings:
    """Settings that all off-policy algorithms have.

    Attributes:
        hidden_sizes: units of each hidden layer.
        discount: gamma.
        tau: rate of the soft update of target networks.
        precision: of parameters and arithmetic.
        activation: of the hidden layers.
        normalization: of the hidden layers.
        images: images that observations begin with, which convolutions encode.
        network: the user's own network, "module:factory" (`morl.learning.encoders`); empty: a multilayer perceptron.
        policy_set: how the parameters of the networks that act depend on the preference that observations end with;
            None: they do not.
    """

    hidden_sizes: tuple[int, ...]
    discount: float
    tau: float = 0.005
    precision: Precision = "float32"
    activation: Activation = "relu"
    normalization: Normalization = "none"
    images: tuple[ImageShape, ...] = ()
    network: str = ""
    policy_set: PolicySet | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of parameters and sums."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def build_network(
        self, role: Role, inputs: int, outputs: int, normalization: Normalization = "none", acts: bool | None = None
    ) -> Network:
        """Return a network with these settings.

        Args:
            role: "actor" or "critic".
            inputs: columns of its inputs.
            outputs: columns of its outputs.
            normalization: of the hidden layers of this network, where the settings have none.
            acts: whether its outputs choose the actions; default: those of an actor do. Other networks see the
                preference as an input like others.
        """
        inner_dtype = torch.bfloat16 if self.precision == "bfloat16" else None
        architecture = self.architecture(normalization)
        if not (role == "actor" if acts is None else acts):
            architecture = replace(architecture, policy_set=None)
        return architecture.build(role, inputs, outputs, inner_dtype)

    def architecture(self, normalization: Normalization = "none") -> Architecture:
        """Return what these settings say about networks.

        Args:
            normalization: of the hidden layers of one network, where the settings have none.
        """
        return Architecture(
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            normalization=self.normalization if self.normalization != "none" else normalization,
            images=self.images,
            network=self.network,
            policy_set=self.policy_set,
        )


class OffPolicyAlgorithm(Protocol):
    """A population that learns from replayed transitions, every policy on its own part of a batch."""

    updates: int
    """Updates so far."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the complete state [policy, ...] by name, not copied; "actor" is the part that acts."""
        ...

    def sample_noise(self, updates: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return the noise [policy, update, draw, batch, action] of the next updates; draw may be of length 0."""
        ...

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Run one update of every policy; return metrics by name, detached."""
        ...

    def update_choices(self, count: int) -> tuple[object, ...]:
        """Return what the next updates depend on beside settings and tensors: the branches that each of them takes.

        Updates with the same choices run the same operations.

        Args:
            count: number of updates.
        """
        ...

    def explore(
        self, observations: Tensor, utility: UtilityFn, generator: torch.Generator, masks: Tensor | None = None
    ) -> Tensor:
        """Return exploring actions [policy, batch, action].

        Args:
            observations: [policy, batch, observation].
            utility: utility of vectors of values.
            generator: random stream.
            masks: [policy, batch, choice] allowed choices, where actions are choices; None: all are.
        """
        ...

    def state_dict(self, policies: slice = slice(None)) -> dict[str, Any]:
        """Return counters and the tensors of some policies or all; views, not copies."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], policies: slice = slice(None)) -> None:
        """Restore a state that `state_dict` returned; all policies must come from the same update."""
        ...


class TensorState:
    """`state_dict` and `load_state_dict` of an algorithm out of its `tensors` and its count of updates."""

    updates = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the complete state [policy, ...] by name, not copied."""
        raise NotImplementedError

    def all_parameters(self, policies: slice = slice(None)) -> list[Tensor]:
        """Return the parameters [policy, ...] of actors and critics, of some policies or all; views, not copies."""
        return [tensor[policies] for tensor in learned_tensors(self.tensors())]

    def update_choices(self, count: int) -> tuple[object, ...]:  # noqa: ARG002
        """Return no choices: every update runs the same operations."""
        return ()

    def state_dict(self, policies: slice = slice(None)) -> dict[str, Any]:
        """Return counters and the tensors of some policies or all; views, not copies."""
        return {"updates": self.updates} | {name: tensor[policies] for name, tensor in self.tensors().items()}

    def load_state_dict(self, state: Mapping[str, Any], policies: slice = slice(None)) -> None:
        """Restore a state that `state_dict` returned; all policies must come from the same update."""
        self.updates = state["updates"]
        for name, tensor in self.tensors().items():
            tensor[policies] = state[name]


def learned_tensors(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the parameters of actors and critics among the tensors of a population's state.

    Args:
        tensors: by name; where there are "parameters", these are of actor and critic.
    """
    names = ("parameters",) if "parameters" in tensors else ("actor", "critic")
    return [tensors[name] for name in names if name in tensors]


def optimizer_tensors(name: str, optimizer: Adam) -> dict[str, Tensor]:
    """Return the state of an optimizer as entries of `OffPolicyAlgorithm.tensors`."""
    return {f"{name}_{key}": value for key, value in optimizer.state_dict().items()}


# --- Layers that all policies have in common --------------------------------------------------------------------------


def share_parameters(parameters: Tensor, shared: int) -> Tensor:
    """Copy the first `shared` parameters of the first policy to all policies [policy, n], in place; return them."""
    parameters[:, :shared] = parameters[:1, :shared]
    return parameters


def average_shared_gradient(gradient: Tensor, shared: int) -> Tensor:
    """Replace the first `shared` entries of a gradient [policy, n] by their mean over the policies; return it.

    Parameters that start equal then stay equal: these layers are one, trained by all policies.
    """
    if shared:
        gradient[:, :shared] = gradient[:, :shared].mean(dim=0)
    return gradient
