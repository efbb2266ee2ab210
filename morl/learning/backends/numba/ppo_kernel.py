"""The gradient steps of `morl.learning.ppo` as compiled loops: the same numbers on a CPU, several times as fast.

Networks of this size spend most of their time between torch operations. Here one call passes a minibatch forward
through actor and critic of every policy, and one call passes it back and takes the clipped Adam step. What happens in
between, the policy loss, stays a torch function of the probability ratios, so that every solver can use it.

Layouts: parameters are the rows of `ActorCritic`; `hidden` and `outputs` are [policy, network, ...] with the layers of
a minibatch one after the other, each [row, unit]; network 0 is the actor, 1 the critic.
"""

import numpy as np
from numba import njit

from morl.learning.backends.numba.mlp import TANH, Array, Sizes, adam, backward, forward, size_of, squared_norm


@njit(cache=True, nogil=True, error_model="numpy")
def _log_softmax(logits: Array, allowed: Array) -> None:
    """Replace logits [choice] by log-probabilities; a forbidden choice gets -inf, unless all are forbidden."""
    some = False
    for j in range(logits.shape[0]):
        some = some or allowed[j] > 0
    top = np.float32(-np.inf)
    for j in range(logits.shape[0]):
        if some and not allowed[j] > 0:
            logits[j] = np.float32(-np.inf)
        top = max(top, logits[j])
    total = np.float32(0.0)
    for j in range(logits.shape[0]):
        total += np.exp(logits[j] - top)
    total = top + np.log(total)
    for j in range(logits.shape[0]):
        logits[j] -= total


@njit(cache=True, nogil=True, error_model="numpy")
def pass_forward(
    parameters: Array,
    actor_widths: Sizes,
    critic_widths: Sizes,
    deviations: int,
    observations: Array,
    actions: Array,
    masks: Array,
    before: Array,
    hidden: Array,
    outputs: Array,
    ratios: Array,
) -> None:
    """Write probability ratios [policy, row]; keep hidden layers and outputs for the way back.

    Args:
        parameters: [policy, n].
        actor_widths: layer widths of the actor.
        critic_widths: layer widths of the critic.
        deviations: number of log-deviations, 0 for a discrete choice.
        observations: [policy, row, width].
        actions: [policy, row, width].
        masks: [policy, row, choice], greater than 0 where a choice is allowed.
        before: [policy, row, 1] log-probability of the action when it was taken.
        hidden: [policy, 2, rows * units of all hidden layers].
        outputs: [policy, 2, rows * units of the larger last layer].
        ratios: [policy, row].
    """
    alone = (0, 1, np.zeros(1, dtype=np.int64))
    actor_size = size_of(actor_widths)
    width, nothing = actor_widths[-1], outputs[0, 0, :0]
    for policy in range(parameters.shape[0]):
        row = parameters[policy]
        seen = observations[policy]
        logits = outputs[policy, 0, : seen.shape[0] * width].reshape(seen.shape[0], width)
        forward(alone, row, actor_widths, TANH, seen, hidden[policy, 0], nothing, nothing, logits)
        values = outputs[policy, 1, : seen.shape[0] * critic_widths[-1]].reshape(seen.shape[0], critic_widths[-1])
        critic = row[actor_size + deviations :]
        forward(alone, critic, critic_widths, TANH, seen, hidden[policy, 1], nothing, nothing, values)
        for i in range(seen.shape[0]):
            heads = logits[i]
            if deviations == 0:
                _log_softmax(heads, masks[policy, i])
                log_probability = heads[int(actions[policy, i, 0])]
            else:
                log_probability = np.float32(-0.5 * np.log(2.0 * np.pi)) * width
                for j in range(width):
                    log_std = row[actor_size + j]
                    standard = (actions[policy, i, j] - heads[j]) * np.exp(-log_std)
                    log_probability -= np.float32(0.5) * standard * standard + log_std
            ratios[policy, i] = np.exp(log_probability - before[policy, i, 0])


@njit(cache=True, nogil=True, error_model="numpy")
def pass_back(
    parameters: Array,
    actor_widths: Sizes,
    critic_widths: Sizes,
    deviations: int,
    observations: Array,
    actions: Array,
    values_before: Array,
    targets: Array,
    hidden: Array,
    outputs: Array,
    ratios: Array,
    slopes: Array,
    weights: tuple[float, float, float, float, float],
    moments: tuple[Array, Array, Array],
    rates: Array,
    gradient: Array,
) -> None:
    """Take one Adam step along the cut gradient of the whole loss, in place.

    Args:
        parameters: [policy, n].
        actor_widths: layer widths of the actor.
        critic_widths: layer widths of the critic.
        deviations: number of log-deviations.
        observations: [policy, row, width].
        actions: [policy, row, width].
        values_before: [policy, row, objective].
        targets: [policy, row, objective].
        hidden: as `pass_forward` left it; used up.
        outputs: as `pass_forward` left it; used up.
        ratios: [policy, row].
        slopes: [policy, row] gradient of the policy loss with respect to the ratios.
        weights: of the value loss and of the entropy; half width of the values' interval; largest gradient; Adam's
            epsilon.
        moments: of Adam, first [policy, n], second [policy, n], steps [policy].
        rates: [policy] Adam's step sizes.
        gradient: [n], to work in.
    """
    value_weight, entropy_weight, interval, largest, epsilon = weights
    batch = observations.shape[1]
    actor_size = size_of(actor_widths)
    critic_start = actor_size + deviations
    for policy in range(parameters.shape[0]):
        row = parameters[policy]
        heads = outputs[policy, 0, : batch * actor_widths[-1]].reshape(batch, actor_widths[-1])
        values = outputs[policy, 1, : batch * critic_widths[-1]].reshape(batch, critic_widths[-1])
        gradient[actor_size:critic_start] = np.float32(0.0)
        if deviations == 0:
            _choice_errors(heads, actions[policy], ratios[policy], slopes[policy], entropy_weight)
        else:
            own = gradient[actor_size:critic_start]
            logs = row[actor_size:critic_start]
            _normal_errors(heads, actions[policy], ratios[policy], slopes[policy], logs, own)
            for j in range(deviations):
                own[j] -= np.float32(entropy_weight)
        _value_errors(values, values_before[policy], targets[policy], value_weight, interval)
        seen, actor_part, critic_part = observations[policy], hidden[policy, 0], hidden[policy, 1]
        _gradient(row, actor_widths, seen, actor_part, heads, gradient[:actor_size])
        _gradient(row[critic_start:], critic_widths, seen, critic_part, values, gradient[critic_start:])
        moments[2][policy] += 1.0
        cut = min(1.0, largest / (np.sqrt(squared_norm(gradient)) + 1e-6))
        first, second, step = moments[0][policy], moments[1][policy], moments[2][policy]
        adam(row, gradient, cut, first, second, step, rates[policy], epsilon)


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(row: Array, widths: Sizes, inputs: Array, hidden: Array, errors: Array, gradient: Array) -> None:
    """Write the gradient of the parameters that begin `row` for errors [row, unit] of the outputs."""
    alone = (0, 1, np.zeros(1, dtype=np.int64))
    backward(alone, row, widths, TANH, inputs, hidden, row[:0], row[:0], errors, gradient, inputs[:, :0])


@njit(cache=True, nogil=True, error_model="numpy")
def _choice_errors(outputs: Array, actions: Array, ratios: Array, slopes: Array, entropy_weight: float) -> None:
    """Replace log-probabilities [row, choice] by the gradient of the loss with respect to the logits."""
    rows, width = outputs.shape
    for i in range(rows):
        pull = slopes[i] * ratios[i]
        entropy = np.float32(0.0)
        for j in range(width):
            if outputs[i, j] > -np.inf:
                entropy -= np.exp(outputs[i, j]) * outputs[i, j]
        for j in range(width):
            chance = np.exp(outputs[i, j])
            bonus = np.float32(0.0)
            if chance > 0.0:
                bonus = np.float32(entropy_weight / rows) * chance * (outputs[i, j] + entropy)
            outputs[i, j] = bonus - pull * chance
        outputs[i, int(actions[i, 0])] += pull


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_errors(outputs: Array, actions: Array, ratios: Array, slopes: Array, logs: Array, own: Array) -> None:
    """Replace means [row, action] by the gradient with respect to them; add that of the log-deviations to `own`."""
    for j in range(logs.shape[0]):
        inverse = np.exp(-logs[j])
        for i in range(ratios.shape[0]):
            standard = (actions[i, j] - outputs[i, j]) * inverse
            pull = slopes[i] * ratios[i]
            outputs[i, j] = pull * standard * inverse
            own[j] += pull * (standard * standard - np.float32(1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _value_errors(outputs: Array, before: Array, targets: Array, weight: float, interval: float) -> None:
    """Replace values [row, objective] by the gradient of the clipped value loss with respect to them."""
    rows, objectives = targets.shape
    scale = np.float32(weight / (rows * objectives))
    for i in range(rows):
        for k in range(objectives):
            change = outputs[i, k] - before[i, k]
            inside = min(max(change, np.float32(-interval)), np.float32(interval))
            error, near = outputs[i, k] - targets[i, k], before[i, k] + inside - targets[i, k]
            if error * error >= near * near:
                outputs[i, k] = scale * error
            else:
                outputs[i, k] = scale * near if inside == change else np.float32(0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def surrogate_slopes(ratios: Array, advantages: Array, clip: float, slopes: Array) -> None:
    """Write the gradient of minus the mean of min(rho A, clip(rho) A), with respect to rho [policy, row]."""
    policies, rows = ratios.shape
    for policy in range(policies):
        for i in range(rows):
            advantage, ratio = advantages[policy, i, 0], ratios[policy, i]
            beyond = ratio > 1.0 + clip if advantage > 0.0 else ratio < 1.0 - clip
            slopes[policy, i] = np.float32(0.0) if beyond else -advantage / np.float32(rows)
