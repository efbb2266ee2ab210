"""Thread teams: work partitioning and barriers for nogil kernels.

Compiled loops run without Python's lock. The members of a team call the same function with the same arguments, except
for their number; each computes its partition of every part, and a `barrier` stands where a part needs the results that
other members computed in the part before.
"""

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from morl.learning.backends.numba.llvm_types import Context, Intrinsic, NumbaType, Signature, Value
from morl.protocols import IndexArray

_CACHE_LINE = 8  # int64 in a cache line: every member writes to a line of its own
_MAX_SPINS = 200  # reads of another member's counter before the processor is yielded to other threads
_HAS_SCHED_YIELD = sys.platform.startswith(("linux", "darwin"))

_POINTER = ir.PointerType()
_INT64 = ir.IntType(64)


class ThreadTeam(NamedTuple):
    """One member of a team of threads.

    Attributes:
        member: number of this member, from 0.
        size: number of members.
        counters: barriers that each member has reached, see `barrier_counters`.
    """

    member: int
    size: int
    counters: IndexArray


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def barrier_counters(size: int) -> IndexArray:
    """Return the counters of a team of `size` members, all zero, each in a cache line of its own."""
    return np.zeros(size * _CACHE_LINE, dtype=np.int64)


@intrinsic
def _store_release(typing: Context, address: NumbaType, value: NumbaType) -> Intrinsic:  # noqa: ARG001
    """Write a counter; a thread that reads it with `_load_acquire` also sees everything written before."""

    def codegen(context: Context, builder: ir.IRBuilder, _: Signature, arguments: list[Value]) -> Value:
        # An exchange, because llvmlite's atomic store still demands a typed pointer.
        builder.atomic_rmw("xchg", builder.inttoptr(arguments[0], _POINTER), arguments[1], "release")
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def _load_acquire(typing: Context, address: NumbaType) -> Intrinsic:  # noqa: ARG001
    """Return a counter that another thread has written with `_store_release`."""

    def codegen(context: Context, builder: ir.IRBuilder, _: Signature, arguments: list[Value]) -> Value:  # noqa: ARG001
        pointer = builder.inttoptr(arguments[0], _POINTER)
        return builder.load_atomic(pointer, "acquire", 8, typ=_INT64)

    return types.int64(types.intp), codegen


@intrinsic
def _sched_yield(typing: Context) -> Intrinsic:  # noqa: ARG001
    """Yield the processor to other threads, where the system's library can."""

    def codegen(context: Context, builder: ir.IRBuilder, _: Signature, arguments: list[Value]) -> Value:  # noqa: ARG001
        if _HAS_SCHED_YIELD:
            kind = ir.FunctionType(ir.IntType(32), [])
            function = cgutils.get_or_insert_function(builder.module, kind, "sched_yield")  # type: ignore[no-untyped-call]
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(cache=True, nogil=True)
def alone(team: ThreadTeam) -> ThreadTeam:
    """Return a team of one, for the work that a member does on its own."""
    return ThreadTeam(0, 1, team.counters)


@njit(cache=True, nogil=True)
def barrier(team: ThreadTeam) -> None:
    """Wait until all members of the team have reached this barrier."""
    if team.size == 1:
        return
    first = team.counters.ctypes.data
    own = first + 8 * _CACHE_LINE * team.member
    reached = _load_acquire(own) + 1  # type: ignore[call-arg]
    _store_release(own, reached)
    for other in range(team.size):
        spins = 0
        while _load_acquire(first + 8 * _CACHE_LINE * other) < reached:
            spins += 1
            if spins > _MAX_SPINS:
                _sched_yield()


@njit(cache=True, nogil=True)
def partition(team: ThreadTeam, count: int, grain: int = 64) -> tuple[int, int]:
    """Return where this member's part of `count` things starts and stops: at multiples of `grain`, or at the end.

    A vectorized loop computes many numbers at once and the rest one by one, with other rounding. With the usual grain
    it is the same numbers that are computed one by one, however many members there are.

    Args:
        team: who partitions.
        count: number of things.
        grain: 1 where the things are not computed by a vectorized loop over them.
    """
    start = count * team.member // team.size // grain * grain
    stop = count * (team.member + 1) // team.size // grain * grain
    return start, count if team.member == team.size - 1 else stop


ALONE = ThreadTeam(0, 1, barrier_counters(1))
"""A team of one."""


class Workers:
    """Threads of this process that run independent jobs; where fewer jobs than threads are left, teams share each job.

    Args:
        max_threads: the calling one included; at most as many as there are processors.
        max_team_size: members that can work on one job.
    """

    def __init__(self, max_threads: int, max_team_size: int = 1) -> None:
        self.count = max(1, min(max_threads, processors()))
        self.max_team_size = max_team_size
        self._pool: ThreadPoolExecutor | None = None

    def each(self, count: int, job: Callable[[int, ThreadTeam], None]) -> None:
        """Call job(number, team) for all numbers below `count`, once for each member of the team."""
        remainder = count % self.count
        team_size = max(1, min(self.max_team_size, self.count // max(1, remainder)))
        teams = remainder if team_size > 1 else 0
        singles = deque(range(count - teams))
        counters = [barrier_counters(team_size) for _ in range(teams)]

        def work(thread: int) -> None:
            while True:
                try:
                    number = singles.popleft()
                except IndexError:  # another thread took the last one
                    break
                job(number, ALONE)
            if thread < teams * team_size:
                team, member = divmod(thread, team_size)
                job(count - teams + team, ThreadTeam(member, team_size, counters[team]))

        threads = min(self.count, len(singles) + teams * team_size)
        if threads <= 1:
            work(0)
        else:
            self._run(work, threads)

    def _run(self, work: Callable[[int], None], threads: int) -> None:
        """Call work(thread) in this thread and in others at once."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, "morl")
        flushes = sys.float_info.min / 2 == 0.0  # results must not depend on the thread that computes them

        def work_elsewhere(thread: int) -> None:
            torch.set_flush_denormal(flushes)
            work(thread)

        running = [self._pool.submit(work_elsewhere, thread) for thread in range(1, threads)]
        try:
            work(0)
        finally:
            wait(running)  # even where the calling thread is interrupted
        for future in running:
            future.result()
