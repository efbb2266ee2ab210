"""`morl study` as a process with processes of its own: kills, signals and full disks cost nothing but time."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toys
from in_process import InProcess
from outcomes import assert_same, outcome

import morl
from morl.experiment import checkpoint
from morl.experiment.toml import write_table

if os.name == "nt":
    pytest.skip("signals of POSIX", allow_module_level=True)

SETTINGS: dict[str, Any] = {
    **toys.SCHEDULE,
    "checkpoint_minutes": 0.002,
    "evaluate_every": 500,
    "log_every": 100,
    "reward_units": "environment",
}
STEPS = 1000
ENV = "toys:toy-slow-walk-v0"


def study_file(folder: Path) -> Path:
    file = folder / "study.toml"
    table = {
        "name": "kills",
        "total_steps": STEPS,
        "keep_checkpoints": True,
        "seeds": 2,
        "envs": [ENV],
        "agents": {"coins": {"agent": "toys:Coins"}},
        "run": SETTINGS,
    }
    file.write_text(write_table(table))
    return file


def command(file: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "morl", "study", str(file), "--folder", str(file.parent / "studies"), *flags]


def start(file: Path, *flags: str) -> "subprocess.Popen[str]":
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(file, *flags), start_new_session=True, **pipes)


def run_dirs(file: Path) -> list[Path]:
    return [file.parent / "studies" / "kills" / "coins" / ENV.replace(":", ".") / f"seed-{seed}" for seed in (0, 1)]


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    begin = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - begin < 120
        time.sleep(0.01)


def in_the_middle(run_dir: Path) -> bool:
    newest = checkpoint.newest(run_dir)
    return newest is not None and 0 < int(newest.name[-12:]) < STEPS


def processes_of(driver: int) -> list[int]:
    """Return the processes that a study has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(driver)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def finish(file: Path) -> None:
    """Train the study to its end, in this process."""
    study = morl.study(file, executor=InProcess(), folder=file.parent / "studies")
    assert study.wait(progress=False).is_complete


def finish_as_a_user(file: Path) -> None:
    """Train the study to its end by the command."""
    done = subprocess.run(command(file, "--workers", "2"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "study kills: 2 done" in done.stdout


def assert_undisturbed(file: Path, whole: list[dict[str, Any]]) -> None:
    for run_dir, expected in zip(run_dirs(file), whole, strict=True):
        found = outcome(run_dir)
        for part in ("front", "policies", "evaluations", "metrics", "agent"):
            assert_same({part: found[part]}, {part: expected[part]}, run_dir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> list[dict[str, Any]]:
    """What `morl.train` makes of the runs."""
    folder = tmp_path_factory.mktemp("whole")
    for seed in range(2):
        morl.train("toys:Coins", ENV, total_steps=STEPS, seed=seed, run_dir=folder / str(seed), **SETTINGS)
    return [outcome(folder / str(seed)) for seed in range(2)]


def test_a_killed_process_fails_its_run_and_the_study_again_goes_on(
    tmp_path: Path, whole: list[dict[str, Any]], morl_cli: Callable[..., tuple[int, str, str]]
) -> None:
    file = study_file(tmp_path)
    process = start(file, "--workers", "1")
    wait_until(lambda: in_the_middle(run_dirs(file)[0]), process)
    (child,) = processes_of(process.pid)
    os.kill(child, signal.SIGKILL)
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "1 done, 1 failed" in said
    assert "1 of 2 runs failed" in complaint
    assert "killed by SIGKILL" in (run_dirs(file)[0] / "failure.txt").read_text()
    code, listed, _ = morl_cli("study", "status", *command(file)[4:])
    assert code == 0
    assert re.search(r"seed-0\s*│ failed", listed)
    assert "killed by SIGKILL" in " ".join(listed.split())
    finish(file)
    assert_undisturbed(file, whole)


def test_a_killed_study_ends_its_processes_saved_and_goes_on(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    file = study_file(tmp_path)
    process = start(file, "--workers", "2")
    wait_until(lambda: all(in_the_middle(run_dir) for run_dir in run_dirs(file)), process)
    children = processes_of(process.pid)
    assert len(children) == 2
    process.kill()
    process.communicate()
    finish_as_a_user(file)  # while they may still save
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert_undisturbed(file, whole)


def test_a_signal_saves_all_runs(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    file = study_file(tmp_path)
    process = start(file, "--workers", "2")
    wait_until(lambda: any(in_the_middle(run_dir) for run_dir in run_dirs(file)), process)
    children = processes_of(process.pid)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=120)
    assert time.monotonic() - begin < 20.0
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in complaint
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not list((tmp_path / "studies").rglob("failure.txt"))
    finish(file)
    assert_undisturbed(file, whole)


def test_control_c_in_a_terminal_reaches_the_study_alone(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    """The terminal sends it to a whole group of processes; the study shows its runs there."""
    pty = pytest.importorskip("pty")
    file = study_file(tmp_path)
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvpe(sys.executable, command(file, "--workers", "2"), {**os.environ, "COLUMNS": "60", "TERM": "xterm"})
    shown = b""
    try:
        begin = time.monotonic()
        while not any(in_the_middle(run_dir) for run_dir in run_dirs(file)):
            assert time.monotonic() - begin < 120
            os.set_blocking(terminal, False)
            with contextlib.suppress(BlockingIOError):
                shown += os.read(terminal, 65536)
            time.sleep(0.05)
        os.write(terminal, b"\x03")
        os.set_blocking(terminal, True)
        with contextlib.suppress(OSError):
            while part := os.read(terminal, 65536):
                shown += part
    finally:
        _, status = os.waitpid(process, 0)
        os.close(terminal)
    assert os.WIFSIGNALED(status)
    assert b"study kills: " in shown
    assert b"Traceback" not in shown
    finish(file)
    assert_undisturbed(file, whole)


@pytest.mark.slow  # test_study.py has a disk that is full in this process
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_fails_a_run_and_the_others_go_on(tmp_path: Path) -> None:
    file = study_file(tmp_path)
    small = run_dirs(file)[0]
    small.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "small", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        ended = subprocess.run(command(file, "--workers", "1"), capture_output=True, text=True)
        assert ended.returncode == 2
        assert "No space left on device" in ended.stderr
        assert "1 of 2 runs failed" in ended.stderr
        assert json.loads((run_dirs(file)[1] / "front.json").read_text())["training_steps"] == STEPS
    finally:
        subprocess.run(["umount", str(small)], check=True)
    shutil.rmtree(small)
    finish(file)
