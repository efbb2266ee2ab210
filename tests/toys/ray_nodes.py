"""A Ray cluster of several nodes on this machine, on the loopback address. On the path through conftest.py."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from morl.studies.ray_executor import LOOPBACK_ONLY

RAY_FOLDER = tempfile.mkdtemp(prefix="ray-")  # the path of a socket has room for 107 characters
atexit.register(shutil.rmtree, RAY_FOLDER, ignore_errors=True)
os.environ.update({LOOPBACK_ONLY: "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": RAY_FOLDER})
os.environ.update({"RAY_worker_niceness": "0"})  # Ray adds 15, so that a busy machine starves its workers
os.environ["RAY_AUTH_MODE"] = "disabled"  # a token would be written into the home folder
import ray  # type: ignore[import-not-found, unused-ignore]  # noqa: E402
from ray.cluster_utils import Cluster  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000}
RAN_OUT = 600
"""Seconds after which a test gives up waiting."""
Found = TypeVar("Found")


@contextmanager
def ray_cluster(nodes: int) -> Iterator[Any]:
    """Start a head without room for runs, and nodes with room for one each; end whatever is left of them."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=1, **NODE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        wait_until(lambda: not processes(RAY_FOLDER))
        shutil.rmtree(RAY_FOLDER, ignore_errors=True)
        os.makedirs(RAY_FOLDER, exist_ok=True)


def wait_until(condition: Callable[[], Found]) -> Found:
    """Return what a condition returns as soon as it holds."""
    begin = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - begin < RAN_OUT
        time.sleep(0.05)
    return found


def processes(words: str) -> dict[int, int]:
    """Return the processes whose command line has some words: id -> id of the parent."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines() if words in line]
    return {int(row[0]): int(row[1]) for row in rows}


def workers_of_ray() -> set[int]:
    """Return the processes of Ray that train runs of this test."""
    return {
        parent
        for parent in processes(f"{sys.executable} -P -m morl.studies.worker").values()
        if parent in processes("ray::") and is_ours(parent)
    }


def is_ours(process: int) -> bool:
    """Return whether a process belongs to a cluster of this test, as far as the system tells."""
    if not Path("/proc/self/environ").exists():
        return True
    try:
        return RAY_FOLDER.encode() in Path(f"/proc/{process}/environ").read_bytes()
    except OSError:  # it has ended
        return False
