"""Multilayer perceptrons as compiled loops: what `networks.py` and `optimiser.py` do, without torch.

Networks of up to some hundred units spend most of their time between torch operations; here a whole update is one call.
Products are BLAS, the rest is fused into one pass over the numbers. Layers of a batch lie one after the other in flat
buffers, each [row, unit].
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]
Sizes = NDArray[np.int64]

RELU, NORMED_RELU, TANH = 0, 1, 2
"""What follows hidden layers: ReLU, layer normalisation and then ReLU, or tanh."""

_EPSILON = np.float32(1e-5)  # of layer normalisation, as torch has it


@njit(cache=True, nogil=True)
def size_of(widths: Sizes) -> int:
    """Return the number of parameters of a network with these layer widths."""
    size = 0
    for layer in range(widths.shape[0] - 1):
        size += (widths[layer] + 1) * widths[layer + 1]
    return size


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def forward(
    row: Array, widths: Sizes, kind: int, inputs: Array, hidden: Array, normed: Array, scales: Array, outputs: Array
) -> None:
    """Pass a batch through the network whose parameters begin `row`.

    Args:
        row: [n] parameters: weights [in, out], then biases, layer by layer.
        widths: layer widths from input to output.
        kind: what follows hidden layers: `RELU`, `NORMED_RELU` or `TANH`.
        inputs: [batch, widths[0]].
        hidden: [batch * units of all hidden layers] receives what follows them.
        normed: like `hidden`, receives what goes into each ReLU; only used by `NORMED_RELU`.
        scales: [batch * hidden layers] receives 1 / deviation of each normalised row; only used by `NORMED_RELU`.
        outputs: [batch, widths[-1]].
    """
    batch, last = inputs.shape[0], widths.shape[0] - 2
    offset, place, below = 0, 0, inputs
    for layer in range(last + 1):
        wide_in, wide_out = widths[layer], widths[layer + 1]
        weights = row[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out)
        biases = row[offset + wide_in * wide_out : offset + (wide_in + 1) * wide_out]
        offset += (wide_in + 1) * wide_out
        units = outputs if layer == last else hidden[place : place + batch * wide_out].reshape(batch, wide_out)
        np.dot(below, weights, units)
        for i in range(batch):
            for j in range(wide_out):
                units[i, j] += biases[j]
        if layer == last:
            break
        if kind == TANH:
            _tanh(hidden[place : place + batch * wide_out])
        else:
            if kind == NORMED_RELU:
                before = normed[place : place + batch * wide_out].reshape(batch, wide_out)
                _normalise(units, before, scales[layer * batch : (layer + 1) * batch])
            for i in range(batch):
                for j in range(wide_out):
                    units[i, j] = max(units[i, j], np.float32(0.0))
        below = units
        place += batch * wide_out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _tanh(values: Array) -> None:
    """Replace values [n] by their tanh, to 2e-7: Lambert's continued fraction p / q at x / 2, and the double angle."""
    for j in range(values.shape[0]):
        x = values[j]
        x = np.float32(9.0) if x > np.float32(9.0) else x  # noqa: FURB136 - min and max of Python are not vectorised
        x = np.float32(-9.0) if x < np.float32(-9.0) else x  # noqa: FURB136
        half = np.float32(0.5) * x
        square = half * half
        p = half * (np.float32(135135.0) + square * (np.float32(17325.0) + square * (np.float32(378.0) + square)))
        q = np.float32(135135.0) + square * (
            np.float32(62370.0) + square * (np.float32(3150.0) + square * np.float32(28.0))
        )
        values[j] = np.float32(2.0) * p * q / (q * q + p * p)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalise(units: Array, normed: Array, scales: Array) -> None:
    """Give every row of units [row, unit] mean 0 and variance 1; keep a copy and 1 / deviation."""
    width = units.shape[1]
    for i in range(units.shape[0]):
        total = np.float32(0.0)
        for j in range(width):
            total += units[i, j]
        mean = total / np.float32(width)
        squares = np.float32(0.0)
        for j in range(width):
            squares += (units[i, j] - mean) * (units[i, j] - mean)
        scale = np.float32(1.0) / np.sqrt(squares / np.float32(width) + _EPSILON)
        scales[i] = scale
        for j in range(width):
            normed[i, j] = (units[i, j] - mean) * scale
            units[i, j] = normed[i, j]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def backward(
    row: Array,
    widths: Sizes,
    kind: int,
    inputs: Array,
    hidden: Array,
    normed: Array,
    scales: Array,
    errors: Array,
    spare: Array,
    gradient: Array,
    input_errors: Array,
) -> None:
    """Pass errors [batch, widths[-1]] of the outputs back; `hidden` becomes errors on the way.

    Args:
        row: as `forward` had it, and so are the next six.
        widths: as above.
        kind: as above.
        inputs: as above.
        hidden: as above.
        normed: as above.
        scales: as above.
        errors: [batch, widths[-1]] gradient of the loss with respect to the outputs.
        spare: at least batch * the widest layer long.
        gradient: [n] receives the gradient of the parameters; of length 0 where it is not wanted.
        input_errors: [batch, widths[0]] receives that of the inputs; [0, 0] where it is not wanted.
    """
    batch, last = inputs.shape[0], widths.shape[0] - 2
    offset, place = size_of(widths), 0
    for layer in range(1, last + 1):
        place += batch * widths[layer]
    for layer in range(last, -1, -1):
        wide_in, wide_out = widths[layer], widths[layer + 1]
        offset -= (wide_in + 1) * wide_out
        place -= batch * wide_in if layer > 0 else 0
        below = hidden[place : place + batch * wide_in].reshape(batch, wide_in) if layer > 0 else inputs
        weights = row[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out)
        if gradient.shape[0] > 0:
            np.dot(below.T, errors, gradient[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out))
            _sum_rows(errors, gradient[offset + wide_in * wide_out : offset + (wide_in + 1) * wide_out])
        if layer == 0:
            if input_errors.shape[0] > 0:
                np.dot(errors, weights.T, input_errors)
            break
        pulled = spare[: batch * wide_in].reshape(batch, wide_in)
        np.dot(errors, weights.T, pulled)
        _activation_back(below, pulled, kind == TANH)
        if kind == NORMED_RELU:
            before = normed[place : place + batch * wide_in].reshape(batch, wide_in)
            _normalise_back(below, before, scales[(layer - 1) * batch : layer * batch])
        errors = below


@njit(cache=True, nogil=True, fastmath=True)
def _activation_back(units: Array, errors: Array, tanh: bool) -> None:
    """Replace units [row, unit] by the errors that come back through their activation, given those behind it."""
    for i in range(units.shape[0]):
        for j in range(units.shape[1]):
            if tanh:
                units[i, j] = errors[i, j] * (np.float32(1.0) - units[i, j] * units[i, j])
            else:
                units[i, j] = errors[i, j] if units[i, j] > np.float32(0.0) else np.float32(0.0)


@njit(cache=True, nogil=True, fastmath=True)
def _sum_rows(errors: Array, sums: Array) -> None:
    sums[:] = np.float32(0.0)
    for i in range(errors.shape[0]):
        for j in range(errors.shape[1]):
            sums[j] += errors[i, j]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalise_back(errors: Array, normed: Array, scales: Array) -> None:
    """Replace errors of normalised rows y by those before: scale (e - mean(e) - y mean(e y))."""
    width = errors.shape[1]
    for i in range(errors.shape[0]):
        total, along = np.float32(0.0), np.float32(0.0)
        for j in range(width):
            total += errors[i, j]
            along += errors[i, j] * normed[i, j]
        total, along = total / np.float32(width), along / np.float32(width)
        for j in range(width):
            errors[i, j] = scales[i] * (errors[i, j] - total - normed[i, j] * along)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def squared_norm(gradient: Array) -> float:
    """Return the sum of squares of a gradient [n]."""
    total = 0.0
    for j in range(gradient.shape[0]):
        total += float(gradient[j]) ** 2
    return total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def adam(
    row: Array,
    gradient: Array,
    factor: float,
    first: Array,
    second: Array,
    step: float,
    rate: float,
    epsilon: float = 1e-8,
) -> None:
    """Take Adam's step number `step` along factor * gradient [n], in place (Kingma and Ba 2015)."""
    size = np.float32(rate / (1.0 - 0.9**step))
    root = np.float32(1.0 / np.sqrt(1.0 - 0.999**step))
    scale, small = np.float32(factor), np.float32(epsilon)
    for j in range(row.shape[0]):
        slope = scale * gradient[j]
        first[j] += np.float32(0.1) * (slope - first[j])
        second[j] = np.float32(0.999) * second[j] + np.float32(0.001) * slope * slope
        row[j] -= size * first[j] / (np.sqrt(second[j]) * root + small)


@njit(cache=True, nogil=True, fastmath=True)
def follow(target: Array, source: Array, rate: float) -> None:
    """Move target [n] towards source [n] by a share `rate`, in place."""
    share = np.float32(rate)
    for j in range(target.shape[0]):
        target[j] += share * (source[j] - target[j])
