"""The script of a study for Slurm: elements are run by hand, stopped, queued again and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import toys  # noqa: F401 - registers the environment
from outcomes import assert_same, outcome

from morl.experiment import checkpoint
from morl.studies.cli import run_study
from morl.studies.plan import Study, read_study
from morl.studies.slurm import STOPPED, main, train_element, write_script
from morl.studies.worker import perform

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Slurm runs on POSIX")

STEPS = 800
FILE = f"""
name = "array"
total_steps = {STEPS}
seeds = 2
keep_checkpoints = true
envs = ["toys:toy-walk-v0"]
agents = {{ coins = {{ agent = "toys:Coins" }} }}
[run]
num_envs = 5
evaluate_every = 400
log_every = 200
evaluation_divisions = 4
evaluation_episodes = 1
checkpoint_minutes = 1e-9
"""


def study_in(folder: Path) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(FILE)
    return read_study(folder / "study.toml", folder / "studies")


def scontrol(folder: Path) -> Path:
    """Write a program that notes how it is called, and return the file of its notes."""
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/calls"\n')
    program.chmod(0o755)
    return folder / "calls"


def element(script: Path, number: int) -> "subprocess.Popen[bytes]":
    slurm = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_JOB_ID": "77"}
    path = f"{script.parent / 'bin'}:{os.environ['PATH']}"
    return subprocess.Popen(["bash", str(script)], env=os.environ | slurm | {"PATH": path})


def test_elements_are_stopped_queued_again_and_resumed(tmp_path: Path) -> None:
    undisturbed = study_in(tmp_path / "undisturbed").runs[1]
    assert perform(undisturbed.job()).ending == "done"
    study = study_in(tmp_path)
    script = tmp_path / "array.sh"
    run_study([str(study.file), "--folder", str(tmp_path / "studies"), "--slurm", str(script)])
    assert (study.folder / "study.json").is_file()
    text = script.read_text()
    assert "#SBATCH --array=0-1\n" in text
    assert "#SBATCH --requeue\n" in text
    calls = scontrol(tmp_path)
    run = study.runs[1]
    with element(script, 1) as process:
        while not run.run_dir.is_dir() or checkpoint.newest(run.run_dir) is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    assert process.returncode in (STOPPED, 0)  # 0: it was done before the signal came
    assert process.returncode == 0 or calls.read_text() == "requeue 77_1\n"
    with element(script, 1) as process:
        pass
    assert process.returncode == 0
    assert_same(outcome(run.run_dir), outcome(undisturbed.run_dir), "element 1")
    assert not study.runs[0].run_dir.exists()
    assert train_element(study, run.name) == 0  # it is done already


def test_an_element_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from morl.studies import slurm
    from morl.studies.executors import JobResult

    study = study_in(tmp_path)
    results: list[Any] = ["failed", "stopped"]
    monkeypatch.setattr(
        slurm, "perform", lambda job: JobResult(run_dir=Path(job.run_dir), ending=results.pop(0), sentence="no coins")
    )
    words = [str(study.file), str(tmp_path / "studies"), study.runs[0].name]
    assert main(words) == 1
    assert (study.runs[0].run_dir / "failure.txt").read_text() == "no coins\n"
    assert "no coins" in capsys.readouterr().err
    assert main(words) == STOPPED
    with pytest.raises(ValueError, match="write the script again"):
        train_element(study, "coins/other/seed-0")


def test_the_script_is_bash(tmp_path: Path) -> None:
    study = study_in(tmp_path / "with space")
    script = tmp_path / "array.sh"
    write_script(study, tmp_path, script)
    assert sys.executable in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)
    with pytest.raises(ValueError, match="needs a file"):
        write_script(read_study({**vars_of(study)}, tmp_path), tmp_path, script)


def vars_of(study: Study) -> dict[str, Any]:
    import tomllib

    assert study.file is not None
    return tomllib.loads(study.file.read_text())
