"""A steel plant puts its jobs in order: scrap, waiting and the price of electricity (`lab/scheduling-v0`).

Each step runs one job on the one furnace. The objectives differ by seven orders of magnitude:

    scrap: -(share of the steel that the change from the last job's alloy to this one's spoils), some 0.01
    waiting: -(time at which the job is done) / (number of jobs) in h, some 10
    electricity: -(power of the job x price of each of its hours) in euro, some 100,000

so that an undiscounted return is minus the scrap, minus the mean completion time, minus the bill. The mask allows the
jobs that are open and whose predecessor is done. A forbidden job halts the plant: the episode ends and costs more, in
each objective, than any order of the jobs.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.envs.families.lab.convex_front import Points, distinct_front, steps_within

ALLOYS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
HOURS = np.array([2, 4, 1, 3, 2, 3, 1, 2])
POWER = np.array([35.0, 60.0, 20.0, 55.0, 30.0, 75.0, 15.0, 45.0])  # MW
PREDECESSORS = np.array([-1, -1, -1, 2, -1, 0, -1, 4])
"""The job that must be done before, -1 for none; lower than the job itself."""
SCRAP = np.array([[0.0, 0.003, 0.007], [0.004, 0.0, 0.002], [0.001, 0.005, 0.0]])
"""Spoilt share of the change from the alloy of the row to that of the column."""
PRICES = np.array([60, 45, 40, 70, 120, 170, 210, 180, 130, 95, 75, 60, 80, 140, 190, 150, 100, 70], dtype=np.float64)
"""Euro per MWh in each hour of the plan."""
HALT = np.array([-0.05, -20.0, -120_000.0])
"""Reward of a forbidden job; worse in each objective than any order of the jobs."""


class Jobs(NamedTuple):
    """The jobs."""

    alloys: Array
    """[job]"""
    hours: Array
    """[job] duration."""
    predecessors: Array
    """[job] what must be done before, or -1."""
    bills: Array
    """[job, hour] price in euro of starting the job in an hour."""


class State(NamedTuple):
    """Arrays of all environments."""

    done: Array
    """[env, job] 1 where a job is done."""
    clock: Array
    """[env, 3] hours so far, number of jobs done, last job (-1: none)."""
    allowed: Array
    """[env, job] 1 where a job may be run."""


@njit(cache=True, nogil=True)
def observe(env: int, state: State, jobs: Jobs, observations: Array) -> None:
    """Write mask and observation of an environment."""
    number = jobs.hours.size
    for job in range(number):
        before = jobs.predecessors[job]
        ready = before < 0 or state.done[env, before] == 1
        state.allowed[env, job] = state.done[env, job] == 0 and ready
        observations[env, job] = state.done[env, job]
    for alloy in range(3):
        observations[env, number + alloy] = 0.0
    if state.clock[env, 2] >= 0:
        observations[env, number + jobs.alloys[state.clock[env, 2]]] = 1.0
    observations[env, number + 3] = state.clock[env, 0]


@njit(cache=True, nogil=True)
def advance(actions: Array, state: State, jobs: Jobs, observations: Array, rewards: Array, terminated: Array) -> None:
    """Run a job in every plant."""
    number = jobs.hours.size
    for env in range(actions.size):
        job = actions[env]
        if state.allowed[env, job] == 0:
            for objective in range(3):
                rewards[env, objective] = HALT[objective]
            terminated[env] = True
            observe(env, state, jobs, observations)
            continue
        last = state.clock[env, 2]
        begin = state.clock[env, 0]
        if last >= 0:
            rewards[env, 0] = -SCRAP[jobs.alloys[last], jobs.alloys[job]]
        rewards[env, 1] = -(begin + jobs.hours[job]) / number
        rewards[env, 2] = -jobs.bills[job, begin]
        state.done[env, job] = 1
        state.clock[env, 0] += jobs.hours[job]
        state.clock[env, 1] += 1
        state.clock[env, 2] = job
        terminated[env] = state.clock[env, 1] == number
        observe(env, state, jobs, observations)


@njit(cache=True, nogil=True)
def start(mask: Array, state: State, jobs: Jobs, observations: Array) -> None:
    """Put the plants of `mask` [env] at hour 0 with all jobs open."""
    for env in range(mask.size):
        if mask[env]:
            for job in range(jobs.hours.size):
                state.done[env, job] = 0
            state.clock[env, 0] = 0
            state.clock[env, 1] = 0
            state.clock[env, 2] = -1
            observe(env, state, jobs, observations)


def first_jobs(number: int) -> Jobs:
    """Return the first jobs.

    Raises:
        ValueError: the number is not in 1 .. 8.
    """
    if not 1 <= number <= len(HOURS):
        raise ValueError(f"jobs must be in 1 .. {len(HOURS)}, got {number!r}")
    bills = np.full((number, len(PRICES)), np.inf)
    for job in range(number):
        for hour in range(len(PRICES) - HOURS[job] + 1):
            bills[job, hour] = POWER[job] * PRICES[hour : hour + HOURS[job]].sum()
    return Jobs(ALLOYS[:number], HOURS[:number], PREDECESSORS[:number], bills)


class SchedulingKernel(KernelVectorEnv):
    """The batch form of lab/scheduling-v0; `jobs` takes the first so many of 8.

    Observation: whether each job is done, the alloy of the last one (three flags), hours so far.
    """

    picture_size = (480, 320)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, jobs: int = 8) -> None:
        self.jobs = first_jobs(jobs)
        high = np.append(np.ones(jobs + 3, np.float32), np.float32(HOURS.sum()))
        super().__init__(
            num_envs,
            observation_space=Box(np.zeros(jobs + 4, np.float32), high),
            action_space=Discrete(jobs),
            reward_space=Box(HALT.astype(np.float32), np.zeros(3, np.float32)),
            max_episode_steps=max_episode_steps,
        )
        self.arrays = {
            "done": np.zeros((num_envs, jobs), dtype=np.int8),
            "clock": np.zeros((num_envs, 3), dtype=np.int64),
            "allowed": np.ones((num_envs, jobs), dtype=np.int8),
        }

    def _start(self, mask: Array, observations: Array) -> None:
        start(mask, State(**self.arrays), self.jobs, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, State(**self.arrays), self.jobs, observations, rewards, terminated)

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the jobs colored by alloy, those that are done filled, and the price of electricity with the hour."""
        jobs = self.jobs
        done = self.arrays["done"][0]
        left = 20.0
        unit = 440.0 / float(jobs.hours.sum())
        for job in range(len(jobs.hours)):
            color = ("blue", "orange", "green")[int(jobs.alloys[job])]
            right = left + unit * int(jobs.hours[job])
            last = action is not None and int(action) == job
            sheet.rectangle((left + 1, 40), (right - 1, 84), color if done[job] else "light", "ink" if last else color)
            sheet.text(((left + right) / 2, 98), f"{job}", "ink" if done[job] else "faint", 13, "middle")
            left = right
        sheet.text((20, 22), "jobs: width the hours, color the alloy, filled when done", "faint", 12)
        hours = len(PRICES)
        now = int(self.arrays["clock"][0, 0])
        for hour, price in enumerate(PRICES.tolist()):
            left = 20 + 440.0 * hour / hours
            top = 290 - 150 * price / PRICES.max()
            sheet.rectangle((left + 1, top), (left + 440.0 / hours - 1, 290), "orange" if hour < now else "light")
        sheet.text((20, 306), f"price of electricity; hour {now} of {hours}", "faint", 12)

    def _infos(self) -> dict[str, Array]:
        return {"action_mask": self.arrays["allowed"]}


@cache
def _front(number: int, discount: float, steps: int) -> Points:
    """Return the front by dynamic programming over sets of jobs that are done and the last of them.

    The hour is the sum of the durations in the set, so that what a job earns depends on set, last job and job alone,
    and only the non-dominated returns of each (set, last) can begin a non-dominated order.
    """
    jobs = first_jobs(number)
    fronts: dict[tuple[int, int], Points] = {(0, -1): np.zeros((1, 3))}
    for step in range(steps):
        longer: dict[tuple[int, int], list[Points]] = {}
        for (done, last), returns in fronts.items():
            hour = sum(int(jobs.hours[job]) for job in range(number) if done >> job & 1)
            for job in range(number):
                before = int(jobs.predecessors[job])
                if done >> job & 1 or (before >= 0 and not done >> before & 1):
                    continue
                scrap = 0.0 if last < 0 else SCRAP[jobs.alloys[last], jobs.alloys[job]]
                costs = np.array([scrap, (hour + jobs.hours[job]) / number, jobs.bills[job, hour]])
                longer.setdefault((done | 1 << job, job), []).append(returns - discount**step * costs)
        fronts = {key: distinct_front(np.concatenate(parts)) for key, parts in longer.items()}
    return distinct_front(np.concatenate(list(fronts.values())))


def front(discount: float, jobs: int = 8, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return the exact front [scrap, waiting, electricity].

    Args:
        discount: of returns.
        jobs: number of jobs.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(jobs, discount, steps_within(max_episode_steps, jobs)).copy()
