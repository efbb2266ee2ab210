"""An executor of studies without processes of its own. On the path through conftest.py."""

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from morl.studies.executors import Job, JobResult
from morl.studies.worker import perform


class InProcess:
    """An executor that trains one job after the other in the thread that polls."""

    workers = 1

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.order: list[str] = []
        self.closed = False
        self.running: frozenset[Path] = frozenset()

    def submit(self, job: Job) -> None:
        self.waiting.append(Job.of_json(json.loads(json.dumps(job.to_json()))))

    def poll(self, timeout: float) -> Sequence[JobResult]:
        if not self.waiting:
            return []
        job = self.waiting.popleft()
        self.order.append(job.run_dir)
        self.running = frozenset([Path(job.run_dir)])
        result = perform(job)
        self.running = frozenset()
        return [result]

    def cancel(self) -> None:
        self.waiting.clear()

    def close(self) -> None:
        self.closed = True
