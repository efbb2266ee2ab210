"""Lanes in worker processes: the trace of the synchronous backend, one clear error, and nobody left behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from slow_toys import Stroll

from morl.envs import StateNotCapturable, make_vec, register, specs
from morl.envs.backends.processes import WorkerFailed


@pytest.fixture
def build(monkeypatch):
    """Build process environments over two workers, and close them."""
    monkeypatch.setattr("morl.envs.backends.processes.usable_cores", lambda: 2)
    built = []

    def make(env, num_envs, **options):
        built.append(make_vec(env, num_envs, backend="processes", **options))
        return built[-1]

    yield make
    for envs in built:
        processes = list(envs.processes)
        envs.close()
        assert not any(process.is_alive() for process in processes)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) or (isinstance(one, np.ndarray) and one.dtype == object):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other) and getattr(one, "dtype", None) == getattr(other, "dtype", None)


@pytest.mark.parametrize(("env", "options"), [(Stroll, {"space": "dict"}), (Stroll, {}), ("breakable-bottles-v0", {})])
def test_the_trace_is_that_of_the_synchronous_backend(build, env, options):
    envs = build(env, 5, seed=3, **options)
    others = make_vec(env, 5, seed=3, backend="synchronous", **options)
    assert (envs.metadata["backend"], others.metadata["backend"]) == ("processes", "synchronous")
    assert [block.stop - block.start for block in envs.blocks] == [2, 3]
    assert envs.single_observation_space == others.single_observation_space
    assert same(envs.reset(), others.reset())
    envs.action_space.seed(0)
    ended, kept = 0, []
    for step in range(60):
        actions = envs.action_space.sample()
        if actions.dtype == np.float32 and step % 2:
            actions = actions.astype(np.float64)  # not rounded on the way
        one, other = envs.step(actions), others.step(actions)
        assert same(one, other)
        kept.append((one, other))
        ended += (one[2] | one[3]).sum()
        if step == 30:
            mask = np.array([False, False, True, False, True])
            options = {"reset_mask": mask, "from": "here"}
            assert same(envs.reset(seed=9, options=options), others.reset(seed=9, options=options))
            assert "reset_mask" in options
    assert ended
    assert all(same(one, other) for one, other in kept)  # what was returned did not change later


def test_states_go_back_and_forth_between_the_backends(build):
    envs, synchronous = build(Stroll, 3, seed=1), make_vec(Stroll, 3, backend="synchronous")
    envs.reset()
    actions = np.full((3, 2), 0.5, np.float32)
    for _ in range(7):
        envs.step(actions)
    synchronous.load_state_dict(envs.state_dict())
    third = build(Stroll, 3)
    third.load_state_dict(synchronous.state_dict())
    for _ in range(20):
        expected = envs.step(actions)
        assert same(synchronous.step(actions), expected)
        assert same(third.step(actions), expected)
    mask = {"reset_mask": np.array([True, False, False])}
    assert same(third.reset(options=mask), envs.reset(options=mask))
    with pytest.raises(ValueError, match="has 3 environments, and num_envs is 2"):
        build(Stroll, 2).load_state_dict(envs.state_dict())


def step_to(envs, count):
    envs.reset()
    for _ in range(count):
        envs.step(np.zeros((3, 2), np.float32))


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        (
            "raise",
            WorkerFailed,
            r"Stroll: it raised ZeroDivisionError\('the road ends'\) at step 3 of environment 2, seed 42",
        ),
        ("die", WorkerFailed, "Stroll: its process died with exit code 7 at step 3 of environment 2, seed 42"),
        ("nan", ValueError, "Stroll: the reward at step 3 of environment 2, seed 42 must be 2 finite numbers, got"),
    ],
)
def test_trouble_is_one_clear_error(build, trouble, error, message):
    envs = build(Stroll, 3, seed=40, trouble=trouble)
    processes = list(envs.processes)
    step_to(envs, 2)
    with pytest.raises(error, match=message) as caught:
        envs.step(np.zeros((3, 2), np.float32))
    assert not any(process.is_alive() for process in processes)
    if trouble == "raise":
        assert "slow_toys.py" in caught.value.__notes__[0]
    with pytest.raises(WorkerFailed, match="have been closed"):
        envs.reset()


def test_a_worker_killed_between_steps(build):
    envs = build(Stroll, 3, seed=40)
    step_to(envs, 2)
    os.kill(envs.processes[1].pid, signal.SIGKILL)
    with pytest.raises(
        WorkerFailed, match="Stroll: its process died with exit code -9 after step 2 of environment 1, seed 41"
    ):
        envs.step(np.zeros((3, 2), np.float32))


def test_workers_that_hang_are_killed_together(build, monkeypatch):
    monkeypatch.setattr("morl.envs.backends.processes.PATIENCE", 1.0)
    envs = build(Stroll, 2, seed=0, seconds=1000.0)
    envs.reset()
    processes = list(envs.processes)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            envs.step(np.zeros((2, 2), np.float32))
    finally:
        signal.signal(signal.SIGINT, outside)
    assert not any(process.is_alive() for process in processes)
    assert time.monotonic() - start < 10
    with pytest.raises(WorkerFailed, match="have been closed"):
        envs.reset()


def test_trouble_at_birth(build):
    with pytest.raises(WorkerFailed, match=r"Stroll cannot be built with .*: OSError: no licence.* while it was built"):
        build(Stroll, 2, trouble="birth")


def test_what_cannot_be_saved_does_no_harm(build):
    envs = build(Stroll, 2, seed=0, trouble="secret")
    envs.reset()
    with pytest.raises(StateNotCapturable, match=r"\.secret is a builtins\.list_iterator"):
        envs.state_dict()
    assert envs.step(np.zeros((2, 2), np.float32))[1].shape == (2, 2)


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="Stroll: its observations must be arrays of numbers"):
        make_vec(Stroll, 2, backend="processes", space="text")
    with pytest.raises(ValueError, match="one of synchronous, processes, got 'threads'"):
        make_vec(Stroll, 2, backend="threads")


def test_an_id_registered_here_is_known_there(build):
    if "test-stroll-v0" not in specs:
        register("test-stroll-v0", Stroll, objectives=("x", "y"), max_episode_steps=4)
    envs = build("test-stroll-v0", 2, seed=0)
    envs.reset()
    assert envs.objectives == ("x", "y")
    truncated = [envs.step(np.zeros((2, 2)))[3] for _ in range(4)]
    assert np.array(truncated).any()


def test_calls_reach_the_environments(build):
    envs = build(Stroll, 3, seed=0)
    envs.reset()
    assert envs.call("clock") == (0, 0, 0)
    assert len(envs.call("observe")) == 3


def test_workers_leave_control_c_to_the_parent(build):
    envs = build(Stroll, 2, seed=0)
    envs.reset()
    for number in (signal.SIGINT, signal.SIGTERM):
        for process in envs.processes:
            os.kill(process.pid, number)
        assert envs.step(np.zeros((2, 2), np.float32))[1].shape == (2, 2)


GROUP = """
import os, signal, sys
from multiprocessing.process import BaseProcess
from slow_toys import Stroll
from morl.envs import make_vec

if __name__ == "__main__":
    got = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: got.append(number))
    start = BaseProcess.start
    def started(process):  # while they are imported, before the first line of ours runs there
        start(process)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(0, number)
    BaseProcess.start = started
    envs = make_vec(Stroll, 2, seed=0, backend="processes")
    envs.reset()
    print(envs.step(envs.action_space.sample())[1].shape, sorted(set(got)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs process groups")
def test_workers_survive_signals_of_the_group_while_they_start(tmp_path):
    """And a program that forgets its environments ends at once, although workers do nothing at SIGTERM."""
    script = tmp_path / "script.py"
    script.write_text(GROUP)
    began = time.monotonic()
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, start_new_session=True)
    assert (run.returncode, run.stdout) == (0, "(2, 2) [2, 15]\n"), run.stderr
    assert time.monotonic() - began < 29


def test_a_forgotten_environment_takes_its_workers_along():
    envs = make_vec(Stroll, 2, backend="processes")
    processes = list(envs.processes)
    del envs
    gc.collect()
    assert not any(process.is_alive() for process in processes)


SCRIPT = """
import sys
from slow_toys import Stroll
from morl.envs import make_vec

if __name__ == "__main__":
    envs = make_vec(Stroll, 2, seed=0, backend="processes", seconds=float(sys.argv[1]))
    envs.reset()
    print(*(process.pid for process in envs.processes), flush=True)
    while True:
        envs.step(envs.action_space.sample())
"""


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("seconds", [0.001, 60], ids=["between steps", "in a step"])
def test_nobody_survives_a_killed_parent(tmp_path, seconds):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, script, str(seconds)], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    assert all(map(running, workers))
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(running, workers)):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.05)
