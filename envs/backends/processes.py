"""Lanes in worker processes, for environments that are slow Python: shared memory out, plain errors back, no orphans.

Each worker runs a block of neighbouring lanes on the synchronous back end, so the trace is the single environment's.
Observations, rewards and flags are written straight into shared memory; actions and infos travel through a pipe.
Workers start from a fresh interpreter (a fork server where the system has one): forking a process that runs threads, as
PyTorch does, can hang. Hence Python's usual rule: a script that starts them needs `if __name__ == "__main__":`.
"""

import multiprocessing
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper, batch_space, create_empty_array
from numpy.typing import NDArray

from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.backends.worker import Board, Failure, SharedArray, mapped, view, work
from morl.envs.core.arguments import Actions, lane_seeds, require_begun, reset_mask
from morl.envs.core.contract import VectorEnvironment, WrongReward
from morl.envs.core.registry import objective_names
from morl.envs.core.state import StateNotCapturable

Build = Callable[[], gymnasium.Env[Any, Any]]
PATIENCE = 5.0
"""Seconds that `close` waits for the workers before it kills those that are left."""


class WorkerFailed(RuntimeError):
    """An environment raised, or its process died; the message names environment, step, lane and seed."""


class ProcessVectorEnv(VectorEnvironment):
    """`num_envs` lanes of slow environments, spread over as many processes as there are cores."""

    def __init__(self, env_id: str, build: Build, num_envs: int) -> None:
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        self._shut_down = weakref.finalize(self, _shut_down, self.pipes, self.processes)
        with closing(SynchronousVectorEnv(env_id, build, 1)) as probe:
            self.num_objectives, self.render_mode = probe.num_objectives, probe.render_mode
            self.single_observation_space = probe.single_observation_space
            self.single_action_space = probe.single_action_space
            self.metadata = {**probe.metadata, "backend": "processes"}
        self.env_id, self.num_envs, self.built, self.begun = env_id, num_envs, False, False
        self.checked = Actions(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.objectives = objective_names(env_id, self.num_objectives)
        context = _context()
        empty = create_empty_array(self.single_observation_space, n=num_envs)
        _require_arrays(env_id, "action", create_empty_array(self.single_action_space, n=num_envs))
        _require_arrays(env_id, "observation", empty)
        board = Board(
            observations=empty,
            rewards=np.zeros((num_envs, self.num_objectives)),
            terminated=np.zeros(num_envs, dtype=np.bool_),
            truncated=np.zeros(num_envs, dtype=np.bool_),
            progress=np.zeros((num_envs, 3), dtype=np.int64),
        )
        shared = mapped(board, lambda array: _share(context, array))
        self.board: Board = mapped(shared, view)
        self.blocks = _blocks(num_envs, min(num_envs, usable_cores()))
        for block in self.blocks:
            pipe, other_end = context.Pipe()
            arguments = (other_end, shared, block, env_id, CloudpickleWrapper(build))
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            self.pipes.append(pipe)
            self.processes.append(process)
            other_end.close()  # the worker alone holds it, so that its death is seen here
        self._answers()
        self.built = True

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start new episodes in all lanes, or in those of `options["reset_mask"]`; lane i gets seed + i.

        The first reset without a seed takes the constructor's.
        """
        mask = reset_mask(options, self.num_envs)
        seeds = lane_seeds(self.first_seed if seed is None else seed, self.num_envs)
        require_begun(self.begun, mask)
        self.first_seed = None
        passed = None if options is None else {name: value for name, value in options.items() if name != "reset_mask"}
        infos = self._ask("reset", [(seeds[block], mask[block], passed) for block in self.blocks])
        self.begun = True
        return mapped(self.board.observations, np.copy), self._joined(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all lanes with `actions` [env, ...]; ended lanes start anew within the same step."""
        if not self.begun:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        given = mapped(self.checked(actions), np.asarray)
        infos = self._ask("step", [mapped(given, itemgetter(block)) for block in self.blocks])
        return *mapped(tuple(self.board[:4]), np.copy), self._joined(infos)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return what the method `name` of each lane's environment returns, or its attribute of that name."""
        return tuple(item for part in self._ask("call", [(name, args, kwargs)] * len(self.blocks)) for item in part)

    def render(self) -> tuple[Any, ...]:
        """Return a picture of each lane."""
        return self.call("render")

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every lane as plain data, in the form of the synchronous back end.

        Raises:
            StateNotCapturable: an environment that holds something we cannot save, a Box2D world for example.
        """
        lanes = [lane for part in self._ask("state", [None] * len(self.blocks)) for lane in part]
        return {"first_seed": self.first_seed, "lanes": lanes}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken, by this back end or the synchronous one."""
        if len(saved["lanes"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(saved['lanes'])} lanes, this environment {self.num_envs}")
        self._ask("load", [saved["lanes"][block] for block in self.blocks])
        self.first_seed, self.begun = saved["first_seed"], True

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ARG002 - Gymnasium's signature
        """End the workers; one that is busy for too long is killed."""
        self._shut_down()

    def _ask(self, command: str, data: Sequence[Any]) -> list[Any]:
        if not self._shut_down.alive:
            raise WorkerFailed(f"{self.env_id}: its processes have been closed")
        for pipe, part in zip(self.pipes, data, strict=True):
            try:
                pipe.send((command, part))
            except OSError:
                continue  # it died; its answer will tell
        return self._answers()

    def _answers(self) -> list[Any]:
        """Return the answer of every worker, or raise what went wrong in the first that failed."""
        try:
            answers = [self._answer(number) for number in range(len(self.pipes))]
        except BaseException:  # also Ctrl-C: lanes that have stepped and lanes that have not do not go together
            self._shut_down()
            raise
        for number, answer in enumerate(answers):
            if isinstance(answer, Failure):
                self._raise(number, answer)
        return answers

    def _answer(self, number: int) -> Any:
        try:
            return self.pipes[number].recv()
        except (EOFError, OSError):
            self.processes[number].join(PATIENCE)
            return Failure("", f"its process died with exit code {self.processes[number].exitcode}", "")

    def _raise(self, number: int, failure: Failure) -> NoReturn:
        if failure.kind == StateNotCapturable.__name__:  # nothing was harmed
            raise StateNotCapturable(failure.message)
        block = self.blocks[number]
        busy = np.flatnonzero(self.board.progress[block, 0])
        lane = block.start + (int(busy[0]) if busy.size else 0)
        _, step, seed = self.board.progress[lane]
        where = f"{'at' if busy.size else 'after'} step {step} of lane {lane}" + (f", seed {seed}" if seed >= 0 else "")
        if not self.built:
            where = "while it was built (a script that starts processes needs `if __name__ == '__main__':`)"
        self._shut_down()
        if failure.kind == WrongReward.__name__:
            raise WrongReward(failure.message)
        error = WorkerFailed(f"{self.env_id}: {failure.message} {where}")
        if failure.trace:
            error.add_note(f"In the worker:\n{failure.trace}")
        raise error

    def _joined(self, parts: list[list[tuple[int, dict[str, Any]]]]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for part in parts:
            for lane, info in part:
                infos = self._add_info(infos, info, lane)
        return infos


def _context() -> Any:
    if not hasattr(os, "fork"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["morl.envs.backends.worker"]
    )  # imported once, not by every worker; no effect once it runs
    return context


def _share(context: Any, array: NDArray[Any]) -> SharedArray:
    return SharedArray(context.RawArray("B", max(1, array.nbytes)), array.dtype, array.shape)


def _require_arrays(env_id: str, what: str, batch: Any) -> None:
    def check(leaf: Any) -> None:
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biuf":
            raise ValueError(
                f"{env_id}: its {what}s must be arrays of numbers, or dicts and tuples of them, for processes; "
                "use the synchronous back end"
            )

    mapped(batch, check)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(lanes: int, workers: int) -> list[slice]:
    edges = [lanes * number // workers for number in range(workers + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _shut_down(pipes: list[Connection], processes: list[Any]) -> None:
    for pipe in pipes:
        try:
            pipe.send(("close", None))
        except OSError:
            continue  # already dead
    end = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    for pipe in pipes:
        pipe.close()
