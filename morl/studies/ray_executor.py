"""A study on a Ray cluster: an `Executor` whose jobs are Ray tasks, each retried where its worker or node is lost.

A task that is retried resumes its run from the newest checkpoint: that in the run folder where the node sees it, else
that of the newest image on the driver's node (`morl.studies.ray_worker`), so that at most the time since it is lost.
Ray's own tools (dashboard, autoscaler, `ray status`) see one task for each run.
"""

import os
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morl.studies.executors import Answer, Ending, Job, JobResult

if TYPE_CHECKING:
    from ray import ObjectRef

MAX_RETRIES = 20
"""How often a run is begun again whose worker or node was lost."""
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0 in this variable, Ray keeps a cluster on one machine to the loopback address, as it does on macOS."""
AUTO = "auto"
"""The cluster that this machine belongs to, or else a new one on this machine alone."""
LOCAL = "local"
"""A new cluster on this machine alone."""


def check_address(address: str) -> None:
    """Check that a text may be the address of a cluster.

    Raises:
        ValueError: it is none.
    """
    if address.startswith("ray://"):
        raise ValueError(
            f"ray is {address!r}, but must be HOST:PORT of the head, on a machine that is one of its nodes"
        )
    if address not in (AUTO, LOCAL) and ":" not in address:
        raise ValueError(
            f"ray is {address!r:.100}, but must be {AUTO}, {LOCAL}, or HOST:PORT of a cluster's head, such as"
            " 10.0.0.5:6379"
        )


def ray_executor(
    address: str = AUTO,
    workers: int | None = None,
    shared: bool | None = None,
    cores: int = 1,
    answer: Answer | None = None,
) -> "RayExecutor":
    """Return an executor on a Ray cluster.

    Args:
        address: "auto", "local" for a new one, or HOST:PORT of the head; this machine is one of its nodes.
        workers: runs at once; default: as many as the cluster has room for.
        shared: whether all nodes see the study's folder under its path; default: each node finds out.
        cores: of each run.
        answer: answers reports of jobs that make them; `poll` calls it.

    Raises:
        ValueError: Ray is not installed, there is no such cluster, or `workers` is less than 1.
    """
    check_address(address)
    if find_spec("ray") is None:
        raise ValueError("this needs Ray, which is not installed: pip install 'morl-suite[ray]'")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}, but must be at least 1")
    return RayExecutor(address, workers, shared, cores, answer)


def connect(address: str) -> bool:
    """Connect this process to a cluster; return whether it was not before.

    Raises:
        ValueError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    alone = address == LOCAL or (address == AUTO and "ray" not in sys.modules and not belongs_to_cluster())
    if alone:
        os.environ.setdefault(LOOPBACK_ONLY, "0")
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if alone:
        ray.init(address="local", include_dashboard=False, **quiet)
        return True
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise ValueError(f"ray is {address!r}, but there is no cluster: {error}") from error
    return True


def belongs_to_cluster() -> bool:
    """Return whether this machine is a node of a cluster, as far as Ray has written that down here."""
    if os.environ.get("RAY_ADDRESS"):
        return True
    return Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", "ray_current_cluster").is_file()


class RayExecutor:
    """An `Executor` of tasks on a Ray cluster; arguments as for `ray_executor`."""

    def __init__(
        self, address: str, workers: int | None, shared: bool | None, cores: int = 1, answer: Answer | None = None
    ) -> None:
        self._connected = connect(address)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from morl.studies.ray_worker import Folders, train_on_node

        self._ray: Any = ray
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(Folders)
        self._folders = actor.options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
        ).remote()
        self._task: Any = ray.remote(train_on_node)
        self._limit = workers
        self._shared = shared
        self._token = uuid.uuid4().hex
        self._cores = cores
        self._answer = answer
        self._cpus = ray.cluster_resources().get("CPU", 1.0)
        self._running: frozenset[Path] = frozenset()
        self._waiting: deque[Job] = deque()
        self._tasks: dict[ObjectRef, Job] = {}
        self._ended: list[JobResult] = []
        self._cancelled = 0

    @property
    def workers(self) -> int:
        """Return how many runs are trained at once, by the resources that the cluster had at the last `poll`."""
        room = int(self._cpus) // self._cores
        return max(1, room if self._limit is None else min(room, self._limit))

    @property
    def running(self) -> frozenset[Path]:
        """Return the folders of the runs that have begun and not ended, as the last `poll` found them."""
        return self._running

    def submit(self, job: Job) -> None:
        """Take a job; Ray begins it when there is room, jobs in the order in which they were submitted."""
        self._waiting.append(job)

    def poll(self, timeout: float) -> Sequence[JobResult]:
        """Hand jobs to Ray, and return those that have ended; arguments as for `Executor.poll`."""
        self._hand_over()
        if self._tasks and not self._ended:
            ended, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=timeout)
            more, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
            for task in dict.fromkeys([*ended, *more]):
                self._ended.append(self._result(task, self._tasks.pop(task)))
            self._hand_over()
        if self._tasks:
            self._cpus = self._ray.cluster_resources().get("CPU", 1.0)
            begun = self._ray.get(self._folders.begun.remote())
            self._running = frozenset(Path(job.run_dir) for job in self._tasks.values() if job.run_dir in begun)
            self._answer_reports()
        else:
            self._running = frozenset()
        results = self._ended
        self._ended = []
        return results

    def cancel(self) -> None:
        """Stop all jobs, saved; the second call does not wait for those that are still saving."""
        self._cancelled += 1
        for job in self._waiting:
            self._ended.append(JobResult(run_dir=Path(job.run_dir), ending="stopped", began=False))
        self._waiting.clear()
        for task in self._tasks:
            self._ray.cancel(task, force=self._cancelled > 1)

    def close(self) -> None:
        """Leave the cluster; one that was started for this study ends."""
        self._running = frozenset()
        with suppress(Exception):
            self._ray.kill(self._folders)
        if self._connected:
            self._ray.shutdown()

    def _answer_reports(self) -> None:
        """Answer what runs have reported since the last call."""
        if self._answer is None:
            return
        for run_dir, report in self._ray.get(self._folders.asked.remote()):
            ends = self._answer(Path(run_dir), report)
            self._ray.get(self._folders.answer.remote(run_dir, report, ends))

    def _hand_over(self) -> None:
        """Give jobs to Ray, which begins them where there is room; all at once, so that an autoscaler sees them."""
        from morl.studies.ray_worker import recover, token_file

        while self._waiting and (self._limit is None or len(self._tasks) < self._limit):
            job = self._waiting.popleft()
            run_dir = Path(job.run_dir)
            try:
                run_dir.parent.mkdir(parents=True, exist_ok=True)
                recover(run_dir)
                token_file(run_dir).write_text(self._token)
            except OSError as error:  # the disk is full
                self._ended.append(JobResult(run_dir=run_dir, ending="failed", sentence=str(error)))
                continue
            options = {"num_cpus": job.cores, "max_retries": MAX_RETRIES, "name": "/".join(run_dir.parts[-3:])}
            task = self._task.options(**options).remote(job.to_json(), self._token, self._folders, self._shared)
            self._tasks[task] = job

    def _result(self, task: "ObjectRef", job: Job) -> JobResult:
        """Return how a task ended."""
        from morl.studies.ray_worker import token_file

        run_dir = Path(job.run_dir)
        token_file(run_dir).unlink(missing_ok=True)
        ending: Ending = "failed"
        try:
            told = self._ray.get(task)
        except self._ray.exceptions.TaskCancelledError:
            return JobResult(run_dir=run_dir, ending="stopped", began=run_dir in self._running)
        except self._ray.exceptions.RayError as error:
            if self._cancelled:
                return JobResult(run_dir=run_dir, ending="stopped")
            words = " ".join(str(error).split())[:1_000]
            return JobResult(run_dir=run_dir, ending=ending, sentence=f"Ray gave the run up: {words}")
        return JobResult.of_json(run_dir, told)
