"""The updates of `morl.learning.td3` as compiled loops: the same numbers on a CPU, several times as fast.

Each function works on one policy, without Python's lock, so that policies can be spread over threads.
"""

import numpy as np
from numba import njit

from morl.learning.network_kernel import RELU, Array, Sizes, adam, backward, follow, forward, squared_norm

Arrays = tuple[Array, ...]

WAY_BACK = 0.25
"""Least weight of a slope that leads back from the end of the range of actions: see `morl.learning.td3.leaky`."""


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def critic_forward(
    parts: Arrays,
    actor_widths: Sizes,
    critic_widths: Sizes,
    kind: int,
    batch: Arrays,
    discount: float,
    noise_scale: float,
    noise_clip: float,
    work: Arrays,
    inputs: Array,
    values: Array,
    targets: Array,
) -> None:
    """Write the values of both critics and their common target; keep what `critic_backward` needs in `work`.

    Args:
        parts: target actor [n], target critics [2, m], actor [n], critics [2, m] of one policy.
        actor_widths: layer widths.
        critic_widths: layer widths.
        kind: what follows the critics' hidden layers, `RELU` or `NORMED_RELU`; actors have ReLU.
        batch: state and next_state [batch, state_width], action and noise [batch, action_width], reward and weight
            [batch, objective], continues [batch, 1].
        discount: gamma.
        noise_scale: of the noise on target actions.
        noise_clip: largest noise.
        work: hidden and normed [2, batch * units], scales [2, batch * layers], spare, action errors.
        inputs: [batch, state_width + action_width] receives (s, a).
        values: [2, batch, objective] receives Q_i(s, a).
        targets: [batch, objective] receives y.
    """
    target_actor, target_critics, _, critics = parts
    state, next_state, action, noise, reward, weight, continues = batch
    hidden, normed, scales, _, proposed = work
    size, width = state.shape
    forward(target_actor, actor_widths, RELU, next_state, hidden[0], normed[0], scales[0], proposed)
    inputs[:, :width] = next_state
    for i in range(size):
        for j in range(action.shape[1]):
            jitter = min(max(np.float32(noise_scale) * noise[i, j], -np.float32(noise_clip)), np.float32(noise_clip))
            inputs[i, width + j] = min(max(np.tanh(proposed[i, j]) + jitter, np.float32(-1.0)), np.float32(1.0))
    for critic in range(2):
        forward(target_critics[critic], critic_widths, kind, inputs, hidden[0], normed[0], scales[0], values[critic])
    _lower_targets(values, reward, weight, continues, np.float32(discount), targets)
    inputs[:, :width] = state
    inputs[:, width:] = action
    for critic in range(2):
        forward(
            critics[critic], critic_widths, kind, inputs, hidden[critic], normed[critic], scales[critic], values[critic]
        )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _lower_targets(
    values: Array, reward: Array, weight: Array, continues: Array, discount: np.float32, targets: Array
) -> None:
    """Write r + gamma Q_i [batch, objective], i the critic with the lower utility w.Q_i."""
    for i in range(reward.shape[0]):
        first, second = np.float32(0.0), np.float32(0.0)
        for k in range(reward.shape[1]):
            first += weight[i, k] * values[0, i, k]
            second += weight[i, k] * values[1, i, k]
        lowest = 0 if first <= second else 1
        for k in range(reward.shape[1]):
            targets[i, k] = reward[i, k] + discount * continues[i, 0] * values[lowest, i, k]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def critic_errors(values: Array, targets: Array, huber: bool, errors: Array) -> float:
    """Write the gradient of the loss with respect to values [2, batch, objective]; return the loss of both critics."""
    _, size, objectives = values.shape
    share, loss = np.float32(1.0 / (size * objectives)), 0.0
    for critic in range(2):
        for i in range(size):
            for k in range(objectives):
                error = values[critic, i, k] - targets[i, k]
                if huber:
                    clipped = min(max(error, np.float32(-1.0)), np.float32(1.0))
                    loss += clipped * (error - np.float32(0.5) * clipped)
                    errors[critic, i, k] = share * clipped
                else:
                    loss += error * error
                    errors[critic, i, k] = np.float32(2.0) * share * error
    return float(loss * share)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def critic_backward(
    critics: Array,
    critic_widths: Sizes,
    kind: int,
    inputs: Array,
    work: Arrays,
    errors: Array,
    gradients: Array,
    moments: Arrays,
    step: float,
    rate: float,
    clip: float,
) -> None:
    """Take one clipped Adam step with both critics [2, m]; arguments are as `critic_forward` left them."""
    hidden, normed, scales, spare, _ = work
    nothing = np.empty((0, 0), dtype=np.float32)
    for critic in range(2):
        backward(
            critics[critic], critic_widths, kind, inputs, hidden[critic], normed[critic], scales[critic],
            errors[critic], spare, gradients[critic], nothing,
        )  # fmt: skip
    length = np.sqrt(squared_norm(gradients[0]) + squared_norm(gradients[1]))
    factor = min(1.0, clip / (length + 1e-6))
    for critic in range(2):
        adam(critics[critic], gradients[critic], factor, moments[0][critic], moments[1][critic], step, rate)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def actor_forward(
    actor: Array,
    critic: Array,
    actor_widths: Sizes,
    critic_widths: Sizes,
    kind: int,
    state: Array,
    work: Arrays,
    inputs: Array,
    values: Array,
) -> None:
    """Write Q_1(s, pi(s)) [batch, objective]; keep what `actor_backward` needs in `work` and `inputs`."""
    hidden, normed, scales, _, proposed = work
    forward(actor, actor_widths, RELU, state, hidden[0], normed[0], scales[0], proposed)
    inputs[:, : state.shape[1]] = state
    inputs[:, state.shape[1] :] = np.tanh(proposed)
    forward(critic, critic_widths, kind, inputs, hidden[1], normed[1], scales[1], values)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def actor_backward(
    parts: Arrays,
    actor_widths: Sizes,
    critic_widths: Sizes,
    kind: int,
    state: Array,
    work: Arrays,
    inputs: Array,
    errors: Array,
    gradient: Array,
    moments: Arrays,
    step: float,
    rate: float,
    clip: float,
    target_rate: float,
    leaky: bool,
) -> None:
    """Take one clipped Adam step with the actor along errors [batch, objective] of Q_1; then move both targets."""
    target_actor, target_critics, actor, critics = parts
    hidden, normed, scales, spare, action_errors = work
    size, width = state.shape
    input_errors = spare[: inputs.size].reshape(inputs.shape)
    rest, nothing = spare[inputs.size :], gradient[:0]
    backward(
        critics[0], critic_widths, kind, inputs, hidden[1], normed[1], scales[1], errors, rest, nothing, input_errors
    )
    for i in range(size):
        for j in range(action_errors.shape[1]):
            action = inputs[i, width + j]
            slope, derivative = input_errors[i, width + j], np.float32(1.0) - action * action
            if leaky and slope * action > np.float32(0.0):
                derivative = max(derivative, np.float32(WAY_BACK))
            action_errors[i, j] = slope * derivative
    no_errors = np.empty((0, 0), dtype=np.float32)
    backward(
        actor, actor_widths, RELU, state, hidden[0], normed[0], scales[0], action_errors, rest, gradient, no_errors
    )
    factor = min(1.0, clip / (np.sqrt(squared_norm(gradient)) + 1e-6))
    adam(actor, gradient, factor, moments[0], moments[1], step, rate)
    follow(target_actor, actor, target_rate)
    for critic in range(2):
        follow(target_critics[critic], critics[critic], target_rate)
