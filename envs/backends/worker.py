"""What a worker process of `morl.envs.backends.processes` does, and the shared memory through which it is watched."""

import copy
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper
from numpy.typing import NDArray

from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.core.contract import RewardGuard, WrongReward
from morl.envs.core.state import StateNotCapturable


class Board(NamedTuple):
    """What the workers write and the parent reads, a row per lane."""

    observations: Any
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    progress: NDArray[np.int64]
    """[env, 3]: is the environment at work right now (0 or 1), its steps since it was seeded, its seed (-1: none)."""


class SharedArray(NamedTuple):
    """An array in shared memory, as it is sent to a worker."""

    memory: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Return nested dicts and tuples of the same form, with `function` applied to their leaves."""
    if isinstance(tree, dict):
        return {key: mapped(part, function) for key, part in tree.items()}
    if isinstance(tree, Board):
        return Board(*(mapped(part, function) for part in tree))
    if isinstance(tree, tuple) and not isinstance(tree, SharedArray):
        return tuple(mapped(part, function) for part in tree)
    return function(tree)


def view(shared: SharedArray) -> NDArray[Any]:
    """Return the array that lies in shared memory."""
    count = int(np.prod(shared.shape))
    return np.frombuffer(shared.memory, dtype=shared.dtype, count=count).reshape(shared.shape)


class Failure(NamedTuple):
    """An error on its way to the parent."""

    kind: str
    message: str
    trace: str


class WatchedLane(RewardGuard):
    """Notes on the board what it is about to do, so that the parent can tell where a process died."""

    progress: NDArray[np.int64]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, between two notes."""
        self._note(self.lane_seed if seed is None else seed, 0 if seed is not None else self.steps)
        result = super().reset(seed=seed, options=options)
        self.progress[0] = 0
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, between two notes."""
        self._note(self.lane_seed, self.steps + 1)
        result = super().step(action)
        self.progress[0] = 0
        return result

    def _note(self, seed: int | None, step: int) -> None:
        self.progress[:] = 1, step, -1 if seed is None else min(seed, np.iinfo(np.int64).max)


class Block(SynchronousVectorEnv):
    """The lanes of one worker: their observations go to the board, their infos are kept lane by lane."""

    guard = WatchedLane

    def __init__(self, env_id: str, build: Callable[[], gymnasium.Env[Any, Any]], lanes: slice, board: Board) -> None:
        super().__init__(env_id, build, lanes.stop - lanes.start, first_lane=lanes.start)
        self.lanes, self.copy = lanes, False
        self.rows: Board = mapped(board, itemgetter(lanes))
        self._observations = self.rows.observations
        for lane, progress in zip(self.envs, self.rows.progress, strict=True):
            lane.progress = progress  # type: ignore[attr-defined]
        self.kept: list[tuple[int, dict[str, Any]]] = []

    def _add_info(self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int) -> dict[str, Any]:
        if env_info:
            self.kept.append((self.lanes.start + env_num, copy.deepcopy(env_info)))
        return vector_infos

    def obey(self, command: str, data: Any) -> Any:
        """Do what the parent asks and return the answer."""
        self.kept = []
        if command == "step":
            _, *outcome, _ = self.step(data)
            for row, value in zip(self.rows[1:4], outcome, strict=True):
                row[...] = value
            return self.kept
        if command == "reset":
            seeds, mask, options = data
            if mask.any():
                self.reset(seed=seeds, options={**(options or {}), "reset_mask": mask} if not mask.all() else options)
            return self.kept
        if command == "call":
            name, arguments, keywords = data
            return self.call(name, *arguments, **keywords)
        if command == "state":
            return self.state_dict()["lanes"]
        return self.load_state_dict({"first_seed": None, "lanes": data})


def work(pipe: Connection, shared: Any, lanes: slice, env_id: str, build: CloudpickleWrapper) -> None:
    """Build the lanes and obey the parent until it says close, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    block, answer = None, None
    try:
        block = Block(env_id, build.fn, lanes, mapped(shared, view))
    except Exception as error:
        answer = _failure(error)
    pipe.send(answer)
    while block is not None:
        command, data = pipe.recv()
        if command == "close":
            block.close()
            return
        try:
            answer = block.obey(command, data)
        except Exception as error:
            answer = _failure(error)
        pipe.send(answer)


def _failure(error: Exception) -> Failure:
    message = str(error) if isinstance(error, WrongReward | StateNotCapturable) else f"it raised {error!r}"
    return Failure(type(error).__name__, message, traceback.format_exc())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
