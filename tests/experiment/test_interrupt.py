"""Ctrl-C, SIGTERM and SIGKILL on `morl train` as a process of its own: nothing that was saved is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toys

import morl
from morl.experiment import checkpoint
from morl.experiment.interrupt import stop_on_signals

pytestmark = pytest.mark.usefixtures("without_figures")

TOTAL = 1_000_000  # far more than there is time for


def start(run: Path, *flags: str) -> "subprocess.Popen[str]":
    program = [str(Path(sys.executable).with_name("morl")), "train", "pd-morl", "toys:toy-walk-v0"]
    settings = {**toys.SCHEDULE, "total_steps": TOTAL, "evaluate_every": TOTAL}
    for name, value in settings.items():
        program += [f"--{name.replace('_', '-')}", str(value)]
    for name, value in toys.TINY.items():
        program += [f"--agent.{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    program += ["--run-dir", str(run), *flags]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    begin = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - begin < 120
        time.sleep(0.02)


def logged(run: Path, number: int) -> bool:
    file = run / "metrics.jsonl"
    return file.is_file() and len(file.read_text().splitlines()) >= number


def assert_resumes_exactly(run: Path, whole: Path) -> None:
    """Resume the run a little and compare it with one that never stopped."""
    steps = int(str(checkpoint.newest(run))[-12:])
    morl.resume(run, steps + 200)
    resumed = toys.front(run)
    assert resumed["training_steps"] == steps + 200
    toys.train(whole, "toy-walk-v0", steps + 200, evaluate_every=TOTAL)
    assert toys.difference(*(toys.states(folder, "agent", "environment") for folder in (run, whole))) == ""
    kept = ("points", "preferences", "policy_ids", "indicators", "reference_point", "updates")
    expected = toys.front(whole)
    assert {key: resumed[key] for key in kept} == {key: expected[key] for key in kept}
    logs = [toys.lines(folder / "metrics.jsonl", "evaluation_steps") for folder in (run, whole)]
    assert [line for line in logs[0] if "loss" in line] == [line for line in logs[1] if "loss" in line]


def test_control_c_saves_and_exits_cleanly(tmp_path: Path) -> None:
    process = start(tmp_path / "run")
    wait_until(lambda: logged(tmp_path / "run", 2), process)
    process.send_signal(signal.SIGINT)
    shown, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    assert "Traceback" not in complaint
    assert "morl board" in shown  # its front is shown all the same
    front = toys.front(tmp_path / "run")
    assert 0 < front["training_steps"] < TOTAL
    assert len(front["points"]) >= 1
    assert_resumes_exactly(tmp_path / "run", tmp_path / "whole")


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run, "--checkpoint-minutes", "0.001")
    wait_until(lambda: checkpoint.newest(run) is not None and logged(run, 4), process)
    process.kill()
    process.communicate(timeout=120)
    with pytest.raises(ValueError, match=r"front\.json"):
        morl.load(run)  # it has not come to its first evaluation
    assert_resumes_exactly(run, tmp_path / "whole")
    assert [folder.name[:5] for folder in (run / "checkpoints").iterdir()] == ["step-", "step-"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_an_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_handlers_are_restored_when_training_fails(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="step"):
        toys.train(tmp_path / "run", "toy-broken-walk-v0")
    assert signal.getsignal(signal.SIGINT) is before


def test_training_outside_the_main_thread(tmp_path: Path) -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(toys.train(tmp_path / "run", "toy-fork-v0", 50)))
    thread.start()
    thread.join(60)
    assert toys.front(done[0].directory)["training_steps"] == 50


def test_a_time_limit_stops_resumably(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 200, time_limit_minutes=1e-9)
    steps = toys.front(run.directory)["training_steps"]
    assert steps == toys.SCHEDULE["num_envs"]
    morl.resume(run.directory)  # stops again, a step later
    assert toys.front(run.directory)["training_steps"] == 2 * steps
