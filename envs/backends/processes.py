"""Environments in worker processes, for slow Python ones: shared memory out, plain errors back, no orphans.

Each worker runs a block of neighboring environments on the synchronous backend: the trace is the single environment's.
Observations, rewards and flags are written straight into shared memory; actions and infos travel through a pipe.
Workers start from a fresh interpreter (a fork server where the system has one): forking a process that runs threads, as
PyTorch does, can hang. Hence Python's usual rule: a script that starts them needs `if __name__ == "__main__":`.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from operator import itemgetter
from typing import Any, NoReturn, TypeAlias

import gymnasium
import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper, batch_space, create_empty_array

from morl.envs.backends.synchronous import SynchronousVectorEnv
from morl.envs.backends.worker import (
    GROUP_SIGNALS,
    Command,
    Failure,
    Infos,
    SharedArray,
    SharedBuffers,
    Tree,
    map_leaves,
    view,
    work,
)
from morl.envs.core.arguments import ActionCheck, env_seeds, require_reset, reset_mask
from morl.envs.core.contract import MultiObjectiveVectorEnv
from morl.envs.core.outcomes import InvalidOutcome
from morl.envs.core.registry import objective_names
from morl.envs.core.state import StateNotCapturable
from morl.envs.core.types import (
    ActionBatch,
    Array,
    BuildEnv,
    Info,
    ObservationBatch,
    Options,
    SavedState,
    Seed,
    VectorStep,
)
from morl.protocols import StateDict

Context: TypeAlias = ForkServerContext | SpawnContext
PATIENCE = 5.0
"""Seconds that `close` waits for the workers before it kills those that are left."""


class WorkerFailed(RuntimeError):
    """An environment raised, or its process died; the message names id, step, environment and seed."""


class ProcessVectorEnv(MultiObjectiveVectorEnv):
    """Slow environments, spread over as many processes as there are cores.

    Args:
        env_id: id, for messages and names of objectives.
        build: builds one environment; sent to the workers with cloudpickle.
        num_envs: number of environments.
    """

    def __init__(self, env_id: str, build: BuildEnv, num_envs: int) -> None:
        self.pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []
        # before multiprocessing ends daemons at exit by SIGTERM, which workers leave to the parent
        self._shut_down = util.Finalize(self, _shut_down, (self.pipes, self.processes), exitpriority=0)
        with closing(SynchronousVectorEnv(env_id, build, 1)) as probe:
            self.num_objectives = probe.num_objectives
            self.render_mode = probe.render_mode
            self.single_observation_space = probe.single_observation_space
            self.single_action_space = probe.single_action_space
            self.metadata = {**probe.metadata, "backend": "processes"}
        self.env_id = env_id
        self.num_envs = num_envs
        self.verify_states = True
        self.built = False
        self.was_reset = False
        self.check_actions = ActionCheck(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.objectives = objective_names(env_id, self.num_objectives)
        context = _context()
        empty = create_empty_array(self.single_observation_space, n=num_envs)
        _require_arrays(env_id, "action", create_empty_array(self.single_action_space, n=num_envs))
        _require_arrays(env_id, "observation", empty)
        buffers = SharedBuffers(
            observations=empty,
            rewards=np.zeros((num_envs, self.num_objectives)),
            terminated=np.zeros(num_envs, dtype=np.bool_),
            truncated=np.zeros(num_envs, dtype=np.bool_),
            progress=np.zeros((num_envs, 3), dtype=np.int64),
        )
        shared = map_leaves(buffers, lambda array: _share(context, array))
        self.buffers: SharedBuffers = map_leaves(shared, view)
        self.blocks = _blocks(num_envs, min(num_envs, usable_cores()))
        for block in self.blocks:
            pipe, other_end = context.Pipe()
            arguments = (other_end, shared, block, env_id, CloudpickleWrapper(build))
            process = context.Process(target=work, args=arguments, daemon=True)
            with _signals_held():
                process.start()
            self.pipes.append(pipe)
            self.processes.append(process)
            other_end.close()  # the worker alone holds it, so that its death is seen here
        self._answers()
        self.built = True

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments, or those of `options["reset_mask"]`; environment i gets seed + i.

        The first reset without a seed takes the constructor's.
        """
        mask = reset_mask(options, self.num_envs)
        seeds = env_seeds(self.first_seed if seed is None else seed, self.num_envs)
        require_reset(self.was_reset, mask)
        self.first_seed = None
        passed = None if options is None else {name: value for name, value in options.items() if name != "reset_mask"}
        infos = self._ask("reset", [(seeds[block], mask[block], passed) for block in self.blocks])
        self.was_reset = True
        return map_leaves(self.buffers.observations, np.copy), self._joined(infos)

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments with `actions` [env, ...]; those whose episode ends are reset within the same step."""
        if not self.was_reset:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        given = map_leaves(self.check_actions(actions), np.asarray)
        infos = self._ask("step", [map_leaves(given, itemgetter(block)) for block in self.blocks])
        return (
            map_leaves(self.buffers.observations, np.copy),
            self.buffers.rewards.copy(),
            self.buffers.terminated.copy(),
            self.buffers.truncated.copy(),
            self._joined(infos),
        )

    def call(self, name: str, *args: object, **kwargs: object) -> tuple[Any, ...]:
        """Return what the method `name` of each environment returns, or its attribute of that name."""
        return tuple(item for part in self._ask("call", [(name, args, kwargs)] * len(self.blocks)) for item in part)

    def render(self) -> tuple[Any, ...]:
        """Return a picture of each environment."""
        return self.call("render")

    def state_dict(self) -> SavedState:
        """Return the state of every environment as plain data, in the form of the synchronous backend.

        Raises:
            StateNotCapturable: an environment that holds something that cannot be saved, a Box2D world for example.
        """
        envs = [env for part in self._ask("state", [self.verify_states] * len(self.blocks)) for env in part]
        return {"first_seed": self.first_seed, "envs": envs}

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken, by this backend or the synchronous one."""
        if len(saved["envs"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(saved['envs'])} environments, and num_envs is {self.num_envs}")
        self._ask("load", [saved["envs"][block] for block in self.blocks])
        self.first_seed = saved["first_seed"]
        self.was_reset = True

    def close_extras(self, **kwargs: object) -> None:  # noqa: ARG002 - Gymnasium's signature
        """End the workers; one that is busy for too long is killed."""
        self._shut_down()

    def _ask(self, command: str, data: Sequence[Command]) -> list[Command]:
        """Send a command to every worker, with its part of the data, and return their answers."""
        if not self._shut_down.still_active():
            raise WorkerFailed(f"{self.env_id}: its processes have been closed")
        for pipe, part in zip(self.pipes, data, strict=True):
            try:
                pipe.send((command, part))
            except OSError:
                continue  # it died, as its missing answer shows
        return self._answers()

    def _answers(self) -> list[Command]:
        """Return the answer of every worker, or raise what went wrong in the first that failed."""
        try:
            answers = [self._answer(number) for number in range(len(self.pipes))]
        except BaseException:  # also Ctrl-C: some environments have stepped and some have not
            self._shut_down()
            raise
        for number, answer in enumerate(answers):
            if isinstance(answer, Failure):
                self._raise(number, answer)
        return answers

    def _answer(self, number: int) -> Command:
        try:
            return self.pipes[number].recv()
        except (EOFError, OSError):
            self.processes[number].join(PATIENCE)
            return Failure("", f"its process died with exit code {self.processes[number].exitcode}", "")

    def _raise(self, number: int, failure: Failure) -> NoReturn:
        if failure.kind == StateNotCapturable.__name__:  # nothing was harmed
            raise StateNotCapturable(failure.message)
        block = self.blocks[number]
        busy = np.flatnonzero(self.buffers.progress[block, 0])
        env = block.start + (int(busy[0]) if busy.size else 0)
        _, step, seed = self.buffers.progress[env]
        where = f"{'at' if busy.size else 'after'} step {step} of environment {env}"
        where += f", seed {seed}" if seed >= 0 else ""
        if not self.built:
            where = "while it was built (a script that starts processes needs `if __name__ == '__main__':`)"
        self._shut_down()
        if failure.kind == InvalidOutcome.__name__:
            raise InvalidOutcome(failure.message)
        error = WorkerFailed(f"{self.env_id}: {failure.message} {where}")
        if failure.trace:
            error.add_note(f"In the worker:\n{failure.trace}")
        raise error

    def _joined(self, parts: list[Infos]) -> Info:
        infos: Info = {}
        for part in parts:
            for env, info in part:
                infos = self._add_info(infos, info, env)
        return infos


def _context() -> Context:
    if not hasattr(os, "fork"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["morl.envs.backends.worker"]
    )  # imported once, not by every worker; no effect once it runs
    return context


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals of the process group in this thread; a process that starts holds them back too.

    So a worker, and the fork server, survive them before they can say that the parent decides what to do.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # lets both signals through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _share(context: Context, array: Array) -> SharedArray:
    return SharedArray(context.RawArray("B", max(1, array.nbytes)), array.dtype, array.shape)


def _require_arrays(env_id: str, what: str, batch: Tree) -> None:
    """Raise ValueError where a batch of observations or actions holds anything but arrays of numbers."""

    def check(leaf: Tree) -> None:
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biuf":
            raise ValueError(
                f"{env_id}: its {what}s must be arrays of numbers, or dicts and tuples of them, for processes; "
                "use the synchronous backend"
            )

    map_leaves(batch, check)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(num_envs: int, workers: int) -> list[slice]:
    """Return which environments each worker has."""
    edges = [num_envs * number // workers for number in range(workers + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _shut_down(pipes: list[Connection], processes: list[BaseProcess]) -> None:
    """End the workers, within `PATIENCE` seconds or by force."""
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
