"""Updates as loops that Numba compiles for a CPU: several times as fast as eager PyTorch for small networks.

Fenced and frozen: new losses, layers and algorithms need nothing here, they fall back to eager. `unsupported` names the
settings that keep an algorithm from this backend. Numba and its compiler are imported only by who uses it.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

import torch

from morl.learning.off_policy import OffPolicyAlgorithm, OffPolicySettings
from morl.learning.ppo import PPO
from morl.learning.sac import SAC
from morl.learning.td3 import TD3

if TYPE_CHECKING:
    from morl.learning.backends.numba.ppo import NumbaGradientStep
    from morl.learning.backends.numba.sac import NumbaSAC
    from morl.learning.backends.numba.td3 import NumbaTD3


HONOURED: Mapping[str, frozenset[str]] = {
    "TD3": frozenset(
        {
            "hidden_sizes",
            "discount",
            "tau",
            "precision",
            "learning_rate",
            "policy_delay",
            "target_noise",
            "target_noise_clip",
            "max_grad_norm",
            "loss",
            "utility_loss",
            "layer_norm",
            "action_gradient",
            "actor_starts",
            "critic_angle",
            "actor_angle",
        }
    ),
    "SAC": frozenset(
        {
            "hidden_sizes",
            "discount",
            "tau",
            "precision",
            "actor_learning_rate",
            "critic_learning_rate",
            "policy_delay",
            "temperature",
            "target_entropy",
            "shared_layers",
        }
    ),
    "PPO": frozenset(
        {
            "epochs",
            "minibatches",
            "clip_range",
            "value_clip_range",
            "value_weight",
            "entropy_weight",
            "max_grad_norm",
        }
    ),
}
"""Algorithm -> fields of its settings that the kernels honour; any other field is refused unless it has its default."""

CHOICES: Mapping[str, Collection[object]] = {
    "loss": ("huber", "squared"),
    "action_gradient": ("tanh", "leaky"),
    "precision": ("float32", "float64"),
}
"""Field -> the values that the kernels honour."""


def make_update(algorithm: PPO | OffPolicyAlgorithm) -> "NumbaGradientStep | NumbaSAC | NumbaTD3":
    """Return the compiled update of an algorithm for which `unsupported` returns None."""
    if isinstance(algorithm, TD3):
        from morl.learning.backends.numba.td3 import NumbaTD3

        return NumbaTD3(algorithm)
    if isinstance(algorithm, SAC):
        from morl.learning.backends.numba.sac import NumbaSAC

        return NumbaSAC(algorithm)
    assert isinstance(algorithm, PPO)
    from morl.learning.backends.numba.ppo import NumbaGradientStep

    return NumbaGradientStep(algorithm)


def unsupported(algorithm: PPO | OffPolicyAlgorithm, linear_utility: bool = True) -> str | None:
    """Return which setting keeps an algorithm from compiled updates, as a clause, or None.

    Args:
        algorithm: whose updates are to be compiled.
        linear_utility: whether the batches will hold the weights of a linear utility.
    """
    parameters = _parameters(algorithm)
    if parameters is None:
        return f"the algorithm is {type(algorithm).__name__}, which has no compiled updates"
    if parameters.device.type != "cpu":
        return f"device is {parameters.device.type!r}, and compiled updates run on a CPU only"
    assert isinstance(algorithm, PPO | TD3 | SAC)
    other_networks = None if isinstance(algorithm, PPO) else _other_networks(algorithm.settings)
    if other_networks is not None:
        return f"{other_networks}, which only eager updates support"
    for field in fields(algorithm.settings):
        value = getattr(algorithm.settings, field.name)
        known = field.name in HONOURED[type(algorithm).__name__]
        if (not known and value != field.default) or value not in CHOICES.get(field.name, (value,)):
            return f"{field.name} is {value!r}, which only eager updates support"
    if isinstance(algorithm, PPO):
        if algorithm.network.memory is not None:
            return "memory is 'gru', which only eager updates support"
        unlike = algorithm.network.actor.unlike("tanh")
        return None if unlike is None else f"{unlike}, which only eager updates support"
    if isinstance(algorithm, SAC) and algorithm.settings.shared_layers > 0:
        return f"shared_layers is {algorithm.settings.shared_layers}, which only eager updates support"
    if isinstance(algorithm, SAC) and not linear_utility:
        return "utility is not linear in the values, which only eager updates support"
    return None


def _other_networks(settings: OffPolicySettings) -> str | None:
    """Return what makes the networks others than plain layers, as a clause, where no field's name says it, or None."""
    if settings.images:
        return "observations have images"
    return None if settings.policy_set is None else f"networks is {settings.policy_set.form!r}"


def slower(algorithm: PPO | OffPolicyAlgorithm) -> str | None:
    """Return which setting makes compiled updates slower than eager ones, as a clause, or None."""
    parameters = _parameters(algorithm)
    if parameters is not None and parameters.dtype == torch.float64:
        return "precision is 'float64', for which compiled updates are slow"
    return None


def _parameters(algorithm: PPO | OffPolicyAlgorithm) -> torch.Tensor | None:
    """Return parameters of an algorithm that has compiled updates, else None."""
    if isinstance(algorithm, PPO):
        return algorithm.parameters
    return algorithm.actors if isinstance(algorithm, TD3 | SAC) else None
