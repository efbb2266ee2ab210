"""Multilayer perceptrons and Adam as compiled loops: what `networks.py` and `optimizers.py` do, without torch.

Networks of up to some hundred units spend most of their time between torch operations; here a whole update is one call.
The activations of a batch lie layer by layer in flat buffers, each [row, unit]. The members of a team partition rows of
the batch in the forward pass; in the backward pass, rows of the batch and of the weights. Arrays are float32; with
float64, for tests, functions that are approximated are exact.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from morl.learning.backends.numba.gemm import NATIVE, NO_FLOOR, NO_GATE, RELU_GATE, TANH_GATE, Array, gemm
from morl.learning.backends.numba.llvm_types import NumbaType
from morl.learning.backends.numba.threads import ThreadTeam, barrier, partition

Sizes = NDArray[np.int64]

RELU = 0
"""Hidden layers have ReLU."""
NORMALIZED_RELU = 1
"""Hidden layers have layer normalization, then ReLU."""
TANH = 2
"""Hidden layers have tanh."""

_NORM_EPSILON = np.float32(1e-5)  # of layer normalization, as torch has it
_ZERO = np.float32(0.0)


class Perceptron(NamedTuple):
    """A network of one policy.

    Attributes:
        parameters: an array whose first elements are weights [in, out], then biases, layer by layer.
        widths: layer widths from input to output.
        activation: of hidden layers: `RELU`, `NORMALIZED_RELU` or `TANH`.
    """

    parameters: Array
    widths: Sizes
    activation: int


class Activations(NamedTuple):
    """Buffers for the hidden layers of one batch.

    Attributes:
        hidden: [batch * units of all hidden layers] outputs of hidden layers; in the backward pass, their gradients.
        normalized: [batch * units of all hidden layers] inputs of each ReLU; used by `NORMALIZED_RELU` only.
        scales: [batch * hidden layers] 1 / deviation of each normalized row; used by `NORMALIZED_RELU` only.
    """

    hidden: Array
    normalized: Array
    scales: Array


class Moments(NamedTuple):
    """First and second moments of Adam [n]."""

    first: Array
    second: Array


@njit(cache=True, nogil=True)
def count_parameters(widths: Sizes) -> int:
    """Return the number of parameters of a network with these layer widths."""
    count = 0
    for layer in range(widths.shape[0] - 1):
        count += (widths[layer] + 1) * widths[layer + 1]
    return count


@njit(cache=True, nogil=True)
def forward(team: ThreadTeam, network: Perceptron, inputs: Array, activations: Activations, outputs: Array) -> None:
    """Compute this member's rows of the outputs of a network, and of its activations.

    Args:
        team: who partitions the rows of the batch.
        network: parameters and shape.
        inputs: [batch, widths[0]].
        activations: receive the hidden layers.
        outputs: [batch, widths[-1]].
    """
    widths = network.widths
    batch = inputs.shape[0]
    last = widths.shape[0] - 2
    start, stop = partition(team, batch)
    offset = 0
    place = 0
    below = inputs[start:stop]
    for layer in range(last + 1):
        wide_in = widths[layer]
        wide_out = widths[layer + 1]
        weights = network.parameters[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out)
        biases = network.parameters[offset + wide_in * wide_out : offset + (wide_in + 1) * wide_out]
        offset += (wide_in + 1) * wide_out
        if layer == last:
            gemm(NATIVE, below, weights, biases, NO_FLOOR, NO_GATE, outputs[start:stop])
            break
        own = slice(place + start * wide_out, place + stop * wide_out)
        units = activations.hidden[own].reshape(stop - start, wide_out)
        floor = _ZERO if network.activation == RELU else NO_FLOOR
        gemm(NATIVE, below, weights, biases, floor, NO_GATE, units)
        if network.activation == TANH:
            tanh(units)
        elif network.activation == NORMALIZED_RELU:
            normalized = activations.normalized[own].reshape(stop - start, wide_out)
            _normalize(units, normalized, activations.scales[layer * batch + start : layer * batch + stop])
        below = units
        place += batch * wide_out


@njit(cache=True, nogil=True)
def tanh(values: Array) -> None:
    """Replace values [row, unit] by their tanh."""
    _tanh_of_type(values)


def _tanh_of_type(values: Array) -> None:
    raise NotImplementedError("compiled code only")


@overload(_tanh_of_type, strict=False)
def _choose_tanh(values: NumbaType) -> Callable[..., None]:
    if values.dtype == types.float32:
        return lambda values: _rational_tanh(values)
    return lambda values: _exact_tanh(values)


@njit(cache=True, nogil=True)
def _exact_tanh(values: Array) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            values[i, j] = np.tanh(values[i, j])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _rational_tanh(values: Array) -> None:
    """Compute tanh to 2e-7: Lambert's fraction p / q at x / 2, then the formula of the double argument."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            x = values[i, j]
            x = np.float32(9.0) if x > np.float32(9.0) else x  # noqa: FURB136 - min and max of Python are not vectorized
            x = np.float32(-9.0) if x < np.float32(-9.0) else x  # noqa: FURB136
            half = np.float32(0.5) * x
            square = half * half
            p = np.float32(17325.0) + square * (np.float32(378.0) + square)
            p = half * (np.float32(135135.0) + square * p)
            q = np.float32(3150.0) + square * np.float32(28.0)
            q = np.float32(135135.0) + square * (np.float32(62370.0) + square * q)
            values[i, j] = np.float32(2.0) * p * q / (q * q + p * p)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalize(units: Array, normalized: Array, scales: Array) -> None:
    """Give every row of units [row, unit] mean 0, variance 1 and a ReLU; keep the ReLU's inputs and 1 / deviation."""
    width = units.shape[1]
    for i in range(units.shape[0]):
        total = np.float32(0.0)
        for j in range(width):
            total += units[i, j]
        mean = total / np.float32(width)
        squares = np.float32(0.0)
        for j in range(width):
            squares += (units[i, j] - mean) * (units[i, j] - mean)
        scale = np.float32(1.0) / np.sqrt(squares / np.float32(width) + _NORM_EPSILON)
        scales[i] = scale
        for j in range(width):
            normalized[i, j] = (units[i, j] - mean) * scale
            units[i, j] = max(normalized[i, j], np.float32(0.0))


@njit(cache=True, nogil=True)
def backward(
    team: ThreadTeam,
    network: Perceptron,
    inputs: Array,
    activations: Activations,
    output_gradient: Array,
    gradient: Array,
    input_gradient: Array,
) -> None:
    """Compute gradients of a loss by backpropagation; the hidden activations become their gradients on the way.

    The gradient of the outputs must be complete for the whole batch before the call; the results are complete after a
    barrier.

    Args:
        team: who partitions the work.
        network: parameters and shape, those of `forward`.
        inputs: [batch, widths[0]], those of `forward`.
        activations: hidden layers, as `forward` left them.
        output_gradient: [batch, widths[-1]] gradient of the loss with respect to the outputs.
        gradient: [n] receives the gradient of the parameters; of length 0 where it is not wanted.
        input_gradient: [batch, k] receives that of the last k inputs; k = 0 where it is not wanted.
    """
    widths = network.widths
    batch = inputs.shape[0]
    last = widths.shape[0] - 2
    start, stop = partition(team, batch)
    offset = count_parameters(widths)
    place = batch * widths[1:-1].sum()
    no_bias = network.parameters[:0]
    above = output_gradient
    for layer in range(last, -1, -1):
        wide_in = widths[layer]
        wide_out = widths[layer + 1]
        offset -= (wide_in + 1) * wide_out
        place -= batch * wide_in if layer > 0 else 0
        weights = network.parameters[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out)
        own = slice(place + start * wide_in, place + stop * wide_in)
        if gradient.shape[0] > 0:
            below = activations.hidden[place : place + batch * wide_in].reshape(batch, wide_in) if layer > 0 else inputs
            of_layer = gradient[offset : offset + (wide_in + 1) * wide_out]
            _layer_gradient(team, below, above, of_layer[: wide_in * wide_out], of_layer[wide_in * wide_out :])
        if layer == 0:
            unwanted = wide_in - input_gradient.shape[1]
            if unwanted < wide_in:
                to_inputs = input_gradient[start:stop]
                gemm(NATIVE, above[start:stop], weights[unwanted:].T, no_bias, NO_FLOOR, NO_GATE, to_inputs)
            break
        barrier(team)  # before activations are replaced by gradients
        units = activations.hidden[own].reshape(stop - start, wide_in)
        gate = TANH_GATE if network.activation == TANH else RELU_GATE
        gemm(NATIVE, above[start:stop], weights.T, no_bias, NO_FLOOR, gate, units)
        if network.activation == NORMALIZED_RELU:
            normalized = activations.normalized[own].reshape(stop - start, wide_in)
            scales = activations.scales[(layer - 1) * batch + start : (layer - 1) * batch + stop]
            _normalize_backward(units, normalized, scales)
        barrier(team)
        above = activations.hidden[place : place + batch * wide_in].reshape(batch, wide_in)


@njit(cache=True, nogil=True)
def _layer_gradient(team: ThreadTeam, below: Array, above: Array, weights: Array, biases: Array) -> None:
    """Write this member's rows of the gradient of a layer's weights [in, out], and the gradient of its biases."""
    start, stop = partition(team, below.shape[1], 1)
    width = above.shape[1]
    own = weights[start * width : stop * width].reshape(stop - start, width)
    if width <= 8:  # few outputs: as many rows of a product, not as many columns
        across = np.empty((width, stop - start), dtype=weights.dtype)
        gemm(NATIVE, above.T, below[:, start:stop], weights[:0], NO_FLOOR, NO_GATE, across)
        own[:] = across.T
    else:
        gemm(NATIVE, below[:, start:stop].T, above, weights[:0], NO_FLOOR, NO_GATE, own)
    if team.member == 0:
        _sum_rows(above, biases)


@njit(cache=True, nogil=True, fastmath=True)
def _sum_rows(rows: Array, sums: Array) -> None:
    sums[:] = np.float32(0.0)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            sums[j] += rows[i, j]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalize_backward(gradient: Array, normalized: Array, scales: Array) -> None:
    """Replace gradients g of normalized rows y by those of the rows before: scale (g - mean(g) - y mean(g y))."""
    width = gradient.shape[1]
    for i in range(gradient.shape[0]):
        total = np.float32(0.0)
        along = np.float32(0.0)
        for j in range(width):
            total += gradient[i, j]
            along += gradient[i, j] * normalized[i, j]
        total = total / np.float32(width)
        along = along / np.float32(width)
        for j in range(width):
            gradient[i, j] = scales[i] * (gradient[i, j] - total - normalized[i, j] * along)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def squared_norm(gradient: Array) -> float:
    """Return the sum of squares of a gradient [n]."""
    total = 0.0
    for j in range(gradient.shape[0]):
        total += float(gradient[j]) ** 2
    return total


@njit(cache=True, nogil=True)
def clip_factor(squares: float, max_norm: float) -> float:
    """Return the factor that makes a gradient of this squared norm no longer than `max_norm`."""
    return min(1.0, float(max_norm / (np.sqrt(squares) + 1e-6)))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def adam(
    parameters: Array, gradient: Array, factor: float, moments: Moments, step: float, rate: float, epsilon: float = 1e-8
) -> None:
    """Run Adam's step number `step` along factor * gradient [n], in place (Kingma and Ba 2015)."""
    size = np.float32(rate / (1.0 - 0.9**step))
    root = np.float32(1.0 / np.sqrt(1.0 - 0.999**step))
    scale = np.float32(factor)
    small = np.float32(epsilon)
    first = moments.first
    second = moments.second
    for j in range(parameters.shape[0]):
        slope = scale * gradient[j]
        first[j] += np.float32(0.1) * (slope - first[j])
        second[j] = np.float32(0.999) * second[j] + np.float32(0.001) * slope * slope
        parameters[j] -= size * first[j] / (np.sqrt(second[j]) * root + small)


@njit(cache=True, nogil=True, fastmath=True)
def soft_update(target: Array, source: Array, tau: float) -> None:
    """Move target [n] towards source [n]: target <- target + tau (source - target), in place."""
    rate = np.float32(tau)
    for j in range(target.shape[0]):
        target[j] += rate * (source[j] - target[j])
