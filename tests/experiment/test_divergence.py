"""A run whose learning has diverged: its folder says where and what, whoever reads it, and nobody resumes it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from board_runs import library_of
from gymnasium import spaces
from in_process import InProcess

import morl
from morl.agents import find_agent
from morl.studies.plan import STUDY, read_study
from morl.studies.reading import read_results
from morl.studies.status import study_status

pytestmark = pytest.mark.usefixtures("without_figures")

WHERE = "learning has diverged at step 150: the agent's parameters are no longer finite"


def train(run_dir: Path, **changes: Any) -> morl.Run:
    return toys.train(run_dir, "toy-walk-v0", 300, agent="toys:DoomedCoins", **changes)


def diverged(run_dir: Path, **changes: Any) -> BaseException:
    """Train a run that diverges, and return its error."""
    with pytest.raises(ValueError, match=r"^the agent's parameters are no longer finite: learning has") as caught:
        train(run_dir, **changes)
    return caught.value


@pytest.mark.parametrize("folder_exists", [True, False])
def test_a_run_that_diverges_before_its_first_save_leaves_a_folder_that_says_so(
    folder_exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    run_dir = tmp_path / "run"
    if folder_exists:
        run_dir.mkdir()
    error = diverged(run_dir, evaluate_every=200)
    assert error.__notes__ == [f"{run_dir} keeps what was recorded, and cannot be resumed"]
    assert (run_dir / "divergence.txt").read_text() == f"{WHERE}\n"
    assert {"config.toml", "metrics.jsonl", "system.json"} <= {path.name for path in run_dir.iterdir()}
    for function in (morl.load, morl.resume):
        with pytest.raises(ValueError, match=WHERE):
            function(run_dir)
    code, shown, complaint = morl_cli("front", run_dir)
    assert (code, shown) == (2, "")
    assert complaint == f"morl: run {run_dir} has no front, because it ended before its first evaluation: {WHERE}\n"
    with pytest.raises(FileExistsError, match="holds a run whose learning has diverged: choose another run_dir="):
        train(run_dir)
    monkeypatch.setattr(toys.DoomedCoins, "diverges_at", 1_000)
    run = train(run_dir, overwrite=True)
    assert run.divergence == ""
    assert not (run_dir / "divergence.txt").exists()


def test_a_run_that_diverges_after_an_evaluation_says_so_wherever_its_front_is_shown(
    tmp_path: Path, morl_cli: Any
) -> None:
    run_dir = tmp_path / "run"
    diverged(run_dir)
    run = morl.load(run_dir)
    assert run.divergence == WHERE
    assert repr(run).endswith(f"points; {WHERE}')") or repr(run).endswith(f'points; {WHERE}")')
    assert WHERE in run._repr_html_().replace("&#x27;", "'")
    code, shown, _ = morl_cli("front", run_dir)
    assert code == 0
    assert f"{WHERE}; the front was measured before" in shown.splitlines()
    code, shown, _ = morl_cli("front", run_dir, run_dir, "--summary")
    assert shown.splitlines().count(f"{run_dir}: {WHERE}; the front was measured before") == 2
    (folder,) = library_of(tmp_path).folders.values()
    assert folder.notes == [f"{WHERE}; the front was measured before"]
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    code, shown, complaint = morl_cli("resume", run_dir, "--trust", "--total-steps", 900)
    assert (code, shown) == (2, "")
    assert f"run {run_dir} cannot be resumed, because {WHERE}, and the same steps would lead there again" in complaint
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_a_run_that_was_to_be_replaced_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.train(tmp_path / "run", "toy-walk-v0", 100, agent="toys:Coins")
    before = (tmp_path / "run" / "front.json").read_bytes()
    monkeypatch.setattr(toys.DoomedCoins, "diverges_at", 50)
    for minutes in (5.0, 1e-9):  # without and with a checkpoint
        error = diverged(tmp_path / "run", overwrite=True, checkpoint_minutes=minutes)
        assert error.__notes__ == [f"{tmp_path / 'run'} holds the run that it held before"]
        assert (tmp_path / "run" / "front.json").read_bytes() == before
        assert morl.load(tmp_path / "run").divergence == ""


def test_the_board_and_a_study_show_a_run_without_a_front_that_has_diverged(tmp_path: Path) -> None:
    table = {
        "name": "a",
        "total_steps": 300,
        "seeds": 1,
        "envs": ["toys:toy-walk-v0"],
        "agents": {"coins": {"agent": "toys:DoomedCoins"}},
        "run": toys.SCHEDULE,
        "loggers": [],
    }
    for first, found in ((200, "no evaluation yet"), (100, "")):
        table = table | {"name": f"a{first}", "run": toys.SCHEDULE | {"evaluate_every": first}}
        study = morl.study(table, executor=InProcess(), folder=tmp_path).wait(progress=False)
        (run,) = study.runs
        assert (run.run_dir / "failure.txt").exists()
        (run.run_dir / "failure.txt").unlink()  # as after training in another way
        status = study_status(read_study(table, tmp_path))
        assert status.counts["failed"] == 1
        assert status.failures == {run.name: WHERE}
        results = read_results(tmp_path / table["name"] / STUDY, read_study(table, tmp_path))
        assert list(results.unfinished.values()) == [f"failed: {WHERE}"]
        (folder,) = library_of(run.run_dir).folders.values()
        assert folder.notes[0].startswith(WHERE)
        assert ("no evaluation yet" in folder.notes) == bool(found)
        again = morl.study(table, executor=InProcess(), folder=tmp_path).wait(progress=False)
        assert again.status().counts["failed"] == 1
        assert "learning has diverged" in again.status().failures[run.name]


def test_only_the_learner_that_has_diverged_cannot_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent: Any = find_agent("pd-morl", spaces.Discrete(2))
    learned = agent.all_parameters

    def parameters(self: Any, learner: int = 0) -> list[torch.Tensor]:
        ended = learner == 1 and self.steps >= 150
        return [torch.full((1,), float("nan"))] if ended else learned(self, learner)

    with monkeypatch.context() as patch:
        patch.setattr(agent, "all_parameters", parameters)
        with pytest.raises(ValueError, match="learning has diverged") as caught:
            morl.train_seeds(
                "pd-morl",
                "toy-walk-v0",
                [0, 1],
                run_dir=tmp_path,
                total_steps=200,
                config=toys.TINY,
                **toys.SCHEDULE,
            )
    kept, hint = caught.value.__notes__
    assert kept == f"{tmp_path / 'seed-1'} keeps what was recorded, and cannot be resumed"
    assert f"to resume: morl.resume('{tmp_path / 'seed-0'}')" in hint
    assert morl.load(tmp_path / "seed-1").divergence.startswith(WHERE)
    with pytest.raises(ValueError, match=WHERE):
        morl.resume(tmp_path / "seed-1")
    assert morl.resume(tmp_path / "seed-0").training_steps == 200


def test_what_others_write_into_the_file_does_no_harm(tmp_path: Path) -> None:
    toys.train(tmp_path / "run", "toy-walk-v0", 100, agent="toys:Coins")
    file = tmp_path / "run" / "divergence.txt"
    for content, expected in ((b"\x1b[31mred\xff", "red"), (b"", "learning has diverged"), (b"x" * 2_000, "")):
        file.write_bytes(content)
        found = morl.load(tmp_path / "run").divergence
        assert expected in found
        assert "\x1b" not in found
        assert bool(found) == bool(expected)
    file.unlink()
    file.mkdir()
    assert morl.load(tmp_path / "run").divergence == ""
    assert json.loads((tmp_path / "run" / "front.json").read_text())
