"""Updates as loops that Numba compiles for a CPU: several times as fast as eager PyTorch for small networks.

Fenced and frozen: new losses, layers and algorithms need nothing here, they fall back to eager. `unsupported` names the
settings that keep an algorithm from this backend. Numba and its compiler are imported only by who uses it.
"""

from typing import TYPE_CHECKING

import torch

from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.ppo import PPO
from morl.learning.sac import SAC
from morl.learning.td3 import TD3

if TYPE_CHECKING:
    from morl.learning.backends.numba.ppo import NumbaGradientStep
    from morl.learning.backends.numba.sac import NumbaSAC
    from morl.learning.backends.numba.td3 import NumbaTD3


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
    if isinstance(algorithm, TD3 | SAC) and algorithm.settings.precision == "bfloat16":
        return "precision is 'bfloat16', which only eager updates support"
    if isinstance(algorithm, SAC) and algorithm.settings.shared_layers > 0:
        return f"shared_layers is {algorithm.settings.shared_layers}, which only eager updates support"
    if isinstance(algorithm, SAC) and not linear_utility:
        return "utility is not linear in the values, which only eager updates support"
    return None


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
