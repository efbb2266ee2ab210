"""A few threads that work on one thing: what is whose, and where they wait for each other.

Compiled loops run without Python's lock. A team's members call the same function with the same arguments, but for their
number; each does its share of every part, and all `meet` where a part needs what the others did in the one before.
"""

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

ThreadTeam = tuple[int, int, NDArray[np.int64]]
"""Number of this member, number of members, how many meetings each member has come to (see `meetings`)."""

_LINE = 8  # int64 in a cache line: members write into lines of their own
_PATIENCE = 200  # looks at the clock of another member before the processor is offered to others
_YIELDS = sys.platform.startswith(("linux", "darwin"))


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def meetings(members: int) -> NDArray[np.int64]:
    """Return the counters for a team, all zero."""
    return np.zeros(members * _LINE, dtype=np.int64)


@intrinsic
def _announce(typing: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Write a counter so that whoever reads it also sees all that was written before."""

    def codegen(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store_atomic(arguments[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def _look(typing: Any, address: Any) -> Any:  # noqa: ARG001
    """Return a counter as another thread has announced it."""

    def codegen(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:  # noqa: ARG001
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.intp), codegen


@intrinsic
def _give_way(typing: Any) -> Any:  # noqa: ARG001
    """Offer the processor to other threads, where the system's library can."""

    def codegen(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:  # noqa: ARG001
        if _YIELDS:
            kind = ir.FunctionType(ir.IntType(32), [])
            function = cgutils.get_or_insert_function(builder.module, kind, "sched_yield")  # type: ignore[no-untyped-call]
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(cache=True, nogil=True)
def alone(team: ThreadTeam) -> ThreadTeam:
    """Return a team of one, for what a member does on its own."""
    return 0, 1, team[2]


@njit(cache=True, nogil=True)
def meet(team: ThreadTeam) -> None:
    """Wait until all members of the team have come here."""
    me, members, counters = team
    if members == 1:
        return
    first = counters.ctypes.data
    mine = first + 8 * _LINE * me
    meeting = _look(mine) + 1  # type: ignore[call-arg]
    _announce(mine, meeting)
    for other in range(members):
        looks = 0
        while _look(first + 8 * _LINE * other) < meeting:
            looks += 1
            if looks > _PATIENCE:
                _give_way()


@njit(cache=True, nogil=True)
def share(team: ThreadTeam, count: int, grain: int = 64) -> tuple[int, int]:
    """Return where this member's part of `count` things begins and ends: at multiples of `grain`, or at the end.

    A compiled loop over numbers takes many at once and the rest one by one, with other rounding. With the usual grain
    it is the same numbers that are taken one by one, however many share them. Where there is no such loop 1 will do.
    """
    me, members, _ = team
    start, stop = count * me // members // grain * grain, count * (me + 1) // members // grain * grain
    return start, count if me == members - 1 else stop


ALONE: ThreadTeam = (0, 1, meetings(1))
"""A team of one."""


class Workers:
    """Threads of this process that share out independent jobs, and where too few are left, team up on each.

    Args:
        most: of threads, the calling one included; at most as many as there are processors.
        largest_crew: how many can work on one job.
    """

    def __init__(self, most: int, largest_crew: int = 1) -> None:
        self.count, self.largest_crew = max(1, min(most, processors())), largest_crew
        self._others: ThreadPoolExecutor | None = None

    def each(self, count: int, job: Callable[[int, ThreadTeam], None]) -> None:
        """Call job(number, team) for all numbers below `count`, once for each member of the team."""
        rest = count % self.count  # so many do not go round
        members = max(1, min(self.largest_crew, self.count // max(1, rest)))
        crewed = rest if members > 1 else 0
        singles = deque(range(count - crewed))
        counters = [meetings(members) for _ in range(crewed)]

        def work(thread: int) -> None:
            with suppress(IndexError):
                while True:
                    job(singles.popleft(), ALONE)
            if thread < crewed * members:
                team, member = divmod(thread, members)
                job(count - crewed + team, (member, members, counters[team]))

        threads = min(self.count, len(singles) + crewed * members)
        if threads <= 1:
            work(0)
            return
        if self._others is None:
            self._others = ThreadPoolExecutor(self.count - 1, "morl")
        flushes = sys.float_info.min / 2 == 0.0  # numbers must not depend on who computes them

        def work_elsewhere(thread: int) -> None:
            torch.set_flush_denormal(flushes)
            work(thread)

        begun = [self._others.submit(work_elsewhere, thread) for thread in range(1, threads)]
        try:
            work(0)
        finally:
            wait(begun)  # even where the calling thread is interrupted
        for future in begun:
            future.result()
