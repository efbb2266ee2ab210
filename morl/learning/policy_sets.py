"""Policy sets as networks: the preference w, a point of the simplex, chooses the parameters of the network that acts.

A conditioned network sees w beside the observation s. The network of a policy set sees s alone, with parameters

    theta(w) = sum_k c_k(w) theta_k,    y = f(s; theta(w)),

where theta_1 ... theta_K are parameters of one multilayer perceptron f, and the coefficients c(w) have one of two
forms:

  - hyper: c(w) = (1, phi(w)) with a small perceptron phi, so that theta(w) = b + W phi(w): a hypernetwork whose range
    has as many dimensions as phi has outputs (MORLAX, Janwani et al. 2026, arXiv 2603.09237; Hyper-MORL, Shu et al.
    2024);
  - combination: c(w) = w, one set of parameters for each objective, so that theta(w) is a convex combination of them
    (Pareto Manifold Learning, Dimitriadis, Frossard, Fleuret 2023, arXiv 2210.09759).

Every row of a batch has a preference of its own. Its theta(w) is never written down: layers are linear in it, so that

    h A(w) + a(w) = sum_k c_k (h A_k + a_k) = (c x h) [A_1; ...; A_K] + c [a_1; ...; a_K],

where c x h has all products c_k h_i: one product of matrices for the whole batch, with K times the arithmetic of f.

At first theta(w) is the same for every w, one fresh multilayer perceptron: combinations start from equal sets, and
hypernetworks from W = 0. (Independent sets would average to weights that are too small in the middle of the simplex.)
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from morl.learning.networks import ACTIVATIONS, MultilayerPerceptron
from morl.learning.types import Activation, PolicySet

PREFERENCE_UNITS: Final = 64
"""Units of the hidden layer of phi, with tanh."""


@dataclass(frozen=True)
class PolicySetNetwork:
    """The shape of a network whose parameters depend on the preference. It holds no parameters.

    A row of inputs ends with the preference. A row of parameters has the K sets one behind the other, in a hypernetwork
    b first, then the columns of W, then the parameters of phi.
    """

    base: MultilayerPerceptron
    """f; its inputs are the columns before the preference."""
    policy_set: PolicySet
    """Form of the coefficients, number of objectives and of features."""

    @property
    def num_sets(self) -> int:
        """Return K, the number of sets of parameters."""
        form, objectives, features = self.policy_set
        return objectives if form == "combination" else 1 + features

    @property
    def features(self) -> MultilayerPerceptron | None:
        """Return phi; None for combinations."""
        form, objectives, features = self.policy_set
        if form == "combination":
            return None
        return MultilayerPerceptron((objectives, PREFERENCE_UNITS, features), activation="tanh")

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._parts())

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the columns of inputs, hidden layers and outputs."""
        return (self.base.widths[0] + self.policy_set.objectives, *self.base.widths[1:])

    def unlike(self, activation: Activation) -> str | None:  # noqa: ARG002
        """Return that parameters depend on the preference."""
        return f"networks is {self.policy_set.form!r}"

    def count_first(self, layers: int) -> int:
        """Return 0 for no layers.

        Raises:
            ValueError: layers are to be shared, but they are spread over the sets.
        """
        if layers > 0:
            raise ValueError(f"shared_layers is {layers}, but must be 0 where networks is {self.policy_set.form!r}")
        return 0

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: theta(w) is a fresh f, the same for every w."""
        return self._around(self.base.initialize(population, generator), generator)

    def initialize_orthogonal(self, population: int, generator: torch.Generator, last_gain: float) -> Tensor:
        """Return fresh parameters [population, num_parameters]; `last_gain` is the gain of the last layer of f."""
        return self._around(self.base.initialize_orthogonal(population, generator, last_gain), generator)

    def _around(self, first: Tensor, generator: torch.Generator) -> Tensor:
        """Return parameters for which theta(w) is `first` [population, base.num_parameters] for every w."""
        if self.features is None:
            return first.repeat(1, self.num_sets)
        no_change = first.new_zeros(len(first), self.policy_set.features * self.base.num_parameters)
        return torch.cat([first, no_change, self.features.initialize(len(first), generator)], dim=1)

    def coefficients(self, parameters: Tensor, preferences: Tensor) -> Tensor:
        """Return c(w) [policy, batch, set].

        Args:
            parameters: [policy, num_parameters].
            preferences: [policy, batch, objective] w.
        """
        if self.features is None:
            return preferences
        _, own = torch.split(parameters, self._parts(), dim=1)
        return torch.cat([torch.ones_like(preferences[..., :1]), self.features(own, preferences)], dim=2)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, output] for inputs [policy, batch, input] that end with preferences."""
        hidden, preferences = torch.split(inputs, [self.base.widths[0], self.policy_set.objectives], dim=2)
        coefficients = self.coefficients(parameters, preferences)
        parts = iter(torch.split(self._sets(parameters), self.base.sizes(), dim=2))
        last = len(self.base.widths) - 2
        for layer, (wide_in, wide_out) in enumerate(pairwise(self.base.widths)):
            weights = next(parts).reshape(-1, self.num_sets * wide_in, wide_out)
            biases = torch.bmm(coefficients, next(parts))
            products = (coefficients.unsqueeze(3) * hidden.unsqueeze(2)).flatten(2)
            hidden = torch.baddbmm(biases, products, weights)
            if layer < last:
                if self.base.layer_norm:
                    hidden = layer_norm(hidden, (wide_out,))
                hidden = ACTIVATIONS[self.base.activation](hidden)
        return hidden

    def _sets(self, parameters: Tensor) -> Tensor:
        """Return theta_k [policy, set, base.num_parameters], a view of parameters [policy, num_parameters]."""
        return torch.unflatten(torch.split(parameters, self._parts(), dim=1)[0], 1, (self.num_sets, -1))

    def _parts(self) -> list[int]:
        """Return the number of parameters of all sets together, and of phi."""
        own = 0 if self.features is None else self.features.num_parameters
        return [self.num_sets * self.base.num_parameters, own]


def set_of_networks(plain: MultilayerPerceptron, policy_set: PolicySet) -> PolicySetNetwork:
    """Return the network whose parameters depend on the preference, in the place of one that has it as an input.

    Args:
        plain: its inputs end with the preference.
        policy_set: how they depend on it.

    Raises:
        ValueError: products of the plain network have another precision than its parameters.
    """
    if plain.inner_dtype is not None:
        raise ValueError(f"precision is 'bfloat16', but must be another where networks is {policy_set.form!r}")
    seen = plain.widths[0] - policy_set.objectives
    return PolicySetNetwork(replace(plain, widths=(seen, *plain.widths[1:])), policy_set)
