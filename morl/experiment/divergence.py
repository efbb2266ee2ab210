"""Divergence: learning whose actions or parameters are no longer finite ends the run with one sentence.

The run folder keeps what was recorded, and its `divergence.txt` says where and what diverged.
"""

import math
from collections.abc import Mapping

import numpy as np

from morl.policy_files import PolicyData
from morl.protocols import Actions, Agent, ReturnsParameters, SavedPolicy

LARGEST_PARAMETER = 1e18
"""Sums of products of larger parameters are soon infinite in float32, whose largest number is 3e38."""


class Diverged(ValueError):
    """An agent's actions or parameters are no longer finite, or too large to compute with.

    Args:
        what: "actions" or "parameters".
        size: the largest absolute value; NaN where one is not a number.

    Attributes:
        finding: what diverged, as half a sentence.
    """

    def __init__(self, what: str, size: float = math.nan) -> None:
        state = f"have grown to {size:.0e}" if math.isfinite(size) else "are no longer finite"
        self.finding = f"the agent's {what} {state}"
        super().__init__(
            f"{self.finding}: learning has diverged (a smaller learning rate, or observations of smaller"
            " size, may help)"
        )


def refuse_diverged_actions(actions: Actions) -> None:
    """Check that an agent's actions are finite.

    Args:
        actions: a batch [env, ...].

    Raises:
        Diverged: they are not.
    """
    values = np.asarray(actions)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Diverged("actions")


def refuse_diverged_parameters(agent: Agent, policies: Mapping[int, SavedPolicy] | None = None) -> None:
    """Check all parameters that an agent learns: a choice of discrete actions does not show that they are infinite.

    What learns at present need not be in the front: policies that are extended, pre-trained, or wait for an exchange.

    Args:
        agent: the agent, or one learner of it.
        policies: the policies that it exports, by id; default: those are not checked.

    Raises:
        Diverged: one is not finite, or too large to compute with.
    """
    tensors = list(agent.all_parameters()) if isinstance(agent, ReturnsParameters) else []
    tensors += [policy.parameters for policy in (policies or {}).values() if isinstance(policy, PolicyData)]
    for tensor in tensors:
        if tensor.numel():
            largest = float(tensor.detach().abs().max())
            if not largest <= LARGEST_PARAMETER:
                raise Diverged("parameters", largest)
