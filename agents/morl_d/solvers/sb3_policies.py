"""Policies of Stable-Baselines3 as plain parameters: perceptrons and convolutions in the layout of `morl.acting`.

Modules are recognized by their parts, so that nothing here imports Stable-Baselines3 and algorithms of sb3-contrib with
the same parts (TQC, TRPO) are recognized too.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from morl.learning.actions import BoundedActions
from morl.learning.types import Activation, Convolution, ImageLayers
from morl.policy_files import Head

ACTIVATIONS: Final[dict[type[nn.Module], Activation]] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.SiLU: "silu",
    nn.ELU: "elu",
    nn.GELU: "gelu",
    nn.LeakyReLU: "leaky-relu",
}


class ActingNetwork(NamedTuple):
    """The network that acts."""

    head: Head
    """Meaning of its outputs."""
    layers: list[nn.Linear]
    """From observations, or the features of images and numbers, to outputs."""
    activation: Activation
    """Activation of the hidden layers."""
    encoders: list[nn.Module]
    """Of images, each with convolutions `cnn` and a layer `linear`."""

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Return the units of each hidden layer."""
        return tuple(layer.out_features for layer in self.layers[:-1])

    @property
    def image_layers(self) -> tuple[ImageLayers, ...]:
        """Return the layers that encode each image."""
        found = []
        for encoder in self.encoders:
            convolutions = tuple(
                Convolution(each.out_channels, each.kernel_size[0], each.stride[0]) for each in _convolutions(encoder)
            )
            found.append(ImageLayers(convolutions, _linear(encoder).out_features))
        return tuple(found)


def acting_network(policy: Any) -> ActingNetwork:
    """Return the network of a policy of Stable-Baselines3 that acts deterministically.

    Args:
        policy: `model.policy` of DQN, SAC, TD3, DDPG, PPO, A2C or an algorithm with the same networks.

    Raises:
        ValueError: the policy has other parts than convolutions for images and plain layers with one activation.
    """
    actor = getattr(policy, "actor", None)
    if hasattr(policy, "q_net"):
        return _network("action-values", policy.q_net.q_net, policy.q_net.features_extractor)
    if actor is not None and hasattr(actor, "latent_pi"):  # SAC: the mean behind a tanh; its deviation is not exported
        return _network("deterministic", nn.Sequential(actor.latent_pi, actor.mu), actor.features_extractor)
    if actor is not None and isinstance(getattr(actor, "mu", None), nn.Sequential):  # TD3: a tanh comes last
        return _network("deterministic", actor.mu[:-1], actor.features_extractor)
    if hasattr(policy, "action_net") and hasattr(policy, "mlp_extractor"):
        log_std = getattr(policy, "log_std", None)
        if log_std is not None and log_std.dim() != 1:
            raise ValueError("its exploration is state-dependent")
        layers = nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net)
        head: Head = "categorical" if log_std is None else "gaussian"
        return _network(head, layers, policy.pi_features_extractor)
    raise ValueError(f"its policy {type(policy).__name__} is unknown")


def _network(head: Head, sequence: nn.Sequential, features: nn.Module) -> ActingNetwork:
    parts = [part for part in sequence.modules() if not isinstance(part, nn.Sequential)]
    encoders = _encoders(features)
    known = {id(parameter) for encoder in encoders for parameter in _parameters(encoder)}
    if {id(parameter) for parameter in features.parameters()} != known:
        raise ValueError(f"its features {type(features).__name__} are learned")
    layers = [part for part in parts if isinstance(part, nn.Linear)]
    others = [part for part in parts if not isinstance(part, nn.Linear)]
    kinds = {type(part) for part in others}
    alternate = len(others) == len(layers) - 1 and all(isinstance(part, nn.Linear) for part in parts[::2])
    if not alternate or len(kinds) > 1 or not kinds <= set(ACTIVATIONS):
        raise ValueError(
            f"its layers {[type(part).__name__ for part in parts]} do not alternate with one activation of"
            f" {', '.join(ACTIVATIONS.values())}"
        )
    activation = ACTIVATIONS[kinds.pop()] if kinds else "relu"
    return ActingNetwork(head, layers, activation, encoders)


def _encoders(features: nn.Module) -> list[nn.Module]:
    """Return the encoders of images: convolutions with ReLU and a layer each, as NatureCNN has them."""
    return [part for part in features.modules() if isinstance(getattr(part, "cnn", None), nn.Sequential)]


def _convolutions(encoder: Any) -> list[nn.Conv2d]:
    return [part for part in encoder.cnn if isinstance(part, nn.Conv2d)]


def _linear(encoder: Any) -> nn.Linear:
    return next(part for part in encoder.linear if isinstance(part, nn.Linear))


def _parameters(encoder: nn.Module) -> Iterable[Tensor]:
    """Yield the parameters of convolutions and linear layer, weights and biases, in the order in which they act."""
    layers: list[nn.Conv2d | nn.Linear] = [*_convolutions(encoder), _linear(encoder)]
    for part in layers:
        yield part.weight
        if part.bias is not None:
            yield part.bias


def parameters_of(policy: Any, num_objectives: int, actions: BoundedActions | None, input_scale: float) -> Tensor:
    """Return the parameters of a policy [n], float32 on the CPU, in the layout of `morl.acting`.

    Args:
        policy: `model.policy` of an algorithm.
        num_objectives: a scalar action value is repeated for each of them: with non-negative weights the action with
            the highest weighted sum is the one with the highest value.
        actions: the environment's box, None for discrete actions. A Gaussian policy of Stable-Baselines3 acts in its
            units, one of `morl.acting` in [-1, 1].
        input_scale: factor of the observations in front of the network.
    """
    network = acting_network(policy)
    weights = [layer.weight.detach().double().cpu().T for layer in network.layers]  # [inputs, outputs]
    biases = [layer.bias.detach().double().cpu() for layer in network.layers]
    weights[0] = weights[0] * input_scale
    rest: list[Tensor] = []
    if network.head == "action-values":
        weights[-1] = weights[-1].repeat_interleave(num_objectives, dim=1)
        biases[-1] = biases[-1].repeat_interleave(num_objectives)
    if network.head == "gaussian" and actions is not None:
        half_range = torch.as_tensor(np.asarray(actions.half_range))
        weights[-1] = weights[-1] / half_range
        biases[-1] = (biases[-1] - torch.as_tensor(np.asarray(actions.center))) / half_range
        rest = [policy.log_std.detach().double().cpu() - half_range.log()]
    layers = [part.flatten() for pair in zip(weights, biases, strict=True) for part in pair]
    return torch.cat([*_encoding_parameters(network), *layers, *rest]).float()


def _encoding_parameters(network: ActingNetwork) -> list[Tensor]:
    """Return the weights and biases of the encoders of images, flat, in the layout of `morl.learning.encoders`."""
    found = []
    for encoder in network.encoders:
        linear = _linear(encoder)
        found += [part.detach().double().cpu().flatten() for part in _parameters(encoder) if part is not linear.weight]
        found.insert(-1, linear.weight.detach().double().cpu().T.flatten())
    return found
