"""Offloading tasks to a cloud and to edge servers (GMORL: arXiv 2509.10474, IEEE Transactions on Services Computing).

Each second, one task of an exponential size is sent whole to the cloud (server 0) or to an edge server. It is uploaded
at the rate of that link and then shares the server equally with the tasks there (`processor_sharing`). The reward is

    delay:  -(how much the remaining delays of all tasks of that server grow by this one, its own delay included)
    energy: -(transmission power * upload time + kappa * eta * clock^2 * size)

so that an undiscounted return is minus the sum of all delays (s) and minus all energy (J). Facts and constants:
docs/environments/task_families.md. Waiting for the dispatcher does not count, as in the authors' code.
"""

import math
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.single import single_form
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, Sheet
from morl.envs.families.processor_sharing import (
    COMING,
    RUNNING,
    SIZE,
    TARGET,
    VIRTUAL,
    remaining,
    remaining_with,
    run,
    send,
)
from morl.envs.families.quantiles import exponential, poisson

Range = tuple[float, float]
Span = Range | float | str
"""Lowest and highest value: a pair, one number for both, or a text such as "1-8" (options of a run hold no pairs)."""

HORIZON = 100
STEP = 1.0  # s
USERS = 10
LOAD = 0.1  # of each user, as a share of all servers
CYCLES_PER_BIT = 1e3  # eta
ENERGY_FACTOR = 5e-31  # kappa, J s^2 per cycle^3
BANDWIDTH = 16.6e6  # Hz
POWER = 0.01  # W, of the sender
NOISE = 10 ** (-174 / 10) * 1e-3 * BANDWIDTH  # W: -174 dBm/Hz
CLOUD_DISTANCE = (1000.0, 2000.0)  # m
EDGE_DISTANCE = (50.0, 500.0)  # m
SMALLEST = 0.1  # Mbit
LARGEST = 100.0  # Mbit
BINS = 60
EDGES, WAITING, TASK = range(3)
"""Columns of `status` [env, 3]: edge servers there are, tasks that wait, size of the task to place (Mbit; 0: none)."""
CLOCK, RATE = range(2)
"""Columns of `links` [env, server, 2]: clock of the server (GHz, 0 where there is none), rate of its link (Mbit/s)."""
HISTOGRAM = 5
CHANNELS = HISTOGRAM + BINS + 2
RATE_MODELS = ("legacy", "shannon")
NONE = math.exp(-1.0)  # chance that no task arrives in a step
ROOM = 128  # tasks that a server can hold; one a step arrives at most


@njit(cache=True, nogil=True)
def link_rate(distance: float, fading: float, shannon: bool, antenna_gain: float) -> float:
    """Return the rate of a link in Mbit/s. `distance` in m, `fading` the power of the Rayleigh channel, mean 1.

    Path loss 35 log10(d / 1 km) + 133.6 dB, 8 dB shadowing. Shannon: W log2(1 + p g / noise), with g raised by the
    antenna gain in dB. Legacy, the formula behind the published figures: W log2(1 + p (g / noise)^2 / noise).
    """
    gain = fading * 10 ** (-(35 * math.log10(distance / 1000) + 133.6 + 8.0) / 10)
    ratio = gain * 10 ** (antenna_gain / 10) if shannon else (gain / NOISE) ** 2
    signal = POWER * ratio / NOISE
    return 1e-6 * BANDWIDTH * math.log1p(signal) / math.log(2.0)


class State(NamedTuple):
    """Arrays of all environments."""

    status: Array
    """[env, 3]: edge servers, waiting tasks, size of the task to place."""
    links: Array
    """[env, server, 2]: clock of the server, rate of its link."""
    tasks: Array
    """[env, server, kind, task], of `processor_sharing`."""
    servers: Array
    """[env, server, column], of `processor_sharing`."""


class Scratch(NamedTuple):
    """One server of `processor_sharing`, to try things out on: its tasks and itself."""

    tasks: Array
    servers: Array


class Contexts(NamedTuple):
    """From what episodes are drawn, uniformly: number of edge servers, clocks in GHz; and how links are modelled."""

    fewest: int
    most: int
    cloud_clock: Range
    edge_clock: Range
    shannon: bool
    antenna_gain: float


def pair(name: str, value: Span) -> Range:
    """Return the lowest and the highest value of an option.

    Args:
        name: of the option, for the message.
        value: a pair, a number, or a text "lowest-highest".

    Raises:
        ValueError: it is none of these.
    """
    parts = value.split("-") if isinstance(value, str) else np.ravel(value)
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ValueError(f"{name} must be a number, two of them or a text such as '1-8', got {value!r}")
    return numbers[0], numbers[-1]


@njit(cache=True, nogil=True)
def between(low: float, high: float, uniform: float) -> float:
    """Return the uniform variate of [low, high)."""
    return low + (high - low) * uniform


@njit(cache=True, nogil=True)
def speed(clock: float) -> float:
    """Return what a server of `clock` GHz works off, in Mbit/s: f / eta."""
    return clock * 1e9 / CYCLES_PER_BIT * 1e-6


@njit(cache=True, nogil=True)
def next_task(env: int, status: Array, links: Array, draws: Array, positions: Array) -> None:
    """Let a Poisson number of tasks arrive (mean 1 a step) and take the next; sizes give the servers the load LOAD."""
    power = 0.0
    for server in range(links.shape[1]):
        power += speed(links[env, server, CLOCK])
    mean = STEP * power / (LOAD * USERS)
    position = positions[env]
    status[env, WAITING] += poisson(draws[env, position], 1.0, NONE)
    status[env, TASK] = 0.0
    if status[env, WAITING] > 0:
        status[env, WAITING] -= 1
        status[env, TASK] = min(max(mean * exponential(draws[env, position + 1]), SMALLEST), LARGEST)
    positions[env] = position + 2


@njit(cache=True, nogil=True)
def prospect(
    env: int,
    server: int,
    status: Array,
    links: Array,
    tasks: Array,
    servers: Array,
    tasks_scratch: Array,
    servers_scratch: Array,
) -> tuple[float, float]:
    """Return the reward of sending the waiting task to `server`."""
    size = status[env, TASK]
    clock = links[env, server, CLOCK]
    if size == 0.0:
        return 0.0, 0.0
    upload = size / links[env, server, RATE]
    energy = POWER * upload + ENERGY_FACTOR * CYCLES_PER_BIT * (clock * 1e9) ** 2 * size * 1e6
    without = remaining(tasks, servers, env, server, speed(clock), tasks_scratch, servers_scratch)
    if servers[env, server, COMING] == 0:
        after = remaining_with(tasks, servers, env, server, speed(clock), upload, size)
    else:
        send(tasks, servers, env, server, upload, size)
        after = remaining(tasks, servers, env, server, speed(clock), tasks_scratch, servers_scratch)
        servers[env, server, COMING] -= 1  # take it back
    return without - after, -energy


@njit(cache=True, nogil=True)
def observe(env: int, status: Array, links: Array, tasks: Array, servers: Array, observations: Array) -> None:
    """Write a row of channels per server: task, link, clock, number of tasks there, histogram of what is left."""
    edges = int(status[env, EDGES])
    for server in range(observations.shape[1]):
        absent = server > edges
        for channel in range(CHANNELS):
            observations[env, server, channel] = -1.0 if absent else 0.0
        if absent:
            continue
        running = int(servers[env, server, RUNNING])
        coming = int(servers[env, server, COMING])
        observations[env, server, 0] = status[env, TASK]
        observations[env, server, 1] = links[env, server, RATE] / 100.0
        observations[env, server, 2] = links[env, server, CLOCK]
        observations[env, server, 3] = running + coming
        observations[env, server, 4] = edges
        for task in range(running):
            left = tasks[env, server, TARGET, task] - servers[env, server, VIRTUAL]
            observations[env, server, HISTOGRAM + min(int(left), BINS - 1)] += 1.0
        for task in range(coming):
            observations[env, server, HISTOGRAM + min(int(tasks[env, server, SIZE, task]), BINS - 1)] += 1.0
        observations[env, server, HISTOGRAM + BINS] = 1.0
        observations[env, server, HISTOGRAM + BINS + 1] = 1.0 if status[env, TASK] > 0.0 else 0.0


@njit(cache=True, nogil=True)
def start(
    mask: Array,
    contexts: Contexts,
    state: State,
    draws: Array,
    positions: Array,
    observations: Array,
) -> None:
    """Draw context, distances and fading of an episode for the environments of `mask` [env]; the servers are empty."""
    status, links, tasks, servers = state
    for env in range(mask.size):
        if not mask[env]:
            continue
        position = positions[env]
        edges = contexts.fewest + int((contexts.most - contexts.fewest + 1) * draws[env, position])
        for server in range(links.shape[1]):
            clocks = contexts.cloud_clock if server == 0 else contexts.edge_clock
            distances = CLOUD_DISTANCE if server == 0 else EDGE_DISTANCE
            clock = between(clocks[0], clocks[1], draws[env, position + 3 * server + 1])
            distance = between(distances[0], distances[1], draws[env, position + 3 * server + 2])
            fading = max(exponential(draws[env, position + 3 * server + 3]), 1e-12)
            links[env, server, CLOCK] = 0.0 if server > edges else clock
            links[env, server, RATE] = link_rate(distance, fading, contexts.shannon, contexts.antenna_gain)
            for column in range(3):
                servers[env, server, column] = 0.0
        positions[env] = position + 3 * links.shape[1] + 1
        status[env, EDGES] = edges
        status[env, WAITING] = 0.0
        next_task(env, status, links, draws, positions)
        observe(env, status, links, tasks, servers, observations)


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    state: State,
    scratch: Scratch,
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
) -> None:
    """Place the task of every environment, let STEP seconds pass, take the next task."""
    status, links, tasks, servers = state
    tasks_scratch, servers_scratch = scratch
    for env in range(actions.size):
        server = actions[env]
        if server > status[env, EDGES]:
            server = 0  # the mask forbids it; the cloud is always there
        delay, energy = prospect(env, server, status, links, tasks, servers, tasks_scratch, servers_scratch)
        rewards[env, 0] = delay
        rewards[env, 1] = energy
        size = status[env, TASK]
        if size > 0.0:
            send(tasks, servers, env, server, size / links[env, server, RATE], size)
        for each in range(int(status[env, EDGES]) + 1):
            run(tasks, servers, env, each, speed(links[env, each, CLOCK]), STEP)
        next_task(env, status, links, draws, positions)
        observe(env, status, links, tasks, servers, observations)


@njit(cache=True, nogil=True)
def all_prospects(state: State, scratch: Scratch, rewards: Array) -> None:
    """Write what each action would pay to `rewards` [env, server, objective]; absent servers are left as they are."""
    status, links, tasks, servers = state
    tasks_scratch, servers_scratch = scratch
    for env in range(rewards.shape[0]):
        for server in range(int(status[env, EDGES]) + 1):
            delay, energy = prospect(env, server, status, links, tasks, servers, tasks_scratch, servers_scratch)
            rewards[env, server, 0] = delay
            rewards[env, server, 1] = energy


class MecOffloadingKernel(KernelVectorEnv):
    """The batch form of mec-offloading-v0.

    Args:
        num_envs: number of environments.
        max_episode_steps: time limit in steps of one second.
        edges: fewest and most edge servers, a `Span`; drawn anew each episode. GMORL trains on (1, 8).
        cloud_clock: lowest and highest clock of the cloud in GHz, a `Span`. GMORL trains on (3.5, 4.5).
        edge_clock: lowest and highest clock of the edge servers in GHz, a `Span`. GMORL trains on (1.75, 2.25).
        max_edges: edge servers that the observation has room for; None is the most of `edges`.
        rate_model: "legacy" (behind the published figures) or "shannon" (as printed in the paper).
        antenna_gain: gain in dB that "shannon" adds to the link budget; without it uploads take hours.
    """

    picture_size = (640, 400)

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = HORIZON,
        edges: Span = (6, 6),
        cloud_clock: Span = (4.0, 4.0),
        edge_clock: Span = (2.0, 2.0),
        max_edges: int | None = None,
        rate_model: str = "legacy",
        antenna_gain: float = 60.0,
    ) -> None:
        fewest, most = (int(number) for number in pair("edges", edges))
        room = most if max_edges is None else int(max_edges)
        if rate_model not in RATE_MODELS:
            raise ValueError(f"rate_model must be one of {', '.join(RATE_MODELS)}, got {rate_model!r}")
        if not 1 <= fewest <= most <= room <= 32:
            raise ValueError(f"edges must be (fewest, most) with 1 <= fewest <= most <= max_edges <= 32, got {edges!r}")
        clocks = {"cloud_clock": pair("cloud_clock", cloud_clock), "edge_clock": pair("edge_clock", edge_clock)}
        for name, (lowest, highest) in clocks.items():
            if not 0 < lowest <= highest:
                raise ValueError(f"{name} must be (lowest, highest) in GHz, both positive, got {(lowest, highest)!r}")
        servers = room + 1
        super().__init__(
            num_envs,
            observation_space=Box(-1.0, np.inf, (servers, CHANNELS), np.float32),
            action_space=Discrete(servers),
            reward_space=Box(-np.inf, 0.0, (2,), np.float32),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=3 * servers + 5, num_envs=num_envs),
        )
        self.contexts = Contexts(
            fewest=fewest,
            most=most,
            cloud_clock=clocks["cloud_clock"],
            edge_clock=clocks["edge_clock"],
            shannon=rate_model == "shannon",
            antenna_gain=float(antenna_gain),
        )
        self.scratch = Scratch(np.zeros((1, 1, 3, ROOM)), np.zeros((1, 1, 3)))
        self.arrays = {
            "status": np.zeros((num_envs, 3)),
            "links": np.zeros((num_envs, servers, 2)),
            "tasks": np.zeros((num_envs, servers, 3, ROOM)),
            "servers": np.zeros((num_envs, servers, 3)),
        }

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the cloud and the edge servers as rows: clock, link, the tasks that run and those on their way."""
        status = self.arrays["status"][0]
        links = self.arrays["links"][0]
        servers = self.arrays["servers"][0]
        rows = int(status[EDGES]) + 1
        height = min(44.0, 320.0 / rows)
        task = f"{status[TASK]:.1f} Mbit" if status[TASK] > 0 else "none"
        sheet.text((16, 22), f"task to place: {task}", "ink")
        sheet.text((220, 22), f"waiting: {int(status[WAITING])}", "ink")
        legend = "each square is a task: dark ones run, light ones are being uploaded; orange: chosen last"
        sheet.text((16, 48), legend, "faint", 12)
        for server in range(rows):
            top = 66.0 + height * server
            middle = top + height / 2
            chosen = action is not None and int(action) == server
            sheet.rectangle((12, top + 2), (628, top + height - 3), (255, 240, 228) if chosen else (247, 247, 247))
            name = "cloud" if server == 0 else f"edge {server}"
            sheet.text((20, middle), name, "orange" if chosen else "ink", 14)
            sheet.text((86, middle), f"{links[server, CLOCK]:.1f} GHz, {links[server, RATE]:.0f} Mbit/s", "faint", 12)
            running = int(servers[server, RUNNING])
            for place in range(min(running + int(servers[server, COMING]), 26)):
                left = 240 + 14.5 * place
                color = "blue" if place < running else (160, 205, 232)
                sheet.rectangle((left, middle - 6), (left + 11, middle + 6), color)

    @property
    def state(self) -> State:
        """The arrays as compiled loops take them."""
        return State(**self.arrays)

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        start(mask, self.contexts, self.state, self.streams.draws, self.streams.position, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        draws = self.streams.draws
        positions = self.streams.position
        advance(actions, self.state, self.scratch, draws, positions, observations, rewards)

    def _infos(self) -> dict[str, Array]:
        present = self.state.links[:, :, CLOCK] > 0.0
        return {"action_mask": present.astype(np.int8)}

    def prospects(self) -> Array:
        """Return the reward that each action would earn now [env, server, objective]; -inf for absent servers."""
        rewards = np.full(self.state.links.shape, -np.inf)
        all_prospects(self.state, self.scratch, rewards)
        return rewards


mec_offloading = single_form(MecOffloadingKernel)
"""The single form of mec-offloading-v0."""
