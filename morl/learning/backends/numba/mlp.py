"""Multilayer perceptrons as compiled loops: what `networks.py` and `optimizer.py` do, without torch.

Networks of up to some hundred units spend most of their time between torch operations; here a whole update is one call.
Layers of a batch lie one after the other in flat buffers, each [row, unit]. The members of a team share rows on the way
forward; on the way back, rows of the batch and of the weights.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morl.learning.backends.numba.gemm import NO_FLOOR, NO_GATE, RELU_GATE, TANH_GATE, product
from morl.learning.backends.numba.threads import ThreadTeam, meet, share

Array = NDArray[np.float32]
Sizes = NDArray[np.int64]

RELU, NORMED_RELU, TANH = 0, 1, 2
"""What follows hidden layers: ReLU, layer normalization and then ReLU, or tanh."""

_EPSILON = np.float32(1e-5)  # of layer normalization, as torch has it


@njit(cache=True, nogil=True)
def size_of(widths: Sizes) -> int:
    """Return the number of parameters of a network with these layer widths."""
    size = 0
    for layer in range(widths.shape[0] - 1):
        size += (widths[layer] + 1) * widths[layer + 1]
    return size


@njit(cache=True, nogil=True)
def forward(
    team: ThreadTeam,
    row: Array,
    widths: Sizes,
    kind: int,
    inputs: Array,
    hidden: Array,
    normed: Array,
    scales: Array,
    outputs: Array,
) -> None:
    """Pass this member's part of a batch through the network whose parameters begin `row`.

    Args:
        team: who shares the rows of the batch.
        row: [n] parameters: weights [in, out], then biases, layer by layer.
        widths: layer widths from input to output.
        kind: what follows hidden layers: `RELU`, `NORMED_RELU` or `TANH`.
        inputs: [batch, widths[0]].
        hidden: [batch * units of all hidden layers] receives what follows them.
        normed: like `hidden`, receives what goes into each ReLU; only used by `NORMED_RELU`.
        scales: [batch * hidden layers] receives 1 / deviation of each normalized row; only used by `NORMED_RELU`.
        outputs: [batch, widths[-1]].
    """
    batch, last = inputs.shape[0], widths.shape[0] - 2
    start, stop = share(team, batch)
    offset, place, below = 0, 0, inputs[start:stop]
    for layer in range(last + 1):
        wide_in, wide_out = widths[layer], widths[layer + 1]
        weights = row[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out)
        biases = row[offset + wide_in * wide_out : offset + (wide_in + 1) * wide_out]
        offset += (wide_in + 1) * wide_out
        if layer == last:
            product(below, weights, biases, NO_FLOOR, NO_GATE, outputs[start:stop])
            break
        mine = slice(place + start * wide_out, place + stop * wide_out)
        units = hidden[mine].reshape(stop - start, wide_out)
        product(below, weights, biases, np.float32(0.0) if kind == RELU else NO_FLOOR, NO_GATE, units)
        if kind == TANH:
            tanh(units)
        elif kind == NORMED_RELU:
            before = normed[mine].reshape(stop - start, wide_out)
            _normalize(units, before, scales[layer * batch + start : layer * batch + stop])
        below = units
        place += batch * wide_out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def tanh(values: Array) -> None:
    """Replace values [row, unit] by their tanh, to 2e-7: Lambert's fraction p / q at x / 2, and the double."""
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
def _normalize(units: Array, normed: Array, scales: Array) -> None:
    """Give every row of units [row, unit] mean 0 and variance 1 and a ReLU; keep what goes into that, 1 / deviation."""
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
            units[i, j] = max(normed[i, j], np.float32(0.0))


@njit(cache=True, nogil=True)
def backward(
    team: ThreadTeam,
    row: Array,
    widths: Sizes,
    kind: int,
    inputs: Array,
    hidden: Array,
    normed: Array,
    scales: Array,
    errors: Array,
    gradient: Array,
    input_errors: Array,
) -> None:
    """Pass errors [batch, widths[-1]] of the outputs back; `hidden` becomes errors on the way.

    Errors must be complete; so are, after a meeting, the gradient and the input errors.

    Args:
        team: who shares the work.
        row: as `forward` had it, and so are the next six.
        widths: as above.
        kind: as above.
        inputs: as above.
        hidden: as above.
        normed: as above.
        scales: as above.
        errors: [batch, widths[-1]] gradient of the loss with respect to the outputs.
        gradient: [n] receives the gradient of the parameters; of length 0 where it is not wanted.
        input_errors: [batch, k] receives that of the last k inputs; k = 0 where it is not wanted.
    """
    batch, last = inputs.shape[0], widths.shape[0] - 2
    start, stop = share(team, batch)
    offset, place, nothing = size_of(widths), batch * widths[1:-1].sum(), row[:0]
    for layer in range(last, -1, -1):
        wide_in, wide_out = widths[layer], widths[layer + 1]
        offset -= (wide_in + 1) * wide_out
        place -= batch * wide_in if layer > 0 else 0
        weights = row[offset : offset + wide_in * wide_out].reshape(wide_in, wide_out)
        mine = slice(place + start * wide_in, place + stop * wide_in)
        if gradient.shape[0] > 0:
            below = hidden[place : place + batch * wide_in].reshape(batch, wide_in) if layer > 0 else inputs
            slopes = gradient[offset : offset + (wide_in + 1) * wide_out]
            _layer_gradient(team, below, errors, slopes[: wide_in * wide_out], slopes[wide_in * wide_out :])
        if layer == 0:
            wanted = wide_in - input_errors.shape[1]
            if wanted < wide_in:
                product(errors[start:stop], weights[wanted:].T, nothing, NO_FLOOR, NO_GATE, input_errors[start:stop])
            break
        meet(team)  # before units are replaced by errors
        pulled = hidden[mine].reshape(stop - start, wide_in)
        gate = TANH_GATE if kind == TANH else RELU_GATE
        product(errors[start:stop], weights.T, nothing, NO_FLOOR, gate, pulled)
        if kind == NORMED_RELU:
            before = normed[mine].reshape(stop - start, wide_in)
            _normalise_back(pulled, before, scales[(layer - 1) * batch + start : (layer - 1) * batch + stop])
        meet(team)
        errors = hidden[place : place + batch * wide_in].reshape(batch, wide_in)


@njit(cache=True, nogil=True)
def _layer_gradient(team: ThreadTeam, below: Array, errors: Array, slopes: Array, bias_slopes: Array) -> None:
    """Write this member's rows of a layer's gradient [in, out], a sum over the batch, and of that of the biases."""
    start, stop = share(team, below.shape[1], 1)
    width = errors.shape[1]
    mine = slopes[start * width : stop * width].reshape(stop - start, width)
    if width <= 8:  # few outputs: as many rows of a product, not as many columns
        across = np.empty((width, stop - start), dtype=np.float32)
        product(errors.T, below[:, start:stop], slopes[:0], NO_FLOOR, NO_GATE, across)
        mine[:] = across.T
    else:
        product(below[:, start:stop].T, errors, slopes[:0], NO_FLOOR, NO_GATE, mine)
    if team[0] == 0:
        _sum_rows(errors, bias_slopes)


@njit(cache=True, nogil=True, fastmath=True)
def _sum_rows(errors: Array, sums: Array) -> None:
    sums[:] = np.float32(0.0)
    for i in range(errors.shape[0]):
        for j in range(errors.shape[1]):
            sums[j] += errors[i, j]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalise_back(errors: Array, normed: Array, scales: Array) -> None:
    """Replace errors of normalized rows y by those before: scale (e - mean(e) - y mean(e y))."""
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
