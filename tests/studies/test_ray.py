"""A study on a Ray cluster of two nodes on this machine: lost workers, nodes and drivers change no bit of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from outcomes import assert_same, outcome

from morl.experiment import checkpoint
from morl.studies.plan import Study, read_study
from morl.studies.ray_executor import ray_executor
from morl.studies.study import RunningStudy
from morl.studies.worker import perform

if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

from ray_nodes import NODE, ray_cluster, wait_until, workers_of_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.filterwarnings("ignore")]

STEPS = 800


def table() -> dict[str, Any]:
    run = {"evaluate_every": 400, "log_every": 200, "evaluation_divisions": 4, "evaluation_episodes": 1, "num_envs": 5}
    return {
        "name": "far",
        "total_steps": STEPS,
        "keep_checkpoints": True,
        "seeds": 2,
        "envs": ["toys:toy-walk-v0"],
        "agents": {"coins": {"agent": "toys:Coins"}},
        "run": {**run, "checkpoint_minutes": 1e-9},
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    planned = read_study(table(), tmp_path_factory.mktemp("undisturbed"))
    results = [perform(run.job()) for run in planned.runs]
    assert [one.ending for one in results] == ["done", "done"], results
    return [outcome(run.run_dir) for run in planned.runs]


@pytest.fixture
def cluster() -> Iterator[Any]:
    with ray_cluster(nodes=2) as made:
        yield made


def in_the_middle(run_dir: Path) -> bool:
    newest = checkpoint.newest(run_dir) if run_dir.is_dir() else None
    return newest is not None and 0 < int(newest.name[-12:]) < STEPS


def check(planned: Study, expected: list[dict[str, Any]], moment: str) -> None:
    for run, wanted in zip(planned.runs, expected, strict=True):
        assert_same(outcome(run.run_dir), wanted, moment)
        leftovers = [path.name for path in run.run_dir.parent.iterdir() if path.name.startswith(".")]
        assert leftovers == [], moment


@pytest.mark.parametrize("shared", [True, False])
def test_lost_workers_and_nodes_change_nothing(
    shared: bool, cluster: Any, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    planned = read_study(table(), tmp_path)
    study = RunningStudy(planned, ray_executor(cluster.address, shared=None if shared else False))
    wait_until(lambda: all(in_the_middle(run.run_dir) for run in planned.runs))
    victim = next(iter(workers_of_ray()))
    os.kill(victim, signal.SIGKILL)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    study.wait(progress=False)
    assert [one.ending for one in study.results] == ["done", "done"], study.results
    check(planned, expected, f"shared {shared}")


def test_a_driver_that_was_killed_goes_on(cluster: Any, expected: list[dict[str, Any]], tmp_path: Path) -> None:
    planned = read_study(table(), tmp_path)
    code = (
        "import json, sys; from morl.studies.plan import read_study;"
        "from morl.studies.ray_executor import ray_executor; from morl.studies.study import RunningStudy;"
        "RunningStudy(read_study(json.loads(sys.argv[1]), sys.argv[2]), ray_executor(sys.argv[3], shared=False)).wait()"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, json.dumps(table()), str(tmp_path), cluster.address])
    with driver:
        wait_until(lambda: all(in_the_middle(run.run_dir) for run in planned.runs))
        driver.kill()
    study = RunningStudy(planned, ray_executor(cluster.address, shared=False))
    study.wait(progress=False)
    check(planned, expected, "driver")


def test_a_study_that_is_stopped_is_saved(cluster: Any, tmp_path: Path) -> None:
    planned = read_study({**table(), "total_steps": 100 * STEPS}, tmp_path)
    study = RunningStudy(planned, ray_executor(cluster.address, workers=1, shared=False))
    wait_until(lambda: in_the_middle(planned.runs[0].run_dir))
    assert study.status().counts["running"] == 1
    study.stop()
    study.wait(progress=False)
    assert [one.ending for one in study.results] == ["stopped", "stopped"]
    assert int(checkpoint.newest(planned.runs[0].run_dir).name[-12:]) > 0  # type: ignore[union-attr]
    assert not planned.runs[1].run_dir.exists()
    assert not workers_of_ray()


def test_a_cluster_of_this_machine_is_started_and_ended(expected: list[dict[str, Any]], tmp_path: Path) -> None:
    code = (
        "import json, sys; from morl.studies.study import study;"
        "done = study(json.loads(sys.argv[1]), executor='ray', folder=sys.argv[2]).wait().status().counts['done'];"
        "import ray; print(done, ray.is_initialized())"
    )
    words = [sys.executable, "-c", code, json.dumps(table()), str(tmp_path)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert told == ["2", "False"]
    check(read_study(table(), tmp_path), expected, "local")


def test_runs_wait_for_a_node_that_comes_late(expected: list[dict[str, Any]], tmp_path: Path) -> None:
    planned = read_study(table(), tmp_path)
    with ray_cluster(nodes=0) as made:
        study = RunningStudy(planned, ray_executor(made.address, shared=False))
        time.sleep(2.0)
        assert study.status().counts == {"done": 0, "running": 0, "failed": 0, "waiting": 2}
        made.add_node(num_cpus=1, **NODE)
        study.wait(progress=False)
    assert [one.ending for one in study.results] == ["done", "done"], study.results
    check(planned, expected, "late")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_of_a_node_fails_its_run_alone(expected: list[dict[str, Any]], tmp_path: Path) -> None:
    """Temporary folders of one of two nodes lie on a small disk; the study goes on without that node later."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "small", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    planned = read_study(table(), tmp_path)
    try:
        with ray_cluster(nodes=1) as made:
            full = made.add_node(num_cpus=1, env_vars={"TMPDIR": str(disk)}, **NODE)
            study = RunningStudy(planned, ray_executor(made.address, shared=False)).wait(progress=False)
            assert sorted(one.ending for one in study.results) == ["done", "failed"], study.results
            (sentence,) = study.status().failures.values()
            assert "No space left on device" in sentence
            assert "\n" not in sentence
            made.remove_node(full)
            again = RunningStudy(planned, ray_executor(made.address, shared=False)).wait(progress=False)
            assert [one.ending for one in again.results] == ["done"], again.results
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    check(planned, expected, "full disk")
