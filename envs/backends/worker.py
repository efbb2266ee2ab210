"""Worker processes of `morl.envs.backends.processes`: their main loop, and the memory shared with the parent."""

import copy
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from operator import itemgetter
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper
from numpy.typing import NDArray

from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.core.contract import OutcomeGuard
from morl.envs.core.outcomes import InvalidOutcome
from morl.envs.core.quiet import SILENT_PYGAME
from morl.envs.core.state import StateNotCapturable
from morl.envs.core.types import Action, Array, BuildEnv, Info, Observation, ObservationBatch, Options, Step

Tree: TypeAlias = Any
"""An array, a `SharedArray`, or nested dicts and tuples of them."""
Command: TypeAlias = Any
"""Data of a command to a worker, or its answer: anything that can be pickled."""
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Sent to all processes of a group, by a terminal or a service manager."""
SECONDS_TO_STOP = 30.0
"""From SIGTERM to the end of a worker that its parent has forgotten."""
Infos: TypeAlias = list[tuple[int, Info]]
"""Indices of environments, and their infos."""


class SharedBuffers(NamedTuple):
    """Arrays that the workers write and the parent reads, a row for each environment."""

    observations: ObservationBatch
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    progress: NDArray[np.int64]
    """[env, 3]: whether it is stepping now (0 or 1), its steps since it was seeded, its seed (-1: none)."""


class SharedArray(NamedTuple):
    """An array in shared memory, as it is sent to a worker."""

    memory: Any
    """A buffer of `multiprocessing`."""
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def map_leaves(tree: Tree, function: Callable[[Tree], Tree]) -> Tree:
    """Return nested dicts and tuples of the same form, with `function` applied to their leaves."""
    if isinstance(tree, dict):
        return {key: map_leaves(part, function) for key, part in tree.items()}
    if isinstance(tree, SharedBuffers):
        return SharedBuffers._make(map_leaves(part, function) for part in tree)
    if isinstance(tree, tuple) and not isinstance(tree, SharedArray):
        return tuple(map_leaves(part, function) for part in tree)
    return function(tree)


def view(shared: SharedArray) -> Array:
    """Return the array in shared memory."""
    count = int(np.prod(shared.shape))
    return np.frombuffer(shared.memory, dtype=shared.dtype, count=count).reshape(shared.shape)


class Failure(NamedTuple):
    """An error on its way to the parent."""

    kind: str
    message: str
    trace: str


class WatchedEnv(OutcomeGuard):
    """Writes what it is about to do into shared memory, so that the parent can name the step where a process died."""

    progress: NDArray[np.int64]

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Reset, with its progress noted before and after."""
        self._note(self.last_seed if seed is None else seed, 0 if seed is not None else self.steps)
        result = super().reset(seed=seed, options=options)
        self.progress[0] = 0
        return result

    def step(self, action: Action) -> Step:
        """Step, with its progress noted before and after."""
        self._note(self.last_seed, self.steps + 1)
        result = super().step(action)
        self.progress[0] = 0
        return result

    def _note(self, seed: int | None, step: int) -> None:
        self.progress[0] = 1
        self.progress[1] = step
        self.progress[2] = -1 if seed is None else min(seed, np.iinfo(np.int64).max)


class WorkerEnvs(SynchronousVectorEnv):
    """The environments of one worker: observations are written to shared memory, infos are kept one by one.

    Args:
        env_id: id, for messages.
        build: builds one environment.
        rows: which of all environments these are.
        buffers: shared arrays of all environments.
    """

    guard = WatchedEnv

    def __init__(self, env_id: str, build: BuildEnv, rows: slice, buffers: SharedBuffers) -> None:
        super().__init__(env_id, build, rows.stop - rows.start, first_index=rows.start)
        self.first = rows.start
        self.copy = False
        self.buffers: SharedBuffers = map_leaves(buffers, itemgetter(rows))
        self._observations = self.buffers.observations
        for env, progress in zip(self.envs, self.buffers.progress, strict=True):
            env.progress = progress  # type: ignore[attr-defined]
        self.infos: Infos = []

    def _add_info(self, vector_infos: Info, env_info: Info, env_num: int) -> Info:
        if env_info:
            self.infos.append((self.first + env_num, copy.deepcopy(env_info)))
        return vector_infos

    def execute(self, command: str, data: Command) -> Command:
        """Execute a command of the parent and return the answer."""
        self.infos = []
        if command == "step":
            _, rewards, terminated, truncated, _ = self.step(data)
            self.buffers.rewards[...] = rewards
            self.buffers.terminated[...] = terminated
            self.buffers.truncated[...] = truncated
            return self.infos
        if command == "reset":
            seeds, mask, options = data
            if mask.any():
                self.reset(seed=seeds, options={**(options or {}), "reset_mask": mask} if not mask.all() else options)
            return self.infos
        if command == "call":
            name, arguments, keywords = data
            return self.call(name, *arguments, **keywords)
        if command == "state":
            self.verify_states = data
            return self.state_dict()["envs"]
        return self.load_state_dict({"first_seed": None, "envs": data})


def work(pipe: Connection, shared: Tree, rows: slice, env_id: str, build: CloudpickleWrapper) -> None:
    """Build the environments of a worker and execute commands until the parent sends "close", or dies."""
    _leave_signals_to_parent()
    os.environ.update({**SILENT_PYGAME, **os.environ})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    envs: WorkerEnvs | None = None
    answer: Command = None
    try:
        envs = WorkerEnvs(env_id, build.fn, rows, map_leaves(shared, view))
    except Exception as error:
        answer = _failure(error)
    pipe.send(answer)
    while envs is not None:
        command, data = pipe.recv()
        if command == "close":
            envs.close()
            return
        try:
            answer = envs.execute(command, data)
        except Exception as error:
            answer = _failure(error)
        pipe.send(answer)


def _leave_signals_to_parent() -> None:
    """Do nothing at signals that reach the whole process group: the parent decides what to do.

    A program that an environment starts ignores Ctrl-C as well, and ends at SIGTERM as usual, because handlers are not
    inherited.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)


def _end_later(number: int, frame: FrameType | None) -> None:
    """Give the parent time to stop, and to end this process."""
    del number, frame
    timer = threading.Timer(SECONDS_TO_STOP, os._exit, [1])
    timer.daemon = True
    timer.start()


def _failure(error: Exception) -> Failure:
    message = str(error) if isinstance(error, InvalidOutcome | StateNotCapturable) else f"it raised {error!r}"
    return Failure(type(error).__name__, message, traceback.format_exc())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
