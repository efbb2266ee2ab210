"""The part of policies that computes in torch: their network, the meaning of its outputs, and the choice of an action.

For the parameters of any policies of one specification. Acting (`morl.acting`) and exporting (`morl.policy_export`) run
the same code.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from morl.learning.actions import action_map
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution, SquashedGaussian
from morl.learning.encoders import Architecture, MemoryLayer
from morl.learning.observations import batch_size, observation_encoder, with_first_axis
from morl.learning.recurrent import GRU
from morl.learning.scalarization import AugmentedState, ScaledUtility, bind_utility, scaled_utility
from morl.learning.types import Network
from morl.protocols import FloatArray, MemoryArray, Observations, UtilityChoice

if TYPE_CHECKING:
    from morl.policy_files import PolicyData, PolicySpec


class PolicyArrays(NamedTuple):
    """The arrays of some policies that their network computes with, one behind the other."""

    parameters: Tensor
    """[policy, n]."""
    bounds: Tensor
    """[policy, 2, objective] lowest and ideal return of each policy's utility."""


class PolicyNetwork:
    """From observations to actions, for the parameters of any policies of one specification."""

    def __init__(self, spec: "PolicySpec", utility: UtilityChoice = None) -> None:
        self.spec = spec
        observations = observation_encoder(spec.observation_space, spec.one_hot, spec.image_size)
        self.encode = observations.encode
        self.images = observations.images
        self.pixels = observations.pixels
        width = observations.width
        num_objectives = len(spec.objectives)
        units = np.ones(num_objectives) if spec.augmented_units is None else np.array(spec.augmented_units)
        self.augmented = AugmentedState(width, units, spec.augmented_units is not None)
        self.row_width = width + self.augmented.width
        self.to_environment = action_map(spec.action_space)
        if isinstance(spec.action_space, spaces.Discrete):
            self.num_actions = int(spec.action_space.n)
        else:
            self.num_actions = int(np.prod(spec.action_space.shape or ()))
        discrete = isinstance(spec.action_space, spaces.Discrete)
        if discrete != (spec.head in ("categorical", "action-values")):
            raise ValueError(f"the policy's head is {spec.head!r}, which does not fit actions {spec.action_space}")
        self.input_width = self.row_width + (num_objectives if spec.conditioned else 0)
        self.memory = self._memory()
        self.num_log_stds = self.num_actions if spec.head == "gaussian" else 0
        if spec.memory_size and spec.head not in ("gaussian", "categorical"):
            raise ValueError(
                f"the policy's memory_size is {spec.memory_size}, but its head {spec.head!r} has no memory"
            )
        self._given_utility = None if utility is None else scaled_utility(utility, spec.utility_of_shares)

    @cached_property
    def network(self) -> Network:
        """Return the network; a user's own one is imported on first use, never when a file is read."""
        spec = self.spec
        num_objectives = len(spec.objectives)
        outputs = {
            "deterministic": self.num_actions,
            "squashed-gaussian": 2 * self.num_actions,
            "gaussian": self.num_actions,
            "categorical": self.num_actions,
            "action-values": self.num_actions * num_objectives,
        }[spec.head]
        architecture = self._architecture()
        if spec.memory_size:
            architecture = architecture.behind_memory
        seen = spec.memory_size or self.input_width
        return architecture.build("critic" if spec.head == "action-values" else "actor", seen, outputs)

    def _architecture(self) -> Architecture:
        spec = self.spec
        return Architecture(
            hidden_sizes=spec.hidden_sizes,
            activation=spec.activation,
            normalization=spec.normalization,
            images=self.images,
            image_layers=spec.image_layers,
            network=spec.network,
            rows=spec.rows,
            policy_set=spec.policy_set,
            thermometer=spec.thermometer,
        )

    def _memory(self) -> MemoryLayer:
        """Return the memory; without parameters where the policy has none."""
        if self.spec.memory_size == 0:
            return GRU(self.input_width, 0)
        return self._architecture().build_memory(self.input_width, self.spec.memory_size)

    @cached_property
    def utility(self) -> ScaledUtility:
        """Return the utility that chooses among action values; imported on first use, never when a file is read."""
        return self._given_utility or scaled_utility(self.spec.utility, self.spec.utility_of_shares)

    def check(self, data: "PolicyData") -> None:
        """Check that the arrays of a policy fit its specification.

        Args:
            data: the policy.

        Raises:
            ValueError: an array has the wrong shape or is missing.
        """
        num_objectives = len(self.spec.objectives)
        normalizer = () if data.mean is None else (self.row_width - self.pixels,)
        expected: dict[str, tuple[int, ...]] = {
            "parameters": (
                self.memory.num_parameters + self.spec.ensemble * self.network.num_parameters + self.num_log_stds,
            ),
            "mean": normalizer,
            "scale": normalizer,
            "preference": (num_objectives,),
            "bounds": () if data.bounds is None else (2, num_objectives),
        }
        for name, shape in expected.items():
            found = tuple(np.shape(getattr(data, name)) if getattr(data, name) is not None else ())
            if found != shape:
                raise ValueError(f"the policy's {name} have shape {found}, but must have {shape}")

    def remember(self, parameters: Tensor, inputs: Tensor, states: Tensor) -> Tensor:
        """Return the states of the memory after one step [policy, batch, memory_size], what the network then sees.

        Args:
            parameters: [policy, n].
            inputs: [policy, batch, width].
            states: [policy, batch, memory_size] before the step.
        """
        return self.memory.step(parameters[:, : self.memory.num_parameters], inputs, states)

    def distribution(self, parameters: Tensor, inputs: Tensor, masks: Tensor | None) -> Distribution | SquashedGaussian:
        """Return the distributions over actions of stochastic policies.

        Args:
            parameters: [policy, n].
            inputs: [policy, batch, width], with a memory the states after the observations.
            masks: [policy, batch, choice], true where a choice is allowed.
        """
        sizes = [self.memory.num_parameters, self.network.num_parameters, self.num_log_stds]
        _, weights, log_stds = torch.split(parameters, sizes, dim=1)
        outputs = self.network(weights, inputs)
        match self.spec.head:
            case "gaussian":
                return DiagonalGaussian(outputs, log_stds.unsqueeze(1))
            case "squashed-gaussian":
                return SquashedGaussian.of(outputs)
            case _:
                return Categorical.masked(outputs, masks)

    def distribution_parameters(self, parameters: Tensor, inputs: Tensor, masks: Tensor | None) -> tuple[Tensor, ...]:
        """Return the parameters of the distributions over actions: probabilities, or means and standard deviations.

        Args:
            parameters: [policy, n].
            inputs: [policy, batch, width].
            masks: [policy, batch, choice], true where a choice is allowed.

        Returns:
            One or two tensors [policy, batch, choice or action].
        """
        match self.distribution(parameters, inputs, masks):
            case Categorical() as choices:
                return (choices.log_probabilities.exp(),)
            case gaussian:
                return gaussian.mean, torch.zeros_like(gaussian.mean) + gaussian.log_std.exp()

    def batched(self, observation: Observations) -> tuple[Observations, int | None]:
        """Return a user's observation as a batch, and the size of the batch that it was; None for a single observation.

        Args:
            observation: one observation of the environment's space, or a batch of them along a first axis.

        Raises:
            ValueError: it is neither.
        """
        space = self.spec.observation_space
        size = batch_size(space, observation)
        return (with_first_axis(space, observation) if size is None else observation), size

    def accrued_before(self, state: ArrayLike, size: int | None) -> FloatArray:
        """Return the accrued reward and the discount [n, objective + 1] that a user's policy continues from.

        Args:
            state: one row or a batch of them.
            size: number of observations in the batch; None: a single one.

        Raises:
            ValueError: it has the wrong shape, or a number is not finite.
        """
        width = len(self.spec.objectives) + 1
        accrued = np.asarray(state, dtype=np.float64)
        if accrued.shape not in ((width,), (1 if size is None else size, width)):
            batch = "" if size is None else f", or {(size, width)}"
            raise ValueError(
                f"state has shape {accrued.shape}, but must be {(width,)}{batch}: the reward of each objective so far,"
                " and the discount"
            )
        _require_finite(accrued)
        rows: FloatArray = np.broadcast_to(accrued, (1 if size is None else size, width))
        return rows

    def memory_before(self, state: ArrayLike | None, episode_start: ArrayLike | None, size: int | None) -> MemoryArray:
        """Return a copy [n, memory_size] of what a user's policy remembers, emptied where an episode starts.

        Args:
            state: what `Policy.predict` returned; None: every episode starts.
            episode_start: bools, one or a batch; None: no episode starts.
            size: number of observations in the batch; None: a single one.

        Raises:
            ValueError: one of them has the wrong shape, or a number of the state is not finite.
        """
        count = 1 if size is None else size
        memory = np.zeros((count, self.spec.memory_size), dtype=np.float32)
        if state is not None:
            expected = memory.shape[1:] if size is None else memory.shape
            if np.shape(state) != expected:
                raise ValueError(f"state has shape {np.shape(state)}, but must be {expected}: what predict returned")
            _require_finite(np.asarray(state))
            memory[:] = state
        starts = np.asarray(False if episode_start is None else episode_start)
        if starts.dtype != np.bool_ or starts.shape not in ((), (count,)):
            raise ValueError(f"episode_start is {episode_start!r:.100}, but must be a bool or {count} of them")
        memory[np.broadcast_to(starts, count)] = 0.0
        return memory

    def actions(
        self,
        arrays: PolicyArrays,
        inputs: Tensor,
        preferences: Tensor,
        masks: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return actions [policy, batch, width]; a category is one number.

        Args:
            arrays: the parameters and return bounds of the policies.
            inputs: [policy, batch, width] of the network.
            preferences: [policy, batch, objective], for action values.
            masks: [policy, batch, choice], true where a choice is allowed; None: all are.
            generator: samples from stochastic policies; default: the most likely actions.
        """
        if self.spec.head == "deterministic":
            return self.network(arrays.parameters, inputs).tanh()
        if self.spec.head == "action-values":
            return self.greedy(arrays, inputs, preferences, masks)
        distribution = self.distribution(arrays.parameters, inputs, masks)
        return distribution.mode() if generator is None else distribution.sample(generator)

    def greedy(self, arrays: PolicyArrays, inputs: Tensor, preferences: Tensor, masks: Tensor | None) -> Tensor:
        """Return argmax_a u(Q(s, a)) [policy, batch, 1], where Q is the mean of the policy's networks.

        Computed in float64: utilities such as Tchebycheff's have near ties everywhere, and these must fall the same way
        whatever else is in the batch, or else a policy would not do again what it was archived for.

        Args:
            arrays: the parameters and return bounds of the policies.
            inputs: [policy, batch, width].
            preferences: [policy, 1 or batch, objective].
            masks: [policy, batch, choice], true where a choice is allowed.
        """
        policies = len(arrays.parameters)
        parameters = arrays.parameters.double().view(-1, self.network.num_parameters)
        outputs = self.network(parameters, inputs.double().repeat_interleave(self.spec.ensemble, dim=0))
        shape = (policies, self.spec.ensemble, -1, self.num_actions, len(self.spec.objectives))
        values = outputs.view(shape).mean(dim=1)
        rows = inputs[..., : self.row_width].double()
        utilities = bind_utility(self.utility, self.augmented, preferences.double(), arrays.bounds.double())(
            values, rows
        )
        if masks is not None:
            utilities = utilities.masked_fill(~masks, -torch.inf)
        return utilities.argmax(dim=-1, keepdim=True)


def _require_finite(state: NDArray[Any]) -> None:
    """Raise ValueError where a user's state of a policy has a number that is not finite."""
    if not np.isfinite(state).all():
        raise ValueError(f"state is {state!r:.100}, but must be finite numbers: what predict returned")
