"""Ctrl-C, SIGTERM and SIGKILL on `morl train` as a process of its own: nothing that was saved is lost."""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toys

import morl
from morl.experiment import checkpoint
from morl.experiment.interrupt import stop_on_signals

pytestmark = pytest.mark.usefixtures("without_figures")

TOTAL = 1_000_000  # far more than there is time for


def command(run: Path, *flags: str, env: str = "toys:toy-walk-v0", config: Any = toys.TINY) -> list[str]:
    program = [sys.executable, "-c", "from morl.experiment.cli import main; main()", "train", "pd-morl", env]
    settings = {**toys.SCHEDULE, "total_steps": TOTAL, "evaluate_every": TOTAL}
    for name, value in settings.items():
        program += [f"--{name.replace('_', '-')}", str(value)]
    for name, value in config.items():
        program += [f"--agent.{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    return [*program, "--run-dir", str(run), *flags]


def start(run: Path, *flags: str, **options: Any) -> "subprocess.Popen[str]":
    """Start a run that no terminal controls."""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(run, *flags, **options), start_new_session=True, **pipes)


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


def stop_and_wait(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """Send a signal, and return what the process says; it has five seconds to end."""
    begin = time.monotonic()
    os.killpg(process.pid, number)  # as a terminal does: to all processes of the group
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - begin < 5.0
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_its_code(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run)
    wait_until(lambda: logged(run, 2), process)
    said = stop_and_wait(process, number)
    step = int(str(checkpoint.newest(run))[-12:])
    assert 0 < step < TOTAL
    assert said.strip().endswith(f"the run is saved up to step {step:,}; to resume: morl resume {run}")
    assert_resumes_exactly(run, tmp_path / "whole")


def test_a_signal_ends_an_evaluation(tmp_path: Path) -> None:
    """This one would take an hour."""
    run = tmp_path / "run"
    process = start(run, "--evaluate-every", "100", "--evaluation-episodes", "1000000")
    wait_until(lambda: logged(run, 2), process)
    time.sleep(0.5)
    said = stop_and_wait(process, signal.SIGTERM)
    assert "the run is saved up to step 100; to resume: morl resume" in said
    assert (run / "fronts.jsonl").read_bytes() == b""
    assert not (run / "front.json").exists()


def test_a_signal_ends_pretraining(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = toys.TINY_CONTINUOUS | {"preset": "paper", "key_pretraining_steps": 900_000}
    process = start(run, env="toys:toy-continuous-walk-v0", config=config)
    wait_until(lambda: logged(run, 2), process)
    assert "the run is saved before its first step of training; to resume: morl resume" in stop_and_wait(
        process, signal.SIGINT
    )
    counted = [line["pretraining_steps"] for line in toys.lines(run / "metrics.jsonl")]
    assert counted == sorted(counted)
    assert checkpoint.newest(run) is not None


SLOW_COMPILER = """
import os
import signal
import time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # LLVM does not return to Python for a long time
with open({file!r}, "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""
WITH_SLOW_COMPILER = """
from types import SimpleNamespace
from morl.experiment.cli import main
from morl.learning.backends.numba import cache
cache._COMPILE = {code!r}
cache.binding = SimpleNamespace(get_host_cpu_name=lambda: "a processor for which nothing is compiled yet")
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_compiler(number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "compiler.txt"
    run = tmp_path / "run"
    words = command(run, env="toys:toy-continuous-walk-v0", config=toys.TINY_CONTINUOUS | {"backend": "numba"})
    words[2] = WITH_SLOW_COMPILER.format(code=SLOW_COMPILER.format(file=str(file)))
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, start_new_session=True, **pipes)
    wait_until(lambda: file.is_file() and file.read_text(), process)
    assert "to resume: morl resume" in stop_and_wait(process, number)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
    assert not (run / "front.json").exists()
    assert checkpoint.newest(run) is not None


def test_control_c_in_a_terminal_ends_the_loop_of_a_shell(tmp_path: Path) -> None:
    """A shell goes on with its loop if a program handles Ctrl-C and exits, whatever its exit code is."""
    pty = pytest.importorskip("pty")
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the tests may run in the background, where shells ignore it
        words = shlex.join(command(tmp_path)).replace(str(tmp_path), f"{tmp_path}/run-$i")
        os.execvp("bash", ["bash", "-c", f"for i in 1 2; do {words}; done"])
    try:
        begin = time.monotonic()
        while not logged(tmp_path / "run-1", 2):
            assert time.monotonic() - begin < 120
            if select.select([terminal], [], [], 0.05)[0]:
                os.read(terminal, 4096)
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # the other end is closed
            while os.read(terminal, 4096) and not (tmp_path / "run-2").exists():
                pass
    finally:
        if (tmp_path / "run-2").exists():
            os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        os.close(terminal)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGINT
    assert checkpoint.newest(tmp_path / "run-1") is not None
    assert not (tmp_path / "run-2").exists()


def test_a_failing_environment_is_one_line_that_says_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        run, "--evaluate-every", "100", "--env-options", "at", "80", "--reward-units", "environment",
        env="toys:toy-broken-walk-v0",
    )  # fmt: skip
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    (failure,) = [line for line in said.splitlines() if line.startswith("morl:")]
    assert "nan" in failure
    assert failure.endswith(f"to resume: morl resume {run}")
    assert toys.lines(run / "fronts.jsonl")
    assert morl.load(run).front.points.size


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run, "--checkpoint-minutes", "0.001")
    wait_until(lambda: checkpoint.newest(run) is not None and logged(run, 4), process)
    process.kill()
    process.communicate(timeout=120)
    with pytest.raises(ValueError, match="has no front yet"):
        morl.load(run)  # it has not come to its first evaluation
    assert_resumes_exactly(run, tmp_path / "whole")
    assert [folder.name[:5] for folder in (run / "checkpoints").iterdir()] == ["step-", "step-"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_an_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.requested
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.requested
        stop.check()  # patience is not over
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
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
