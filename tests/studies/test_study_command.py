"""`morl study` and `morl tune` on the command line."""

import os
from pathlib import Path
from typing import Any

import numba
import pytest
import toys

from morl.experiment.toml import write_table
from morl.learning.backends import waiting
from morl.studies import probe

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = {
        "name": "a",
        "total_steps": 60,
        "seeds": 1,
        "envs": ["toys:toy-walk-v0"],
        "agents": {"coins": {"agent": "toys:Coins"}},
        "run": {**toys.SCHEDULE, "evaluate_every": 30},
    }
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(write_table(table))
    return Path("study.toml")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "morl study needs one file"),
        (["status"], "morl study needs one file"),
        (["status", "a.toml", "b.toml"], "morl study needs one file"),
        (["no.toml"], "study is 'no.toml', but it cannot be read as TOML"),
        (["study.toml", "--latex"], "--latex has no effect here: it belongs to morl study table FILE"),
        (["status", "study.toml", "--workers", "2"], "--workers has no effect here: it belongs to morl study FILE"),
        (["table", "study.toml", "--dry-run"], "--dry-run has no effect here"),
        (["study.toml", "--workers", "0"], "workers is 0, but must be a whole number of at least 1"),
        (["study.toml", "--dry-run", "--workers", "0"], "workers is 0, but must be a whole number of at least 1"),
        (["study.toml", "--folder", "study.toml"], "--folder is 'study.toml', but study.toml exists and is no folder"),
        (["study.toml", "--folder", "/proc/x"], "--folder is '/proc/x', but nothing can be written in /proc"),
        (["study.toml", "--ray", "foo"], "ray is 'foo', but must be auto, local, or HOST:PORT"),
        (["study.toml", "--wrokers", "2"], "there is no option --wrokers; the nearest are --workers"),
        (["table", "study.toml", "--plot", "nowhere/x.png"], "--plot is 'nowhere/x.png', but nowhere is not a folder"),
        (["table", "study.toml", "--fronts", "x.gif"], "--fronts is 'x.gif', but must end in .png, .pdf or .svg"),
        (["table", "study.toml", "--fronts", ""], "--fronts is '', but must be a path"),
        (["study.toml", "--slurm", "nowhere/x.sh"], "--slurm is 'nowhere/x.sh', but nowhere is not a folder"),
        (["study.toml", "--slurm", "x.sh", "--folder", "/proc/x"], "--folder is '/proc/x', but nothing can be"),
        (["study.toml", "--folder", ""], "--folder is '', but must be a path"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], sentence: str, file: Path, morl_cli: Any) -> None:
    code, shown, complaint = morl_cli("study", *words)
    assert (code, shown, complaint.count("\n")) == (2, "", 1)
    assert sentence in complaint
    assert not Path("studies").exists()


def test_a_dry_run_trains_nothing_that_stays(file: Path, morl_cli: Any) -> None:
    code, shown, complaint = morl_cli("study", file, "--dry-run")
    assert (code, complaint) == (0, "")
    assert "1 runs in studies/a, 0 of them done" in shown
    assert "at once (from a short probe of each" in shown
    assert [path.name for path in Path().iterdir()] == ["study.toml"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not keep processes to cores")
def test_a_probe_has_as_many_cores_as_a_run(file: Path, morl_cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[set[int]] = []
    start = probe.start

    def look(*arguments: Any, **options: Any) -> Any:
        found.append(os.sched_getaffinity(0))
        return start(*arguments, **options)

    morl_cli("study", file, "--dry-run")  # compiles what the toys need: a probe that has to is repeated
    monkeypatch.setattr(probe, "start", look)
    before = os.sched_getaffinity(0)
    assert morl_cli("study", file, "--dry-run")[0] == 0
    assert [len(cores) for cores in found] == [1]
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("in_this_process", [False, True])
def test_compiling_is_no_cost_of_runs(
    in_this_process: bool, file: Path, morl_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = probe.start

    def compile_first(*arguments: Any, **options: Any) -> Any:
        started.append(arguments)
        if len(started) == 1 and in_this_process:
            numba.njit(lambda number: number + 1)(1)
        elif len(started) == 1:
            waiting.check()  # as while another process compiles
        return start(*arguments, **options)

    morl_cli("study", file, "--dry-run")  # compiles what the toys need
    monkeypatch.setattr(probe, "start", compile_first)
    assert morl_cli("study", file, "--dry-run")[0] == 0
    assert len(started) == 2


def test_a_probe_that_fails_is_one_sentence(file: Path, morl_cli: Any) -> None:
    file.write_text(file.read_text().replace("toy-walk-v0", "toy-broken-walk-v0"))
    code, _, complaint = morl_cli("study", file, "--dry-run")
    assert code == 2
    assert "coins on toys:toy-broken-walk-v0: " in complaint


def test_a_probe_that_fails_does_not_name_its_folder(
    file: Path, morl_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(_: Any, run_dirs: list[Path], **options: Any) -> Any:
        raise ValueError(f"run {run_dirs[0]} has no front, because learning has diverged")

    monkeypatch.setattr(probe, "start", diverge)
    code, _, complaint = morl_cli("study", file, "--dry-run")
    assert code == 2
    assert complaint == (
        "morl: coins on toys:toy-walk-v0: in a short probe, its run has no front, because learning has diverged\n"
    )


def test_a_study_is_trained_shown_and_not_trained_again(file: Path, morl_cli: Any) -> None:
    code, shown, _ = morl_cli("study", "status", file)
    assert (code, "study a: 1 waiting" in shown) == (0, True)
    code, shown, complaint = morl_cli("study", file)
    assert (code, "study a: 1 done" in shown) == (0, True), complaint
    assert "done     coins/toys:toy-walk-v0/seed-0, 60 steps" in complaint
    run_dir = Path("studies/a/coins/toys.toy-walk-v0/seed-0")
    assert (run_dir / "command.txt").read_text().split()[-1] != ""
    assert not run_dir.with_name("seed-0.log").exists()
    code, shown, complaint = morl_cli("study", file)
    assert (code, complaint.strip()) == (0, "1 of 1 runs are done already")
    code, shown, _ = morl_cli("study", "status", file)
    assert (code, "study a: 1 done" in shown) == (0, True)


def test_failed_runs_are_counted_in_the_exit_code(file: Path, morl_cli: Any) -> None:
    file.write_text(
        file.read_text()
        .replace("toy-walk-v0", "toy-broken-walk-v0")
        .replace("[run]\n", '[run]\nreward_units = "environment"\n')
    )
    code, shown, complaint = morl_cli("study", file)
    assert (code, "study a: 1 failed" in shown) == (2, True)
    assert "failed   coins/toys:toy-broken-walk-v0/seed-0: " in complaint
    assert "morl: 1 of 1 runs failed" in complaint
