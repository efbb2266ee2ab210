"""The updates of `morl.learning.sac` as compiled loops, for linear utilities; compare `td3_kernel`."""

from math import log
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morl.learning.backends.numba.mlp import RELU, Array, Sizes, adam, backward, follow, forward, tanh
from morl.learning.backends.numba.td3_kernel import Drawn, gather
from morl.learning.backends.numba.threads import ThreadTeam, alone, meet, share

LOG_2, LOG_DENSITY = np.float32(log(2.0)), np.float32(-0.5 * log(2.0 * np.pi))


class SoftNetworks(NamedTuple):
    """Parameters of one policy, its targets and temperature, and moments of Adam."""

    actor: Array  # [n]
    critics: Array  # [2, m]
    targets: Array  # [2, m]
    log_temperature: Array  # [1]
    actor_first: Array
    actor_second: Array
    critic_first: Array
    critic_second: Array
    temperature_first: Array
    temperature_second: Array
    actor_widths: Sizes
    critic_widths: Sizes


class SoftNumbers(NamedTuple):
    """Of `Hyperparameters`; see there."""

    discount: float
    actor_learning_rate: float
    critic_learning_rate: float
    tau: float
    target_entropy: float
    temperature: float  # negative where it is learnt
    lowest: float  # range of log-deviations
    highest: float


class SoftMemory(NamedTuple):
    """What one policy's updates work in."""

    inputs: Array  # [batch, state + action]: s, a
    next_inputs: Array  # the same: s', a', later s, pi(s)
    rewards: Array  # [batch, objective]
    continues: Array  # [batch] discount of what follows
    values: Array  # [2, batch, objective]
    next_values: Array  # [2, batch, objective]
    errors: Array  # [2, batch, objective]
    heads: Array  # [batch, 2 action] of the actor, later their slopes
    actions: Array  # [batch, action] in (-1, 1)
    ranges: Array  # [batch, action] tanh of the second half of the heads
    spread: Array  # [batch, action] deviation times noise
    densities: Array  # [batch, action] logarithms
    log_probability: Array  # [batch]
    action_slopes: Array  # [2, batch, action]
    hidden: Array  # [3, batch * units]
    critic_gradient: Array  # [2, m]
    actor_gradient: Array  # [n]
    sums: NDArray[np.float64]  # [2, 8]: a critic's loss; in the first row also entropy, the actor's loss


@njit(cache=True, nogil=True)
def take_soft_updates(
    team: ThreadTeam,
    nets: SoftNetworks,
    numbers: SoftNumbers,
    drawn: Drawn,
    noise: Array,
    memory: SoftMemory,
    steps: tuple[int, int, int, int],
) -> None:
    """Take as many updates as were drawn.

    Args:
        team: who shares the work.
        nets: what changes.
        numbers: settings.
        drawn: what is learnt from.
        noise: [update, 1 + period, batch, action]: of the next actions, then of the actor's steps.
        memory: to work in.
        steps: of Adam with the critics so far, number of the first update, steps of Adam with the actor so far, updates
            between the actor's, which are as many at once.
    """
    critic_steps, number, actor_steps, period = steps
    state = memory.inputs.shape[1] - memory.actions.shape[1]
    for update in range(drawn.places.shape[0]):
        critic_steps += 1
        gather(team, drawn, update, numbers.discount, memory)
        _act(team, nets, numbers, memory.next_inputs[:, :state], noise[update, 0], memory)
        meet(team)
        for critic in range(team[0], 2, team[1]):
            work = memory.hidden[critic], nets.actor[:0], nets.actor[:0], memory.next_values[critic]
            forward(alone(team), nets.targets[critic], nets.critic_widths, RELU, memory.next_inputs, *work)
        meet(team)
        for critic in range(team[0], 2, team[1]):
            _step_critic(alone(team), nets, numbers, drawn.weight[update], critic, memory, critic_steps)
        meet(team)
        if (number + update) % period == 0:
            for turn in range(period):
                actor_steps += 1
                _climb(team, nets, numbers, drawn.weight[update], noise[update, 1 + turn], memory)
                _step_actor(team, nets, numbers, memory, actor_steps)
                meet(team)
        for critic in range(team[0], 2, team[1]):
            follow(nets.targets[critic], nets.critics[critic], numbers.tau)


@njit(cache=True, nogil=True)
def _temperature(nets: SoftNetworks, numbers: SoftNumbers) -> np.float32:
    """Return alpha."""
    return np.exp(nets.log_temperature[0]) if numbers.temperature < 0.0 else np.float32(numbers.temperature)


@njit(cache=True, nogil=True)
def _act(
    team: ThreadTeam, nets: SoftNetworks, numbers: SoftNumbers, states: Array, noise: Array, memory: SoftMemory
) -> None:
    """Write the policy's actions in this member's rows of states [batch, state], behind these and by themselves."""
    work = memory.hidden[2], nets.actor[:0], nets.actor[:0]
    forward(team, nets.actor, nets.actor_widths, RELU, states, *work, memory.heads)
    start, stop = share(team, states.shape[0])
    actions, ranges, state = memory.actions, memory.ranges, states.shape[1]
    for i in range(start, stop):
        for j in range(actions.shape[1]):
            actions[i, j] = memory.heads[i, j]
            ranges[i, j] = memory.heads[i, actions.shape[1] + j]
    tanh(ranges[start:stop])
    middle = np.float32(0.5 * (numbers.highest + numbers.lowest))
    half = np.float32(0.5 * (numbers.highest - numbers.lowest))
    part = slice(start * actions.shape[1], stop * actions.shape[1])
    given = noise.reshape(-1)[part], ranges.reshape(-1)[part], actions.reshape(-1)[part]
    _spread(*given, middle, half, memory.spread.reshape(-1)[part], memory.densities.reshape(-1)[part])
    tanh(actions[start:stop])
    for i in range(start, stop):
        total = np.float32(0.0)
        for j in range(actions.shape[1]):
            memory.next_inputs[i, state + j] = actions[i, j]
            total += memory.densities[i, j]
        memory.log_probability[i] = total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _spread(
    noise: Array, ranges: Array, means: Array, middle: np.float32, half: np.float32, spread: Array, densities: Array
) -> None:
    """Add deviation * noise to means [n]; keep that, and the log-density of the tanh of the sum; see sac.py."""
    for j in range(noise.shape[0]):
        log_std = middle + half * ranges[j]
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


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
def _exp(x: np.float32) -> np.float32:
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
    team: ThreadTeam,
    nets: SoftNetworks,
    numbers: SoftNumbers,
    weight: Array,
    critic: int,
    memory: SoftMemory,
    step: int,
) -> None:
    """Take one Adam step with one critic."""
    values, errors, gradient = memory.values[critic], memory.errors[critic], memory.critic_gradient[critic]
    given = nets.critics[critic], nets.critic_widths, RELU, memory.inputs
    work = memory.hidden[critic], nets.actor[:0], nets.actor[:0]
    forward(team, *given, *work, values)
    memory.sums[critic, 0] = _value_errors(values, memory, weight, _temperature(nets, numbers), errors)
    backward(team, *given, *work, errors, gradient, errors[:, :0])
    moments = nets.critic_first[critic], nets.critic_second[critic]
    adam(nets.critics[critic], gradient, 1.0, *moments, step, numbers.critic_learning_rate)


@njit(cache=True, nogil=True)
def _lowest(values: Array, weight: Array, i: int) -> int:
    """Return which of two critics' values [2, batch, objective] has the lower utility in row i."""
    first, second = np.float32(0.0), np.float32(0.0)
    for k in range(weight.shape[1]):
        first += weight[i, k] * values[0, i, k]
        second += weight[i, k] * values[1, i, k]
    return 0 if first <= second else 1


@njit(cache=True, nogil=True)
def _value_errors(values: Array, memory: SoftMemory, weight: Array, temperature: np.float32, errors: Array) -> float:
    """Write the slopes of the squared errors of values [batch, objective], a mean over the batch; return the loss."""
    size, objectives = values.shape
    loss = 0.0
    for i in range(size):
        lowest, entropy = _lowest(memory.next_values, weight, i), temperature * memory.log_probability[i]
        for k in range(objectives):
            target = memory.rewards[i, k] + memory.continues[i] * (memory.next_values[lowest, i, k] - entropy)
            error = values[i, k] - target
            loss += error * error
            errors[i, k] = np.float32(2.0 / size) * error
    return float(loss / size)


@njit(cache=True, nogil=True)
def _climb(
    team: ThreadTeam, nets: SoftNetworks, numbers: SoftNumbers, weight: Array, noise: Array, memory: SoftMemory
) -> None:
    """Write the gradient of the actor's loss alpha log pi(a | s) - min_k w.Q_k(s, a)."""
    size, actions = memory.actions.shape
    state = memory.inputs.shape[1] - actions
    states, (start, stop) = memory.inputs[:, :state], share(team, size)
    alpha, small = _temperature(nets, numbers), np.float32(1.0 / size)
    _act(team, nets, numbers, states, noise, memory)
    for i in range(start, stop):
        for j in range(state):
            memory.next_inputs[i, j] = states[i, j]
    _slopes_at_actions(team, nets, weight, memory)
    half = np.float32(0.5 * (numbers.highest - numbers.lowest))
    for i in range(start, stop):
        for j in range(actions):
            action, range_ = memory.actions[i, j], memory.ranges[i, j]
            slope = memory.action_slopes[0, i, j] + memory.action_slopes[1, i, j]
            slope = slope * (np.float32(1.0) - action * action) + np.float32(2.0) * alpha * small * action
            memory.heads[i, j] = slope
            deviation = slope * memory.spread[i, j] - alpha * small
            memory.heads[i, actions + j] = deviation * half * (np.float32(1.0) - range_ * range_)
    meet(team)
    given, nothing = (nets.actor, nets.actor_widths, RELU, states, memory.hidden[2]), nets.actor[:0]
    backward(team, *given, nothing, nothing, memory.heads, memory.actor_gradient, memory.heads[:, :0])
    if team[0] == 0:
        _note(weight, alpha, memory)
    meet(team)


@njit(cache=True, nogil=True)
def _slopes_at_actions(team: ThreadTeam, nets: SoftNetworks, weight: Array, memory: SoftMemory) -> None:
    """Write the slopes of the mean of -min_k w.Q_k(s, a) at the actions, of each critic."""
    size, nothing, parameters, none = weight.shape[0], nets.actor[:0], nets.critics, nets.actor[:0]
    start, stop = share(team, size)
    for critic in range(2):
        given = parameters[critic], nets.critic_widths, RELU, memory.next_inputs, memory.hidden[critic]
        forward(team, *given, nothing, none, memory.next_values[critic])
    for i in range(start, stop):
        lowest = _lowest(memory.next_values, weight, i)
        for k in range(weight.shape[1]):
            memory.errors[lowest, i, k] = -weight[i, k] / np.float32(size)
            memory.errors[1 - lowest, i, k] = np.float32(0.0)
    for critic in range(2):
        given = parameters[critic], nets.critic_widths, RELU, memory.next_inputs, memory.hidden[critic]
        backward(team, *given, nothing, none, memory.errors[critic], nothing, memory.action_slopes[critic])


@njit(cache=True, nogil=True)
def _note(weight: Array, alpha: np.float32, memory: SoftMemory) -> None:
    """Keep the policy's entropy and the actor's loss."""
    entropy, loss, size = 0.0, 0.0, weight.shape[0]
    for i in range(size):
        lowest, utility = _lowest(memory.next_values, weight, i), 0.0
        for k in range(weight.shape[1]):
            utility += weight[i, k] * memory.next_values[lowest, i, k]
        entropy -= memory.log_probability[i]
        loss += alpha * memory.log_probability[i] - utility
    memory.sums[0, 1], memory.sums[0, 2] = entropy / size, loss / size


@njit(cache=True, nogil=True)
def _step_actor(team: ThreadTeam, nets: SoftNetworks, numbers: SoftNumbers, memory: SoftMemory, step: int) -> None:
    """Take one Adam step with this member's part of the actor; with the first member's, one with the temperature."""
    start, stop = share(team, nets.actor.shape[0])
    moments = nets.actor_first[start:stop], nets.actor_second[start:stop]
    adam(nets.actor[start:stop], memory.actor_gradient[start:stop], 1.0, *moments, step, numbers.actor_learning_rate)
    if team[0] == 0 and numbers.temperature < 0.0:
        excess = np.full(1, memory.sums[0, 1] - numbers.target_entropy, dtype=np.float32)
        temperature = nets.log_temperature, excess, 1.0, nets.temperature_first, nets.temperature_second
        adam(*temperature, step, numbers.critic_learning_rate)
