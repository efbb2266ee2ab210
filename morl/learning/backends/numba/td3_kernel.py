"""The updates of `morl.learning.td3` as compiled loops: the same numbers on a CPU, several times as fast.

One call runs any number of updates of one policy, from rows of its replay buffer to moved targets. Two threads can
share it: each takes one of the critics, and a partition of all the rest.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morl.learning.backends.numba.batches import GatheredBatch, PolicyBatches, gather
from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.mlp import (
    RELU,
    Activations,
    Moments,
    Perceptron,
    Sizes,
    adam,
    backward,
    clip_factor,
    forward,
    soft_update,
    squared_norm,
    tanh,
)
from morl.learning.backends.numba.threads import ThreadTeam, alone, barrier, partition


class TD3Networks(NamedTuple):
    """Parameters of one policy, its targets, and moments of Adam; they are updated in place.

    Attributes:
        actor: [n].
        target_actor: [n].
        critics: [2, m].
        target_critics: [2, m].
        actor_moments: of the actor [n].
        critic_moments: of the critics [2, m].
        actor_widths: layer widths of actors.
        critic_widths: layer widths of critics.
        critic_activation: of the hidden layers of critics; those of actors have ReLU.
    """

    actor: Array
    target_actor: Array
    critics: Array
    target_critics: Array
    actor_moments: Moments
    critic_moments: Moments
    actor_widths: Sizes
    critic_widths: Sizes
    critic_activation: int


class TD3KernelConfig(NamedTuple):
    """`morl.learning.td3.TD3Settings` as numbers.

    Attributes:
        huber: whether the loss is Huber's; else the squared error.
        utility_loss: weight of the loss of utilities beside that of the vectors.
        leaky: whether gradients pass the actor's tanh as `morl.learning.td3.leaky` does.
        min_inward_derivative: least derivative of tanh for a gradient that leads inward, where `leaky`.
    """

    discount: float
    learning_rate: float
    tau: float
    policy_delay: int
    target_noise: float
    target_noise_clip: float
    max_grad_norm: float
    actor_starts: int
    critic_angle: float
    actor_angle: float
    huber: bool
    utility_loss: float
    leaky: bool
    min_inward_derivative: float


class TD3Counters(NamedTuple):
    """Counts before the first update of a call.

    Attributes:
        updates: updates.
        critic_steps: steps of Adam with the critics.
        actor_steps: steps of Adam with the actor.
    """

    updates: int
    critic_steps: int
    actor_steps: int


class TD3Workspace(NamedTuple):
    """Buffers of one policy's updates.

    Attributes:
        batch: the transitions; `next_inputs` holds s', a', later s, pi(s).
        actions: [batch, action] proposed by an actor; later the gradient with respect to them.
        values: [2, batch, objective] Q_i(s, a).
        next_values: [2, batch, objective] Q'_i(s', a'), later Q_1(s, pi(s)).
        value_gradient: [2, batch, objective] gradient of the loss with respect to values.
        hidden: [2, batch * units] of `Activations`.
        normalized: [2, batch * units].
        scales: [2, batch * layers].
        critic_gradient: [2, m].
        actor_gradient: [n].
        sums: [2, 8] squared norm of the gradient and loss of each critic, in a cache line of its own.
    """

    batch: GatheredBatch
    actions: Array
    values: Array
    next_values: Array
    value_gradient: Array
    hidden: Array
    normalized: Array
    scales: Array
    critic_gradient: Array
    actor_gradient: Array
    sums: NDArray[np.float64]


@njit(cache=True, nogil=True)
def run_td3_updates(
    team: ThreadTeam,
    networks: TD3Networks,
    config: TD3KernelConfig,
    batches: PolicyBatches,
    workspace: TD3Workspace,
    counters: TD3Counters,
) -> None:
    """Run the update of every batch.

    Args:
        team: who shares the work.
        networks: updated in place.
        config: settings.
        batches: sampled transitions.
        workspace: buffers.
        counters: counts before the first of these updates.
    """
    critic_steps = counters.critic_steps
    updates = counters.updates
    actor_steps = counters.actor_steps
    for update in range(batches.indices.shape[0]):
        critic_steps += 1
        updates += 1
        gather(team, batches, update, config.discount, workspace.batch)
        _act_next(team, networks, config, batches.noise[update, 0], workspace)
        barrier(team)
        for critic in range(team.member, 2, team.size):
            target = _critic(networks, networks.target_critics[critic])
            inputs = workspace.batch.next_inputs
            forward(alone(team), target, inputs, _activations(workspace, critic), workspace.next_values[critic])
        barrier(team)
        for critic in range(team.member, 2, team.size):
            _critic_gradient(alone(team), networks, config, batches, update, critic, workspace)
        barrier(team)
        factor = clip_factor(workspace.sums[0, 0] + workspace.sums[1, 0], config.max_grad_norm)
        for critic in range(team.member, 2, team.size):
            moments = Moments(networks.critic_moments.first[critic], networks.critic_moments.second[critic])
            gradient = workspace.critic_gradient[critic]
            adam(networks.critics[critic], gradient, factor, moments, critic_steps, config.learning_rate)
        barrier(team)
        if updates % config.policy_delay == 0:
            actor_steps += 1
            _actor_gradient(team, networks, config, batches, update, workspace)
            rate = config.learning_rate if updates > config.actor_starts else 0.0
            _step_actor(team, networks, config, workspace, actor_steps, rate)
            barrier(team)


@njit(cache=True, nogil=True)
def _critic(networks: TD3Networks, parameters: Array) -> Perceptron:
    return Perceptron(parameters, networks.critic_widths, networks.critic_activation)


@njit(cache=True, nogil=True)
def _actor(networks: TD3Networks, parameters: Array) -> Perceptron:
    return Perceptron(parameters, networks.actor_widths, RELU)


@njit(cache=True, nogil=True)
def _activations(workspace: TD3Workspace, index: int) -> Activations:
    """Return the first or second buffers for hidden layers."""
    return Activations(workspace.hidden[index], workspace.normalized[index], workspace.scales[index])


@njit(cache=True, nogil=True)
def _act_next(
    team: ThreadTeam, networks: TD3Networks, config: TD3KernelConfig, noise: Array, workspace: TD3Workspace
) -> None:
    """Write smoothed target actions a' in this member's rows."""
    start, stop = partition(team, noise.shape[0])
    proposed = workspace.actions
    next_inputs = workspace.batch.next_inputs
    clip = np.float32(config.target_noise_clip)
    state = next_inputs.shape[1] - noise.shape[1]
    _propose(team, _actor(networks, networks.target_actor), next_inputs[:, :state], workspace)
    for i in range(start, stop):
        for j in range(noise.shape[1]):
            smoothing = min(max(np.float32(config.target_noise) * noise[i, j], -clip), clip)
            next_inputs[i, state + j] = min(max(proposed[i, j] + smoothing, np.float32(-1.0)), np.float32(1.0))


@njit(cache=True, nogil=True)
def _propose(team: ThreadTeam, actor: Perceptron, observations: Array, workspace: TD3Workspace) -> None:
    """Write the actions of an actor in this member's rows of observations [batch, observation]."""
    start, stop = partition(team, observations.shape[0])
    forward(team, actor, observations, _activations(workspace, 0), workspace.actions)
    tanh(workspace.actions[start:stop])


@njit(cache=True, nogil=True)
def _critic_gradient(
    team: ThreadTeam,
    networks: TD3Networks,
    config: TD3KernelConfig,
    batches: PolicyBatches,
    update: int,
    critic: int,
    workspace: TD3Workspace,
) -> None:
    """Write the gradient of one critic's loss, its squared norm, and the loss."""
    values = workspace.values[critic]
    value_gradient = workspace.value_gradient[critic]
    gradient = workspace.critic_gradient[critic]
    network = _critic(networks, networks.critics[critic])
    activations = _activations(workspace, critic)
    inputs = workspace.batch.inputs
    forward(team, network, inputs, activations, values)
    loss = _value_loss(values, workspace, batches.weight[update], config, value_gradient)
    if config.critic_angle > 0.0:
        view = AngleView(batches.direction[update], batches.origin, config.critic_angle)
        loss += add_angle(values, view, 0, len(values), value_gradient)
    backward(team, network, inputs, activations, value_gradient, gradient, value_gradient[:, :0])
    workspace.sums[critic, 0] = squared_norm(gradient)
    workspace.sums[critic, 1] = loss


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc", "arcp"}, error_model="numpy")
def _value_loss(
    values: Array, workspace: TD3Workspace, weight: Array, config: TD3KernelConfig, gradient: Array
) -> float:
    """Write the gradient of the losses of values [batch, objective] and of their utilities, and return the loss.

    The target is r + gamma Q'_i with i the target critic with the lower utility w.Q'_i: a whole vector. See
    `morl.learning.values.critic_losses`.
    """
    size, objectives = values.shape
    next_values = workspace.next_values
    share = np.float32(1.0 / (size * objectives))
    utility_share = np.float32(config.utility_loss / size)
    loss = 0.0
    utility_sum = 0.0
    for i in range(size):
        utility_error = np.float32(0.0)
        first = np.float32(0.0)
        second = np.float32(0.0)
        for k in range(objectives):
            first += weight[i, k] * next_values[0, i, k]
            second += weight[i, k] * next_values[1, i, k]
        lowest = 0 if first <= second else 1
        for k in range(objectives):
            target = workspace.batch.rewards[i, k] + workspace.batch.discounts[i] * next_values[lowest, i, k]
            error = values[i, k] - target
            utility_error += weight[i, k] * error
            if config.huber:
                clipped = min(max(error, np.float32(-1.0)), np.float32(1.0))
                loss += clipped * (error - np.float32(0.5) * clipped)
                gradient[i, k] = share * clipped
            else:
                loss += error * error
                gradient[i, k] = np.float32(2.0) * share * error
        if config.utility_loss > 0.0:
            if config.huber:
                slope = min(max(utility_error, np.float32(-1.0)), np.float32(1.0))
                utility_sum += slope * (utility_error - np.float32(0.5) * slope)
            else:
                slope = np.float32(2.0) * utility_error
                utility_sum += utility_error * utility_error
            for k in range(objectives):
                gradient[i, k] += utility_share * slope * weight[i, k]
    return float(loss * share + utility_sum * utility_share)


class AngleView(NamedTuple):
    """The directions in which values should point.

    Attributes:
        directions: [batch, objective].
        origin: [objective] that values are seen from.
        weight: of the mean angle over the batch, per degree.
    """

    directions: Array
    origin: Array
    weight: float


@njit(cache=True, nogil=True, error_model="numpy")
def add_angle(values: Array, view: AngleView, start: int, stop: int, gradient: Array) -> float:
    """Add the gradient of a weighted mean of angles to that of values; return the weighted sum of these rows' angles.

    See `morl.learning.values.angle_degrees`.

    Args:
        values: [batch, objective].
        view: directions, origin and weight.
        start: first row.
        stop: row to stop before.
        gradient: [batch, objective].
    """
    batch, objectives = values.shape
    total = 0.0
    degrees = 180.0 / np.pi
    for i in range(start, stop):
        along = 0.0
        length = 0.0
        distance = 0.0
        for k in range(objectives):
            seen = values[i, k] - view.origin[k]
            along += view.directions[i, k] * seen
            length += seen * seen
            distance += view.directions[i, k] * view.directions[i, k]
        length = max(np.sqrt(length), 1e-8)
        distance = max(np.sqrt(distance), 1e-8)
        cosine = along / (length * distance)
        total += degrees * np.arccos(min(max(cosine, 0.0), 0.9999))
        if 0.0 <= cosine <= 0.9999:
            slope = -view.weight / batch * degrees / np.sqrt(1.0 - cosine * cosine)
            for k in range(objectives):
                seen = values[i, k] - view.origin[k]
                pull = view.directions[i, k] / (length * distance) - cosine * seen / (length * length)
                gradient[i, k] += np.float32(slope * pull)
    return float(view.weight * total / batch)


@njit(cache=True, nogil=True)
def _actor_gradient(
    team: ThreadTeam,
    networks: TD3Networks,
    config: TD3KernelConfig,
    batches: PolicyBatches,
    update: int,
    workspace: TD3Workspace,
) -> None:
    """Write the gradient of the actor's loss -w.Q_1(s, pi(s)) plus angle."""
    size, actions = workspace.actions.shape
    start, stop = partition(team, size)
    inputs = workspace.batch.next_inputs  # s, pi(s)
    state = inputs.shape[1] - actions
    observations = workspace.batch.inputs[:, :state]
    value_gradient = workspace.value_gradient[0]
    at_actions = workspace.actions
    actor = _actor(networks, networks.actor)
    critic = _critic(networks, networks.critics[0])
    _propose(team, actor, observations, workspace)
    for i in range(start, stop):
        for j in range(state):
            inputs[i, j] = observations[i, j]
        for j in range(actions):
            inputs[i, state + j] = workspace.actions[i, j]
    forward(team, critic, inputs, _activations(workspace, 1), workspace.next_values[0])
    for i in range(start, stop):
        for k in range(value_gradient.shape[1]):
            value_gradient[i, k] = -batches.weight[update, i, k] / np.float32(size)
    if config.actor_angle > 0.0:
        view = AngleView(batches.direction[update], batches.origin, config.actor_angle)
        add_angle(workspace.next_values[0], view, start, stop, value_gradient)
    no_gradient = workspace.actor_gradient[:0]
    backward(team, critic, inputs, _activations(workspace, 1), value_gradient, no_gradient, at_actions)
    for i in range(start, stop):
        for j in range(actions):
            action = inputs[i, state + j]
            slope = at_actions[i, j]
            derivative = np.float32(1.0) - action * action
            if config.leaky and slope * action > np.float32(0.0):
                derivative = max(derivative, np.float32(config.min_inward_derivative))
            at_actions[i, j] = slope * derivative
    barrier(team)
    gradient = workspace.actor_gradient
    backward(team, actor, observations, _activations(workspace, 0), at_actions, gradient, value_gradient[:, :0])
    barrier(team)


@njit(cache=True, nogil=True)
def _step_actor(
    team: ThreadTeam,
    networks: TD3Networks,
    config: TD3KernelConfig,
    workspace: TD3Workspace,
    step: int,
    rate: float,
) -> None:
    """Run one clipped Adam step with the actor, then move the targets."""
    start, stop = partition(team, networks.actor.shape[0])
    actor = networks.actor[start:stop]
    moments = Moments(networks.actor_moments.first[start:stop], networks.actor_moments.second[start:stop])
    factor = clip_factor(squared_norm(workspace.actor_gradient), config.max_grad_norm)
    adam(actor, workspace.actor_gradient[start:stop], factor, moments, step, rate)
    soft_update(networks.target_actor[start:stop], actor, config.tau)
    for critic in range(team.member, 2, team.size):
        soft_update(networks.target_critics[critic], networks.critics[critic], config.tau)
