"""The updates of `morl.learning.td3` as compiled loops: the same numbers on a CPU, several times as fast.

One call takes any number of updates of one policy, from rows of its replay to moved targets. Two threads can share it:
each takes a critic, and half of all the rest.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morl.learning.backends.numba.mlp import RELU, Array, Sizes, adam, backward, follow, forward, squared_norm, tanh
from morl.learning.backends.numba.threads import ThreadTeam, alone, meet, share

WAY_BACK = 0.25
"""Least weight of a slope that leads back from the end of the range of actions: see `morl.learning.td3.leaky`."""


class Networks(NamedTuple):
    """Parameters of one policy, its targets, and moments of Adam."""

    actor: Array  # [n]
    target_actor: Array
    critics: Array  # [2, m]
    target_critics: Array
    actor_first: Array  # [n] moments
    actor_second: Array
    critic_first: Array  # [2, m]
    critic_second: Array
    actor_widths: Sizes
    critic_widths: Sizes
    kind: int  # what follows the critics' hidden layers; actors have ReLU


class Numbers(NamedTuple):
    """Of `TD3Settings`; see there."""

    discount: float
    target_noise: float
    target_noise_clip: float
    learning_rate: float
    max_grad_norm: float
    tau: float
    huber: bool
    critic_angle: float
    actor_angle: float
    actor_starts: int
    leaky: bool


class Drawn(NamedTuple):
    """What one policy learns from; see `morl.learning.sampled_batches.SampledBatches`."""

    rows: Array  # [row, width]
    places: NDArray[np.int64]  # [update, batch] rows drawn
    condition: Array  # [update, batch, condition]
    weight: Array  # [update, batch, objective]
    noise: Array  # [update, batch, action]
    scale: Array  # [objective]
    direction: Array  # [update, batch, objective], or empty without angles
    origin: Array  # [objective]


class Memory(NamedTuple):
    """What one policy's updates work in."""

    inputs: Array  # [batch, state + action]: s, a
    next_inputs: Array  # the same: s', a', later s, pi(s)
    action_errors: Array  # [batch, action]
    rewards: Array  # [batch, objective]
    continues: Array  # [batch] discount of what follows
    values: Array  # [2, batch, objective]: Q_i(s, a)
    next_values: Array  # [2, batch, objective]: Q'_i(s', a'), later Q_1(s, pi(s))
    errors: Array  # [2, batch, objective] slopes of the loss
    hidden: Array  # [2, batch * units]
    normed: Array
    scales: Array  # [2, batch * layers]
    critic_gradient: Array  # [2, m]
    actor_gradient: Array  # [n]
    sums: NDArray[np.float64]  # [2, 8]: a critic's squared gradient, its loss


@njit(cache=True, nogil=True)
def take_updates(
    team: ThreadTeam, nets: Networks, numbers: Numbers, drawn: Drawn, memory: Memory, steps: tuple[int, int, int, int]
) -> None:
    """Take as many updates as were drawn.

    Args:
        team: who shares the work.
        nets: what changes.
        numbers: settings.
        drawn: what is learnt from.
        memory: to work in.
        steps: of Adam with the critics so far, updates so far, steps of Adam with the actor, updates between these.
    """
    critic_steps, updates, actor_steps, delay = steps
    for update in range(drawn.places.shape[0]):
        critic_steps += 1
        updates += 1
        gather(team, drawn, update, numbers.discount, memory)
        _act_next(team, nets, numbers, drawn.noise[update], memory)
        meet(team)
        for critic in range(team[0], 2, team[1]):
            forward(
                alone(team), nets.target_critics[critic], nets.critic_widths, nets.kind, memory.next_inputs,
                memory.hidden[critic], memory.normed[critic], memory.scales[critic], memory.next_values[critic],
            )  # fmt: skip
        meet(team)
        for critic in range(team[0], 2, team[1]):
            _critic_gradient(alone(team), nets, numbers, drawn, update, critic, memory)
        meet(team)
        factor = _cut(memory.sums[0, 0] + memory.sums[1, 0], numbers.max_grad_norm)
        for critic in range(team[0], 2, team[1]):
            moments = nets.critic_first[critic], nets.critic_second[critic]
            gradient, rate = memory.critic_gradient[critic], numbers.learning_rate
            adam(nets.critics[critic], gradient, factor, *moments, critic_steps, rate)
        meet(team)
        if updates % delay == 0:
            actor_steps += 1
            _climb(team, nets, numbers, drawn, update, memory)
            rate = numbers.learning_rate if updates > numbers.actor_starts else 0.0
            _step_actor(team, nets, numbers, memory, actor_steps, rate)
            meet(team)


@njit(cache=True, nogil=True)
def _cut(squares: float, clip: float) -> float:
    """Return what a gradient of this squared length is multiplied by, to be no longer than `clip`."""
    return min(1.0, float(clip / (np.sqrt(squares) + 1e-6)))


@njit(cache=True, nogil=True)
def gather(team: ThreadTeam, drawn: Drawn, update: int, discount: float, memory: Any) -> None:
    """Gather this member's rows of the batch: (s, a), s', rewards in their units, and discounts of what follows."""
    start, stop = share(team, memory.inputs.shape[0])
    condition, scale = drawn.condition[update], drawn.scale
    objectives, total = scale.shape[0], memory.inputs.shape[1]
    width = total - drawn.noise.shape[2] - condition.shape[1]
    state = width + condition.shape[1]
    following = total - condition.shape[1] + objectives
    for i in range(start, stop):
        row = drawn.rows[drawn.places[update, i]]
        for j in range(width):
            memory.inputs[i, j] = row[j]
            memory.next_inputs[i, j] = row[following + j]
        for j in range(condition.shape[1]):
            memory.inputs[i, width + j] = condition[i, j]
            memory.next_inputs[i, width + j] = condition[i, j]
        for j in range(total - state):
            memory.inputs[i, state + j] = row[width + j]
        for k in range(objectives):
            memory.rewards[i, k] = row[following - objectives + k] / scale[k]
        memory.continues[i] = np.float32(discount) * (np.float32(1.0) - row[following + width])


@njit(cache=True, nogil=True)
def _act_next(team: ThreadTeam, nets: Networks, numbers: Numbers, noise: Array, memory: Memory) -> None:
    """Write smoothed target actions a' in this member's rows."""
    start, stop = share(team, noise.shape[0])
    proposed, wildest = memory.action_errors, np.float32(numbers.target_noise_clip)
    state = memory.inputs.shape[1] - noise.shape[1]
    _propose(team, nets.target_actor, nets, memory.next_inputs[:, :state], memory, proposed)
    for i in range(start, stop):
        for j in range(noise.shape[1]):
            jitter = min(max(np.float32(numbers.target_noise) * noise[i, j], -wildest), wildest)
            memory.next_inputs[i, state + j] = min(max(proposed[i, j] + jitter, np.float32(-1.0)), np.float32(1.0))


@njit(cache=True, nogil=True)
def _propose(team: ThreadTeam, actor: Array, nets: Networks, states: Array, memory: Memory, actions: Array) -> None:
    """Write the actions [batch, action] of an actor in this member's rows of states [batch, state]."""
    start, stop = share(team, states.shape[0])
    work = memory.hidden[0], memory.normed[0], memory.scales[0]
    forward(team, actor, nets.actor_widths, RELU, states, *work, actions)
    tanh(actions[start:stop])


@njit(cache=True, nogil=True)
def _critic_gradient(
    team: ThreadTeam, nets: Networks, numbers: Numbers, drawn: Drawn, update: int, critic: int, memory: Memory
) -> None:
    """Write the gradient of one critic's loss, the square of its length, and the loss."""
    work = memory.hidden[critic], memory.normed[critic], memory.scales[critic]
    values, errors, gradient = memory.values[critic], memory.errors[critic], memory.critic_gradient[critic]
    given = nets.critics[critic], nets.critic_widths, nets.kind, memory.inputs
    forward(team, *given, *work, values)
    loss = _value_errors(values, memory, drawn.weight[update], numbers.huber, errors)
    if numbers.critic_angle > 0.0:
        loss += add_angle(values, drawn.direction[update], drawn.origin, numbers.critic_angle, 0, len(values), errors)
    backward(team, *given, *work, errors, gradient, errors[:, :0])
    memory.sums[critic, 0], memory.sums[critic, 1] = squared_norm(gradient), loss


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc", "arcp"}, error_model="numpy")
def _value_errors(values: Array, memory: Memory, weight: Array, huber: bool, errors: Array) -> float:
    """Write the slopes of the loss of values [batch, objective] and return it.

    The target is r + gamma Q'_i with i the target critic with the lower utility w.Q'_i: a whole vector.
    """
    size, objectives = values.shape
    small, loss = np.float32(1.0 / (size * objectives)), 0.0
    for i in range(size):
        first, second = np.float32(0.0), np.float32(0.0)
        for k in range(objectives):
            first += weight[i, k] * memory.next_values[0, i, k]
            second += weight[i, k] * memory.next_values[1, i, k]
        lowest = 0 if first <= second else 1
        for k in range(objectives):
            target = memory.rewards[i, k] + memory.continues[i] * memory.next_values[lowest, i, k]
            error = values[i, k] - target
            if huber:
                clipped = min(max(error, np.float32(-1.0)), np.float32(1.0))
                loss += clipped * (error - np.float32(0.5) * clipped)
                errors[i, k] = small * clipped
            else:
                loss += error * error
                errors[i, k] = np.float32(2.0) * small * error
    return float(loss * small)


@njit(cache=True, nogil=True, error_model="numpy")
def add_angle(
    values: Array, directions: Array, origin: Array, weight: float, start: int, stop: int, errors: Array
) -> float:
    """Add the slopes of a mean of angles to those of values [batch, objective]; see `values.angle_degrees`.

    Args:
        values: [batch, objective].
        directions: [batch, objective].
        origin: [objective] that values are seen from.
        weight: of the mean over the batch.
        start: first row to do.
        stop: row to stop before.
        errors: [batch, objective].

    Returns:
        The weighted mean, of these rows.
    """
    batch, objectives = values.shape
    total, degrees = 0.0, 180.0 / np.pi
    for i in range(start, stop):
        along, length, distance = 0.0, 0.0, 0.0
        for k in range(objectives):
            seen = values[i, k] - origin[k]
            along += directions[i, k] * seen
            length += seen * seen
            distance += directions[i, k] * directions[i, k]
        length, distance = max(np.sqrt(length), 1e-8), max(np.sqrt(distance), 1e-8)
        cosine = along / (length * distance)
        total += degrees * np.arccos(min(max(cosine, 0.0), 0.9999))
        if 0.0 <= cosine <= 0.9999:
            slope = -weight / batch * degrees / np.sqrt(1.0 - cosine * cosine)
            for k in range(objectives):
                seen = values[i, k] - origin[k]
                pull = directions[i, k] / (length * distance) - cosine * seen / (length * length)
                errors[i, k] += np.float32(slope * pull)
    return float(weight * total / batch)


@njit(cache=True, nogil=True)
def _climb(team: ThreadTeam, nets: Networks, numbers: Numbers, drawn: Drawn, update: int, memory: Memory) -> None:
    """Write the gradient of the actor's loss -w.Q_1(s, pi(s)) plus angle."""
    size, actions = memory.action_errors.shape
    state = memory.inputs.shape[1] - actions
    start, stop = share(team, size)
    states, errors, climbed = memory.inputs[:, :state], memory.errors[0], memory.next_values[0]
    _propose(team, nets.actor, nets, states, memory, memory.action_errors)
    for i in range(start, stop):
        for j in range(state):
            memory.next_inputs[i, j] = states[i, j]
        for j in range(actions):
            memory.next_inputs[i, state + j] = memory.action_errors[i, j]
    work = memory.hidden[1], memory.normed[1], memory.scales[1]
    given = nets.critics[0], nets.critic_widths, nets.kind, memory.next_inputs
    forward(team, *given, *work, climbed)
    for i in range(start, stop):
        for k in range(errors.shape[1]):
            errors[i, k] = -drawn.weight[update, i, k] / np.float32(size)
    if numbers.actor_angle > 0.0:
        add_angle(climbed, drawn.direction[update], drawn.origin, numbers.actor_angle, start, stop, errors)
    backward(team, *given, *work, errors, memory.actor_gradient[:0], memory.action_errors)
    for i in range(start, stop):
        for j in range(actions):
            action, slope = memory.next_inputs[i, state + j], memory.action_errors[i, j]
            derivative = np.float32(1.0) - action * action
            if numbers.leaky and slope * action > np.float32(0.0):
                derivative = max(derivative, np.float32(WAY_BACK))
            memory.action_errors[i, j] = slope * derivative
    meet(team)
    work = memory.hidden[0], memory.normed[0], memory.scales[0]
    given = nets.actor, nets.actor_widths, RELU, states
    backward(team, *given, *work, memory.action_errors, memory.actor_gradient, errors[:, :0])
    meet(team)


@njit(cache=True, nogil=True)
def _step_actor(team: ThreadTeam, nets: Networks, numbers: Numbers, memory: Memory, step: int, rate: float) -> None:
    """Take one clipped Adam step with the actor, then move the targets."""
    start, stop = share(team, nets.actor.shape[0])
    actor, gradient = nets.actor[start:stop], memory.actor_gradient[start:stop]
    moments = nets.actor_first[start:stop], nets.actor_second[start:stop]
    factor = _cut(squared_norm(memory.actor_gradient), numbers.max_grad_norm)
    adam(actor, gradient, factor, *moments, step, rate)
    follow(nets.target_actor[start:stop], actor, numbers.tau)
    for critic in range(team[0], 2, team[1]):
        follow(nets.target_critics[critic], nets.critics[critic], numbers.tau)
