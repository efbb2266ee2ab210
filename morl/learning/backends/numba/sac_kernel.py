"""The updates of `morl.learning.sac` as compiled loops, for linear utilities; compare `td3_kernel`."""

from collections.abc import Callable
from math import log
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from morl.learning.backends.numba.batches import GatheredBatch, PolicyBatches, gather
from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.llvm_types import NumbaType
from morl.learning.backends.numba.mlp import (
    RELU,
    Activations,
    Moments,
    Perceptron,
    Sizes,
    adam,
    backward,
    forward,
    soft_update,
    tanh,
)
from morl.learning.backends.numba.threads import ThreadTeam, alone, barrier, partition

LOG_2 = np.float32(log(2.0))
LOG_DENSITY = np.float32(-0.5 * log(2.0 * np.pi))  # of the standard normal distribution at 0


class SACNetworks(NamedTuple):
    """Parameters of one policy, its targets and temperature, and moments of Adam; they are updated in place.

    Attributes:
        actor: [n].
        critics: [2, m].
        target_critics: [2, m].
        log_temperature: [1].
        actor_moments: of the actor [n].
        critic_moments: of the critics [2, m].
        temperature_moments: of the logarithm of the temperature [1].
        actor_widths: layer widths of actors.
        critic_widths: layer widths of critics.
    """

    actor: Array
    critics: Array
    target_critics: Array
    log_temperature: Array
    actor_moments: Moments
    critic_moments: Moments
    temperature_moments: Moments
    actor_widths: Sizes
    critic_widths: Sizes


class SACKernelConfig(NamedTuple):
    """`morl.learning.sac.SACSettings` as numbers.

    Attributes:
        temperature: weight of the entropy; negative where it is learned.
        min_log_std: lower end of the range of log-deviations.
        max_log_std: upper end.
    """

    discount: float
    actor_learning_rate: float
    critic_learning_rate: float
    tau: float
    policy_delay: int
    target_entropy: float
    temperature: float
    min_log_std: float
    max_log_std: float


class SACCounters(NamedTuple):
    """Counts before the first update of a call.

    Attributes:
        updates: updates.
        critic_steps: steps of Adam with the critics.
        actor_steps: steps of Adam with the actor.
    """

    updates: int
    critic_steps: int
    actor_steps: int


class SACWorkspace(NamedTuple):
    """Buffers of one policy's updates.

    Attributes:
        batch: the transitions; `next_inputs` holds s', a', later s, pi(s).
        values: [2, batch, objective] Q_i(s, a).
        next_values: [2, batch, objective] Q'_i(s', a'), later Q_i(s, pi(s)).
        value_gradient: [2, batch, objective] gradient of the loss with respect to values.
        heads: [batch, 2 action] outputs of the actor, later their gradient.
        actions: [batch, action] in (-1, 1).
        ranges: [batch, action] tanh of the second half of the heads.
        spread: [batch, action] deviation times noise.
        densities: [batch, action] logarithms.
        log_probability: [batch].
        action_gradient: [2, batch, action] of each critic's part of the loss.
        hidden: [3, batch * units]: of the critics, and of the actor.
        critic_gradient: [2, m].
        actor_gradient: [n].
        sums: [2, 8] loss of each critic; in the first row also entropy and the actor's loss.
    """

    batch: GatheredBatch
    values: Array
    next_values: Array
    value_gradient: Array
    heads: Array
    actions: Array
    ranges: Array
    spread: Array
    densities: Array
    log_probability: Array
    action_gradient: Array
    hidden: Array
    critic_gradient: Array
    actor_gradient: Array
    sums: NDArray[np.float64]


@njit(cache=True, nogil=True)
def run_sac_updates(
    team: ThreadTeam,
    networks: SACNetworks,
    config: SACKernelConfig,
    batches: PolicyBatches,
    workspace: SACWorkspace,
    counters: SACCounters,
) -> None:
    """Run the update of every batch.

    Args:
        team: who shares the work.
        networks: updated in place.
        config: settings.
        batches: sampled transitions, with 1 + policy_delay draws of noise: of the next actions, then of the actor's
            updates.
        workspace: buffers.
        counters: counts before the first of these updates.
    """
    critic_steps = counters.critic_steps
    actor_steps = counters.actor_steps
    next_inputs = workspace.batch.next_inputs
    state = next_inputs.shape[1] - workspace.actions.shape[1]
    for update in range(batches.indices.shape[0]):
        critic_steps += 1
        gather(team, batches, update, config.discount, workspace.batch)
        _act(team, networks, config, next_inputs[:, :state], batches.noise[update, 0], workspace)
        barrier(team)
        for critic in range(team.member, 2, team.size):
            target = Perceptron(networks.target_critics[critic], networks.critic_widths, RELU)
            activations = _activations(workspace, critic)
            forward(alone(team), target, next_inputs, activations, workspace.next_values[critic])
        barrier(team)
        for critic in range(team.member, 2, team.size):
            _step_critic(networks, config, batches.weight[update], critic, workspace, critic_steps, alone(team))
        barrier(team)
        if (counters.updates + update) % config.policy_delay == 0:
            for turn in range(config.policy_delay):
                actor_steps += 1
                noise = batches.noise[update, 1 + turn]
                _actor_gradient(team, networks, config, batches.weight[update], noise, workspace)
                _step_actor(team, networks, config, workspace, actor_steps)
                barrier(team)
        for critic in range(team.member, 2, team.size):
            soft_update(networks.target_critics[critic], networks.critics[critic], config.tau)


@njit(cache=True, nogil=True)
def _activations(workspace: SACWorkspace, index: int) -> Activations:
    """Return the buffers for hidden layers of a critic (0, 1) or the actor (2), without layer normalization."""
    unused = workspace.actor_gradient[:0]
    return Activations(workspace.hidden[index], unused, unused)


@njit(cache=True, nogil=True)
def _temperature(networks: SACNetworks, config: SACKernelConfig) -> np.float32:
    """Return alpha."""
    return np.exp(networks.log_temperature[0]) if config.temperature < 0.0 else np.float32(config.temperature)


@njit(cache=True, nogil=True)
def _act(
    team: ThreadTeam,
    networks: SACNetworks,
    config: SACKernelConfig,
    observations: Array,
    noise: Array,
    workspace: SACWorkspace,
) -> None:
    """Write the policy's actions in this member's rows of observations, behind these and by themselves.

    Args:
        team: who partitions the rows.
        networks: parameters.
        config: settings.
        observations: [batch, observation], the first columns of `batch.next_inputs` or equal to them.
        noise: [batch, action] standard normal.
        workspace: buffers.
    """
    actor = Perceptron(networks.actor, networks.actor_widths, RELU)
    forward(team, actor, observations, _activations(workspace, 2), workspace.heads)
    start, stop = partition(team, observations.shape[0])
    actions = workspace.actions
    ranges = workspace.ranges
    state = observations.shape[1]
    for i in range(start, stop):
        for j in range(actions.shape[1]):
            actions[i, j] = workspace.heads[i, j]
            ranges[i, j] = workspace.heads[i, actions.shape[1] + j]
    tanh(ranges[start:stop])
    own = slice(start * actions.shape[1], stop * actions.shape[1])
    gaussian = GaussianRows(
        noise.reshape(-1)[own],
        ranges.reshape(-1)[own],
        np.float32(0.5 * (config.max_log_std + config.min_log_std)),
        np.float32(0.5 * (config.max_log_std - config.min_log_std)),
    )
    spread = workspace.spread.reshape(-1)[own]
    _sample(gaussian, actions.reshape(-1)[own], spread, workspace.densities.reshape(-1)[own])
    tanh(actions[start:stop])
    for i in range(start, stop):
        total = np.float32(0.0)
        for j in range(actions.shape[1]):
            workspace.batch.next_inputs[i, state + j] = actions[i, j]
            total += workspace.densities[i, j]
        workspace.log_probability[i] = total


class GaussianRows(NamedTuple):
    """Flat rows of Gaussians, but for their means.

    Attributes:
        noise: [n] standard normal.
        ranges: [n] in (-1, 1): log-deviations are middle + half * ranges.
        middle: of the range of log-deviations.
        half: half of its width.
    """

    noise: Array
    ranges: Array
    middle: np.float32
    half: np.float32


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sample(gaussian: GaussianRows, means: Array, spread: Array, densities: Array) -> None:
    """Add deviation * noise to means [n]; keep that, and the log-density of the tanh of the sum; see sac.py."""
    noise = gaussian.noise
    for j in range(noise.shape[0]):
        log_std = gaussian.middle + gaussian.half * gaussian.ranges[j]
        spread[j] = _exp(log_std) * noise[j]
        before = means[j] + spread[j]
        size = max(before, -before)
        # log(1 + z) = 2 artanh(z / (2 + z)), z = exp(-2 |x|) at most 1
        small = _exp(max(np.float32(-2.0) * size, np.float32(-20.0)))
        t = small / (np.float32(2.0) + small)
        square = t * t
        series = np.float32(1.0 / 9.0) + square * (np.float32(1.0 / 11.0) + square * np.float32(1.0 / 13.0))
        series = np.float32(1.0 / 5.0) + square * (np.float32(1.0 / 7.0) + square * series)
        series = np.float32(2.0) * t * (np.float32(1.0) + square * (np.float32(1.0 / 3.0) + square * series))
        slope = np.float32(2.0) * (LOG_2 - size - series)
        densities[j] = np.float32(-0.5) * noise[j] * noise[j] - log_std + LOG_DENSITY - slope
        means[j] = before


def _exp(x: float) -> float:
    raise NotImplementedError("compiled code only")


@overload(_exp, strict=False, inline="always", jit_options={"fastmath": True, "error_model": "numpy"})
def _choose_exp(x: NumbaType) -> Callable[..., np.float32]:
    if x == types.float32:
        return _polynomial_exp
    return lambda x: np.exp(x)


def _polynomial_exp(x: np.float32) -> np.float32:
    """Return exp(x) for x from -20 to 2, to 3e-6 of it: a polynomial at x / 32, squared five times; in vectors."""
    t = x * np.float32(1.0 / 32.0)
    high = np.float32(1.0 / 120.0) + t * (np.float32(1.0 / 720.0) + t * np.float32(1.0 / 5040.0))
    high = np.float32(0.5) + t * (np.float32(1.0 / 6.0) + t * (np.float32(1.0 / 24.0) + t * high))
    power = np.float32(1.0) + t * (np.float32(1.0) + t * high)
    power *= power
    power *= power
    power *= power
    power *= power
    return power * power


@njit(cache=True, nogil=True)
def _step_critic(
    networks: SACNetworks,
    config: SACKernelConfig,
    weight: Array,
    critic: int,
    workspace: SACWorkspace,
    step: int,
    team: ThreadTeam,
) -> None:
    """Run one Adam step with one critic, by a team of one."""
    values = workspace.values[critic]
    value_gradient = workspace.value_gradient[critic]
    gradient = workspace.critic_gradient[critic]
    network = Perceptron(networks.critics[critic], networks.critic_widths, RELU)
    activations = _activations(workspace, critic)
    inputs = workspace.batch.inputs
    forward(team, network, inputs, activations, values)
    temperature = _temperature(networks, config)
    workspace.sums[critic, 0] = _value_loss(values, workspace, weight, temperature, value_gradient)
    backward(team, network, inputs, activations, value_gradient, gradient, value_gradient[:, :0])
    moments = Moments(networks.critic_moments.first[critic], networks.critic_moments.second[critic])
    adam(networks.critics[critic], gradient, 1.0, moments, step, config.critic_learning_rate)


@njit(cache=True, nogil=True)
def _lowest(values: Array, weight: Array, i: int) -> int:
    """Return which of two critics' values [2, batch, objective] has the lower utility in row i."""
    first = np.float32(0.0)
    second = np.float32(0.0)
    for k in range(weight.shape[1]):
        first += weight[i, k] * values[0, i, k]
        second += weight[i, k] * values[1, i, k]
    return 0 if first <= second else 1


@njit(cache=True, nogil=True)
def _value_loss(
    values: Array, workspace: SACWorkspace, weight: Array, temperature: np.float32, gradient: Array
) -> float:
    """Write the gradient of the squared errors of values [batch, objective], a mean over the batch; return the loss."""
    size, objectives = values.shape
    loss = 0.0
    for i in range(size):
        lowest = _lowest(workspace.next_values, weight, i)
        bonus = temperature * workspace.log_probability[i]
        for k in range(objectives):
            soft_value = workspace.next_values[lowest, i, k] - bonus
            target = workspace.batch.rewards[i, k] + workspace.batch.discounts[i] * soft_value
            error = values[i, k] - target
            loss += error * error
            gradient[i, k] = np.float32(2.0 / size) * error
    return float(loss / size)


@njit(cache=True, nogil=True)
def _actor_gradient(
    team: ThreadTeam,
    networks: SACNetworks,
    config: SACKernelConfig,
    weight: Array,
    noise: Array,
    workspace: SACWorkspace,
) -> None:
    """Write the gradient of the actor's loss alpha log pi(a | s) - min_k w.Q_k(s, a)."""
    size, actions = workspace.actions.shape
    state = workspace.batch.inputs.shape[1] - actions
    observations = workspace.batch.inputs[:, :state]
    start, stop = partition(team, size)
    alpha = _temperature(networks, config)
    share = np.float32(1.0 / size)
    _act(team, networks, config, observations, noise, workspace)
    for i in range(start, stop):
        for j in range(state):
            workspace.batch.next_inputs[i, j] = observations[i, j]
    _gradient_at_actions(team, networks, weight, workspace)
    half = np.float32(0.5 * (config.max_log_std - config.min_log_std))
    for i in range(start, stop):
        for j in range(actions):
            action = workspace.actions[i, j]
            range_ = workspace.ranges[i, j]
            slope = workspace.action_gradient[0, i, j] + workspace.action_gradient[1, i, j]
            slope = slope * (np.float32(1.0) - action * action) + np.float32(2.0) * alpha * share * action
            workspace.heads[i, j] = slope
            deviation = slope * workspace.spread[i, j] - alpha * share
            workspace.heads[i, actions + j] = deviation * half * (np.float32(1.0) - range_ * range_)
    barrier(team)
    actor = Perceptron(networks.actor, networks.actor_widths, RELU)
    heads = workspace.heads
    gradient = workspace.actor_gradient
    backward(team, actor, observations, _activations(workspace, 2), heads, gradient, heads[:, :0])
    if team.member == 0:
        _note_metrics(weight, alpha, workspace)
    barrier(team)


@njit(cache=True, nogil=True)
def _gradient_at_actions(team: ThreadTeam, networks: SACNetworks, weight: Array, workspace: SACWorkspace) -> None:
    """Write the gradient of the mean of -min_k w.Q_k(s, a) with respect to the actions, through each critic."""
    size = weight.shape[0]
    inputs = workspace.batch.next_inputs
    no_gradient = workspace.actor_gradient[:0]
    start, stop = partition(team, size)
    for critic in range(2):
        network = Perceptron(networks.critics[critic], networks.critic_widths, RELU)
        forward(team, network, inputs, _activations(workspace, critic), workspace.next_values[critic])
    for i in range(start, stop):
        lowest = _lowest(workspace.next_values, weight, i)
        for k in range(weight.shape[1]):
            workspace.value_gradient[lowest, i, k] = -weight[i, k] / np.float32(size)
            workspace.value_gradient[1 - lowest, i, k] = np.float32(0.0)
    for critic in range(2):
        network = Perceptron(networks.critics[critic], networks.critic_widths, RELU)
        activations = _activations(workspace, critic)
        at_values = workspace.value_gradient[critic]
        backward(team, network, inputs, activations, at_values, no_gradient, workspace.action_gradient[critic])


@njit(cache=True, nogil=True)
def _note_metrics(weight: Array, alpha: np.float32, workspace: SACWorkspace) -> None:
    """Keep the policy's entropy and the actor's loss."""
    entropy = 0.0
    loss = 0.0
    size = weight.shape[0]
    for i in range(size):
        lowest = _lowest(workspace.next_values, weight, i)
        utility = 0.0
        for k in range(weight.shape[1]):
            utility += weight[i, k] * workspace.next_values[lowest, i, k]
        entropy -= workspace.log_probability[i]
        loss += alpha * workspace.log_probability[i] - utility
    workspace.sums[0, 1] = entropy / size
    workspace.sums[0, 2] = loss / size


@njit(cache=True, nogil=True)
def _step_actor(
    team: ThreadTeam, networks: SACNetworks, config: SACKernelConfig, workspace: SACWorkspace, step: int
) -> None:
    """Run one Adam step with this member's part of the actor; the first member also steps the temperature."""
    start, stop = partition(team, networks.actor.shape[0])
    moments = Moments(networks.actor_moments.first[start:stop], networks.actor_moments.second[start:stop])
    gradient = workspace.actor_gradient[start:stop]
    adam(networks.actor[start:stop], gradient, 1.0, moments, step, config.actor_learning_rate)
    if team.member == 0 and config.temperature < 0.0:
        excess = np.full(1, workspace.sums[0, 1] - config.target_entropy, dtype=workspace.heads.dtype)
        adam(networks.log_temperature, excess, 1.0, networks.temperature_moments, step, config.critic_learning_rate)
