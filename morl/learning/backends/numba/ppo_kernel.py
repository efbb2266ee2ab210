"""The gradient steps of `morl.learning.ppo` as compiled loops: the same numbers on a CPU, several times as fast.

Networks of this size spend most of their time between torch operations. Here one call passes a minibatch forward
through actor and critic of every policy, and one call passes it back and runs the clipped Adam step. What happens in
between, the policy loss, stays a torch function of the probability ratios, so that every solver can use it.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.mlp import (
    TANH,
    Activations,
    Moments,
    Perceptron,
    Sizes,
    adam,
    backward,
    clip_factor,
    count_parameters,
    forward,
    squared_norm,
)
from morl.learning.backends.numba.threads import ThreadTeam


class ActorCriticShape(NamedTuple):
    """The layout of a row of parameters: actor, log-deviations, critic; see `morl.learning.ppo.ActorCritic`.

    Attributes:
        actor_widths: layer widths of the actor.
        critic_widths: layer widths of the critic.
        log_stds: number of log-deviations, 0 for a discrete choice.
    """

    actor_widths: Sizes
    critic_widths: Sizes
    log_stds: int


class Minibatch(NamedTuple):
    """Samples of every policy.

    Attributes:
        observation: [policy, row, width].
        action: [policy, row, width].
        mask: [policy, row, choice], greater than 0 where a choice is allowed.
        log_probability: [policy, row, 1] of the action when it was chosen.
        value: [policy, row, objective] of the critic before the update.
        target: [policy, row, objective].
    """

    observation: Array
    action: Array
    mask: NDArray[Any]
    log_probability: Array
    value: Array
    target: Array


class PPOWorkspace(NamedTuple):
    """Buffers of a gradient step; network 0 is the actor, 1 the critic.

    Attributes:
        hidden: [policy, network, rows * units of all hidden layers].
        outputs: [policy, network, rows * units of the larger last layer].
        ratios: [policy, row] probability ratios.
        ratio_gradient: [policy, row] gradient of the policy loss with respect to the ratios.
        gradient: [n] of one policy.
    """

    hidden: Array
    outputs: Array
    ratios: Array
    ratio_gradient: Array
    gradient: Array


class PPOKernelConfig(NamedTuple):
    """Numbers of `morl.learning.ppo.PPOSettings`, and Adam's epsilon."""

    value_weight: float
    entropy_weight: float
    value_clip_range: float
    max_grad_norm: float
    epsilon: float


class PPOOptimizer(NamedTuple):
    """Adam of every policy.

    Attributes:
        moments: [policy, n].
        steps: [policy].
        learning_rates: [policy].
    """

    moments: Moments
    steps: Array
    learning_rates: NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def _log_softmax(logits: Array, allowed: NDArray[Any]) -> None:
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
def ppo_forward(parameters: Array, shape: ActorCriticShape, batch: Minibatch, workspace: PPOWorkspace) -> None:
    """Write probability ratios [policy, row]; keep hidden layers and outputs for `ppo_backward`.

    Args:
        parameters: [policy, n].
        shape: layout of the parameters.
        batch: samples.
        workspace: buffers; `ratios` are the result.
    """
    team = ThreadTeam(0, 1, np.zeros(1, dtype=np.int64))
    actor_size = count_parameters(shape.actor_widths)
    width = shape.actor_widths[-1]
    objectives = shape.critic_widths[-1]
    unused = workspace.gradient[:0]
    for policy in range(parameters.shape[0]):
        row = parameters[policy]
        seen = batch.observation[policy]
        size = seen.shape[0]
        logits = workspace.outputs[policy, 0, : size * width].reshape(size, width)
        actor = Perceptron(row, shape.actor_widths, TANH)
        forward(team, actor, seen, Activations(workspace.hidden[policy, 0], unused, unused), logits)
        values = workspace.outputs[policy, 1, : size * objectives].reshape(size, objectives)
        critic = Perceptron(row[actor_size + shape.log_stds :], shape.critic_widths, TANH)
        forward(team, critic, seen, Activations(workspace.hidden[policy, 1], unused, unused), values)
        for i in range(size):
            heads = logits[i]
            if shape.log_stds == 0:
                _log_softmax(heads, batch.mask[policy, i])
                log_probability = heads[int(batch.action[policy, i, 0])]
            else:
                log_probability = np.float32(-0.5 * np.log(2.0 * np.pi)) * width
                for j in range(width):
                    log_std = row[actor_size + j]
                    standard = (batch.action[policy, i, j] - heads[j]) * np.exp(-log_std)
                    log_probability -= np.float32(0.5) * standard * standard + log_std
            workspace.ratios[policy, i] = np.exp(log_probability - batch.log_probability[policy, i, 0])


@njit(cache=True, nogil=True, error_model="numpy")
def ppo_backward(
    parameters: Array,
    shape: ActorCriticShape,
    batch: Minibatch,
    workspace: PPOWorkspace,
    config: PPOKernelConfig,
    optimizer: PPOOptimizer,
) -> None:
    """Run one Adam step of every policy along the clipped gradient of the whole loss, in place.

    Args:
        parameters: [policy, n].
        shape: layout of the parameters.
        batch: samples.
        workspace: as `ppo_forward` left it, with the gradient of the ratios; used up.
        config: weights and clip ranges.
        optimizer: moments and steps, updated in place.
    """
    size = batch.observation.shape[1]
    width = shape.actor_widths[-1]
    objectives = shape.critic_widths[-1]
    actor_size = count_parameters(shape.actor_widths)
    critic_start = actor_size + shape.log_stds
    gradient = workspace.gradient
    for policy in range(parameters.shape[0]):
        row = parameters[policy]
        heads = workspace.outputs[policy, 0, : size * width].reshape(size, width)
        values = workspace.outputs[policy, 1, : size * objectives].reshape(size, objectives)
        ratios = workspace.ratios[policy]
        ratio_gradient = workspace.ratio_gradient[policy]
        of_log_stds = gradient[actor_size:critic_start]
        of_log_stds[:] = np.float32(0.0)
        if shape.log_stds == 0:
            _choice_gradient(heads, batch.action[policy], ratios, ratio_gradient, config.entropy_weight)
        else:
            log_stds = row[actor_size:critic_start]
            _normal_gradient(heads, batch.action[policy], ratios, ratio_gradient, log_stds, of_log_stds)
            for j in range(shape.log_stds):
                of_log_stds[j] -= np.float32(config.entropy_weight)
        _value_gradient(values, batch.value[policy], batch.target[policy], config)
        seen = batch.observation[policy]
        actor = Perceptron(row, shape.actor_widths, TANH)
        critic = Perceptron(row[critic_start:], shape.critic_widths, TANH)
        _gradient(actor, seen, workspace.hidden[policy, 0], heads, gradient[:actor_size])
        _gradient(critic, seen, workspace.hidden[policy, 1], values, gradient[critic_start:])
        optimizer.steps[policy] += 1.0
        factor = clip_factor(squared_norm(gradient), config.max_grad_norm)
        moments = Moments(optimizer.moments.first[policy], optimizer.moments.second[policy])
        adam(row, gradient, factor, moments, optimizer.steps[policy], optimizer.learning_rates[policy], config.epsilon)


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(network: Perceptron, inputs: Array, hidden: Array, output_gradient: Array, gradient: Array) -> None:
    """Write the gradient of the parameters of a network for the gradient [row, unit] of its outputs."""
    team = ThreadTeam(0, 1, np.zeros(1, dtype=np.int64))
    unused = gradient[:0]
    backward(team, network, inputs, Activations(hidden, unused, unused), output_gradient, gradient, inputs[:, :0])


@njit(cache=True, nogil=True, error_model="numpy")
def _choice_gradient(
    outputs: Array, actions: Array, ratios: Array, ratio_gradient: Array, entropy_weight: float
) -> None:
    """Replace log-probabilities [row, choice] by the gradient of the loss with respect to the logits."""
    rows, width = outputs.shape
    for i in range(rows):
        pull = ratio_gradient[i] * ratios[i]
        entropy = np.float32(0.0)
        for j in range(width):
            if outputs[i, j] > -np.inf:
                entropy -= np.exp(outputs[i, j]) * outputs[i, j]
        for j in range(width):
            probability = np.exp(outputs[i, j])
            bonus = np.float32(0.0)
            if probability > 0.0:
                bonus = np.float32(entropy_weight / rows) * probability * (outputs[i, j] + entropy)
            outputs[i, j] = bonus - pull * probability
        outputs[i, int(actions[i, 0])] += pull


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_gradient(
    outputs: Array, actions: Array, ratios: Array, ratio_gradient: Array, log_stds: Array, of_log_stds: Array
) -> None:
    """Replace means [row, action] by the gradient with respect to them; add that of the log-deviations."""
    for j in range(log_stds.shape[0]):
        inverse = np.exp(-log_stds[j])
        for i in range(ratios.shape[0]):
            standard = (actions[i, j] - outputs[i, j]) * inverse
            pull = ratio_gradient[i] * ratios[i]
            outputs[i, j] = pull * standard * inverse
            of_log_stds[j] += pull * (standard * standard - np.float32(1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _value_gradient(outputs: Array, before: Array, targets: Array, config: PPOKernelConfig) -> None:
    """Replace values [row, objective] by the gradient of the clipped value loss with respect to them."""
    rows, objectives = targets.shape
    scale = np.float32(config.value_weight / (rows * objectives))
    clip_range = config.value_clip_range
    for i in range(rows):
        for k in range(objectives):
            change = outputs[i, k] - before[i, k]
            clipped = min(max(change, np.float32(-clip_range)), np.float32(clip_range))
            error = outputs[i, k] - targets[i, k]
            clipped_error = before[i, k] + clipped - targets[i, k]
            if error * error >= clipped_error * clipped_error:
                outputs[i, k] = scale * error
            else:
                outputs[i, k] = scale * clipped_error if clipped == change else np.float32(0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def surrogate_gradient(ratios: Array, advantages: Array, clip_range: float, gradient: Array) -> None:
    """Write the gradient of minus the mean of min(rho A, clip(rho) A), with respect to rho [policy, row].

    Args:
        ratios: [policy, row] rho.
        advantages: [policy, row, 1] A.
        clip_range: half width of the trust interval of rho.
        gradient: [policy, row].
    """
    policies, rows = ratios.shape
    for policy in range(policies):
        for i in range(rows):
            advantage = advantages[policy, i, 0]
            ratio = ratios[policy, i]
            beyond = ratio > 1.0 + clip_range if advantage > 0.0 else ratio < 1.0 - clip_range
            gradient[policy, i] = np.float32(0.0) if beyond else -advantage / np.float32(rows)
