"""A tuning on Ray: the same trials, pruned at the same evaluations, as on one machine, whatever is killed meanwhile."""

import os
import signal
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from morl.experiment import checkpoint
from morl.studies.tuning import tune
from morl.studies.tuning_plan import read_tuning

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

from coin_tuning import STEPS, TRIALS, journal, shown, table  # noqa: E402
from optuna.trial import TrialState  # noqa: E402
from ray_nodes import NODE, ray_cluster, wait_until, workers_of_ray  # noqa: E402

from morl.studies.ray_tuning import make_trials  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    tuned = tune(table(), folder=folder, workers=1, tell=lambda line: None)
    assert (tuned.complete, tuned.pruned) == (4, 1)
    return shown(folder)


def trial_in_the_middle(folder: Path, first: int) -> int:
    """Return the number of a trial, of those from `first` on, that has a checkpoint and is not at its end; else 0."""
    for number in range(first, TRIALS):
        for run_dir in folder.glob(f"coins/trial-{number}/coins/*/seed-0"):
            newest = checkpoint.newest(run_dir)
            if newest is not None and 0 < int(newest.name[-12:]) < STEPS:
                return number
    return 0


def kill_a_worker(folder: Path) -> int:
    """Kill the process of Ray that trains a trial, and return the trial's number; 0 where none is in the middle."""
    trial = trial_in_the_middle(folder, 1)
    workers = workers_of_ray()
    if not trial or not workers:
        return 0
    os.kill(min(workers), signal.SIGKILL)
    return trial


@pytest.mark.parametrize("shared", [True, False])
def test_lost_workers_and_nodes_change_no_trial(
    shared: bool, expected: list[tuple[object, ...]], tmp_path: Path
) -> None:
    """One node has room for one trial: its worker is killed, then the node is lost, and another one comes late."""
    lines: list[str] = []
    with ray_cluster(nodes=1) as cluster:
        tuning = read_tuning(table(), tmp_path)
        words = (tuning, cluster.address, 1, lines.append, None if shared else False)
        made = threading.Thread(target=make_trials, args=words)
        made.start()
        trial = wait_until(lambda: kill_a_worker(tmp_path))
        wait_until(lambda: trial_in_the_middle(tmp_path, trial + 1))
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        cluster.add_node(num_cpus=1, **NODE)
        made.join()
    assert shown(tmp_path) == expected
    assert len(lines) == TRIALS
    assert not list(tmp_path.glob("**/checkpoints"))


def test_several_nodes_make_trials_at_once(tmp_path: Path) -> None:
    """The second trial begins while the first is trained; a tuning that is stopped is saved, and goes on."""
    lines: list[str] = []
    changes = {"total_steps": 10 * STEPS, "tune": {"trials": 2, "episodes": 1}}
    long = table(**changes)
    with ray_cluster(nodes=2) as cluster:
        before = os.environ.get("RAY_ADDRESS")
        os.environ["RAY_ADDRESS"] = cluster.address
        try:
            stopper = threading.Thread(target=_stop_when_both_run, args=(tmp_path,))
            stopper.start()
            with pytest.raises(KeyboardInterrupt, match="start it again"):
                tune(long, folder=tmp_path, executor="ray", tell=lines.append)
            stopper.join()
            assert not workers_of_ray()
        finally:
            os.environ.pop("RAY_ADDRESS") if before is None else os.environ.update(RAY_ADDRESS=before)
    assert lines == []
    assert [one.state for one in journal(tmp_path, **changes)] == [TrialState.RUNNING] * 2
    tuned = tune(long, folder=tmp_path, workers=1, tell=lines.append)
    assert tuned.complete == 2
    assert [line.split(":")[0] for line in lines] == ["trial 0", "trial 1"]


def _stop_when_both_run(folder: Path) -> None:
    wait_until(lambda: all(list(folder.glob(f"coins/trial-{number}/**/step-*")) for number in (0, 1)))
    os.kill(os.getpid(), signal.SIGINT)
