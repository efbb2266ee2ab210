"""Equal processor sharing on many servers, exactly: compiled functions over a row of tasks per server.

Each of n tasks on a server of `speed` Mbit/s runs at speed / n. A server's virtual time is the work that a task present
all along would have received; a task that joins at virtual time v with x Mbit leaves at v + x, so that nothing has to
be updated while it runs. Tasks on their way to the server join when they arrive.

`tasks`: [env, server, kind, task]; the kinds are TARGET (virtual time of departure of those that run, sorted, the next
to leave last), READY (seconds until arrival of those on their way) and SIZE (Mbit, likewise).
`servers`: [env, server, column]; the columns are VIRTUAL, RUNNING and COMING (numbers of tasks).
Two arrays rather than six in a named tuple: Numba counts references to each array it takes out of a tuple.
"""

import numpy as np
from numba import njit

from morl.envs.core.types import Array

TARGET, READY, SIZE = range(3)
VIRTUAL, RUNNING, COMING = range(3)


@njit(cache=True, nogil=True)
def send(tasks: Array, servers: Array, env: int, server: int, delay: float, size: float) -> None:
    """Send `size` Mbit, there in `delay` seconds."""
    last = int(servers[env, server, COMING])
    if servers[env, server, RUNNING] + last == tasks.shape[3]:
        raise ValueError("no server has room for more tasks: let the episode end earlier")
    tasks[env, server, READY, last] = delay
    tasks[env, server, SIZE, last] = size
    servers[env, server, COMING] = last + 1


@njit(cache=True, nogil=True)
def join(tasks: Array, servers: Array, env: int, server: int, which: int) -> None:
    """Let the task `which` of those on their way begin to run."""
    target = servers[env, server, VIRTUAL] + tasks[env, server, SIZE, which]
    place = int(servers[env, server, RUNNING])
    servers[env, server, RUNNING] = place + 1
    while place > 0 and tasks[env, server, TARGET, place - 1] < target:
        tasks[env, server, TARGET, place] = tasks[env, server, TARGET, place - 1]
        place -= 1
    tasks[env, server, TARGET, place] = target
    last = int(servers[env, server, COMING]) - 1
    tasks[env, server, READY, which] = tasks[env, server, READY, last]
    tasks[env, server, SIZE, which] = tasks[env, server, SIZE, last]
    servers[env, server, COMING] = last


@njit(cache=True, nogil=True)
def run(tasks: Array, servers: Array, env: int, server: int, speed: float, duration: float) -> float:
    """Return the time that all tasks together spend in the next `duration` seconds, and let these pass.

    With an infinite duration it is the sum of all remaining delays: the integral of the number of unfinished tasks.
    """
    running = int(servers[env, server, RUNNING])
    coming = int(servers[env, server, COMING])
    virtual = servers[env, server, VIRTUAL]
    left = duration
    spent = 0.0
    while left > 0.0 and running + coming > 0:
        phase = left
        first = -1
        for task in range(coming):
            if tasks[env, server, READY, task] <= phase:
                phase = tasks[env, server, READY, task]
                first = task
        next_to_leave = tasks[env, server, TARGET, running - 1] if running > 0 else np.inf
        departs = running > 0 and (next_to_leave - virtual) * running <= phase * speed
        if departs:
            phase = min(phase, (next_to_leave - virtual) * running / speed)
        spent += (running + coming) * phase
        left -= phase
        for task in range(coming):
            tasks[env, server, READY, task] -= phase
        if departs:
            virtual = next_to_leave
            running = running - 1
            continue
        virtual += phase * speed / max(running, 1)
        if first >= 0:
            servers[env, server, RUNNING] = running
            servers[env, server, VIRTUAL] = virtual
            join(tasks, servers, env, server, first)
            running = running + 1
            coming = coming - 1
    servers[env, server, RUNNING] = running
    servers[env, server, VIRTUAL] = virtual
    return spent


@njit(cache=True, nogil=True)
def remaining(
    tasks: Array, servers: Array, env: int, server: int, speed: float, scratch: Array, scratch_server: Array
) -> float:
    """Return the sum of the remaining delays of all tasks of a server, in seconds; both scratches hold one server."""
    running = int(servers[env, server, RUNNING])
    coming = int(servers[env, server, COMING])
    if coming == 0:
        return all_running(tasks, servers, env, server) / speed
    for column in range(3):
        scratch_server[0, 0, column] = servers[env, server, column]
    for task in range(running):
        scratch[0, 0, TARGET, task] = tasks[env, server, TARGET, task]
    for task in range(coming):
        scratch[0, 0, READY, task] = tasks[env, server, READY, task]
        scratch[0, 0, SIZE, task] = tasks[env, server, SIZE, task]
    return run(scratch, scratch_server, 0, 0, speed, np.inf)


@njit(cache=True, nogil=True)
def remaining_with(
    tasks: Array, servers: Array, env: int, server: int, speed: float, delay: float, size: float
) -> float:
    """Return what `remaining` would be after `send`, for a server to which nothing is on its way: closed form.

    The tasks run on for `delay` seconds while one more waits; then all run, the new one in its place among them.
    """
    running = int(servers[env, server, RUNNING])
    virtual = servers[env, server, VIRTUAL]
    left = delay
    spent = 0.0
    while running > 0 and (tasks[env, server, TARGET, running - 1] - virtual) * running <= left * speed:
        phase = min(left, (tasks[env, server, TARGET, running - 1] - virtual) * running / speed)
        spent += (running + 1) * phase
        left -= phase
        running, virtual = running - 1, tasks[env, server, TARGET, running - 1]
    spent += (running + 1) * left
    served = virtual + left * speed / max(running, 1)
    newcomer = served + size
    total = 0.0
    for together in range(running + 1, 0, -1):
        if running == 0 or newcomer <= tasks[env, server, TARGET, running - 1]:
            leaves = newcomer
            newcomer = np.inf
        else:
            running -= 1
            leaves = tasks[env, server, TARGET, running]
        total += together * together * (leaves - served)
        served = leaves
    return spent + total / speed


@njit(cache=True, nogil=True)
def all_running(tasks: Array, servers: Array, env: int, server: int) -> float:
    """Return the sum of the remaining delays of tasks that all run already, times the speed of the server.

    The closed form: while k tasks are left, each step of the sorted remaining sizes x lasts k * (x_i - x_(i-1)) / speed
    and counts for k tasks.
    """
    served = servers[env, server, VIRTUAL]
    total = 0.0
    for left in range(int(servers[env, server, RUNNING]), 0, -1):
        target = tasks[env, server, TARGET, left - 1]
        total += left * left * (target - served)
        served = target
    return total
