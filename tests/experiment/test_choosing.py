"""`run.choose` and `morl choose`: sessions in the run folder, answers from a program, a pipe and a terminal."""

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from board_runs import quarter_circle, write_run
from numpy.typing import NDArray

import morl
from morl.elicitation import parse_session
from morl.experiment.run import Run

Array = NDArray[np.float64]
Cli = Callable[..., tuple[int, str, str]]


def likes(weights: list[float]) -> Callable[[Array, Array], str]:
    """Return the answers of a user with a weighted sum."""
    return lambda left, right: "left" if (left - right) @ np.array(weights) > 0.0 else "right"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return morl.load(write_run(tmp_path / "run", points=quarter_circle(40) * [1.0, 3_000.0]))


def test_a_program_answers_and_the_line_loads_the_policy(tmp_path: Path, without_figures: None) -> None:
    toys.train(tmp_path / "run", "toy-walk-v0", 400, evaluate_every=100)
    run = morl.load(tmp_path / "run")
    choice = run.choose(likes([0.5, 0.5]))
    assert choice.finished
    names: dict[str, Any] = {"morl": morl}
    exec(choice.line, names)
    assert names["policy"].policy_id == choice.policy_id == run.front.policy_ids[choice.row]
    assert choice.returns.tolist() == run.front.points[choice.row].tolist()


def test_the_preference_chooses_the_same_row_by_default(run: Run) -> None:
    for weight in (0.15, 0.5, 0.85):
        choice = run.choose(likes([weight, (1 - weight) / 3_000]), restart=True)
        worth = run.front.choice_points @ [weight, (1 - weight) / 3_000]
        assert worth.max() - worth[choice.row] < 0.02 * np.ptp(worth)
        assert choice.preference is not None
        assert run.best_row(choice.preference, choice.utility) == choice.row
        assert f"[{', '.join(f'{one:g}' for one in choice.preference)}]" in choice.line


def test_a_session_is_saved_after_each_answer_and_goes_on(run: Run) -> None:
    whole = run.choose(likes([0.8, 1e-4]), file=run.directory / "whole.json")
    answers = iter([likes([0.8, 1e-4])] * 2)

    def two_answers(left: Array, right: Array) -> str | None:
        answer = next(answers, None)
        return None if answer is None else answer(left, right)

    part = run.choose(two_answers)
    assert (part.finished, part.questions) == (False, 2)
    assert len(parse_session((run.directory / "choose.json").read_bytes()).answers) == 2
    rest = morl.load(run.directory).choose(likes([0.8, 1e-4]))
    assert rest.questions == whole.questions > 2
    assert (rest.row, rest.expected_regret, rest.line) == (whole.row, whole.expected_regret, whole.line)
    assert (run.directory / "choose.json").read_bytes() == (run.directory / "whole.json").read_bytes()
    assert run.choose(lambda left, right: pytest.fail("it is finished")).questions == rest.questions
    tighter = run.choose(likes([0.8, 1e-4]), limit=0.001)
    assert tighter.questions > rest.questions


def test_undo_takes_an_answer_back(run: Run) -> None:
    script = iter(["left", "right", "undo", "undo", None])
    assert run.choose(lambda left, right: next(script)).questions == 0
    with pytest.raises(ValueError, match="no answer to undo"):
        run.choose(lambda left, right: "undo")


def test_only_policies_that_keep_the_constraints_are_compared(tmp_path: Path) -> None:
    violations = np.where(np.arange(40) < 25, 0.0, 1.0)
    constraints = {"speed": {"bound": "<= 9", "violations": violations.tolist()}}
    run = morl.load(write_run(tmp_path / "run", points=quarter_circle(40), constraints=constraints))
    seen: list[float] = []

    def answer(left: Array, right: Array) -> str:
        seen.extend([left[0], right[0]])
        return "left" if left[0] > right[0] else "right"

    choice = run.choose(answer)
    assert violations[choice.row] == 0.0
    assert max(seen) <= run.front.choice_points[24, 0]


def test_policies_are_compared_by_the_returns_that_choose(tmp_path: Path) -> None:
    points = quarter_circle(20)
    moved = points[::-1].copy()
    run = morl.load(write_run(tmp_path / "run", points=points, choice_points=moved.tolist()))
    choice = run.choose(lambda left, right: "left" if left[0] > right[0] else "right")
    assert run.front.choice_points[choice.row, 0] > 9.5
    assert choice.returns.tolist() == points[choice.row].tolist()


def test_an_older_front_s_answers_count_for_the_next_one(run: Run) -> None:
    before = run.choose(likes([0.8, 1e-4]))
    record = json.loads((run.directory / "front.json").read_text())
    for name in ("points", "preferences", "policy_ids", "undiscounted_points"):
        record[name] = record[name][::2]
    (run.directory / "front.json").write_text(json.dumps(record))
    after = morl.load(run.directory).choose(likes([0.8, 1e-4]))
    assert after.questions >= before.questions
    assert after.row < 20


@pytest.mark.parametrize("content", ["", "{", '{"format": "other"}', '{"format": "morl-choice-1"}'])
def test_a_damaged_session_is_a_sentence_and_can_be_restarted(content: str, run: Run, morl_cli: Cli) -> None:
    (run.directory / "choose.json").write_text(content)
    code, _, complaint = morl_cli("choose", run.directory)
    assert (code, complaint.count("\n")) == (2, 1)
    assert "choose.json cannot be read: it" in complaint
    assert "start over with --restart" in complaint
    with pytest.raises(ValueError, match="restart=True"):
        run.choose(likes([0.5, 0.5]))
    assert run.choose(likes([0.5, 0.5]), restart=True).questions > 0


def test_links_and_foreign_sessions_are_refused(run: Run, tmp_path: Path, morl_cli: Cli) -> None:
    other = morl.load(write_run(tmp_path / "other", objectives=["gold", "time"]))
    other.choose(likes([0.5, 0.5]))
    with pytest.raises(ValueError, match="compares gold, time, but the run has speed, energy"):
        run.choose(likes([0.5, 0.5]), file=other.directory / "choose.json")
    (run.directory / "choose.json").symlink_to(other.directory / "choose.json")
    assert "cannot be read" in morl_cli("choose", run.directory)[2]


def test_wrong_options_are_a_sentence(run: Run, morl_cli: Cli) -> None:
    assert "limit is 2.0" in morl_cli("choose", run.directory, "--limit", "2")[2]
    assert "seed is -1" in morl_cli("choose", run.directory, "--seed", "-1")[2]
    run.choose(likes([0.5, 0.5]), seed=4)
    assert "seed is 5, but" in morl_cli("choose", run.directory, "--seed", "5")[2]
    assert not list(run.directory.glob(".partial*"))
    with pytest.raises(ValueError, match="'perhaps'"):
        run.choose(lambda left, right: "perhaps", restart=True)


def test_a_front_of_one_point_needs_no_question(tmp_path: Path, morl_cli: Cli) -> None:
    run = write_run(tmp_path / "run", points=[[1.0, 2.0]])
    code, printed, complaint = morl_cli("choose", run)
    assert code == 0, complaint
    assert "After 0 answers, recommended: row 0" in printed
    assert not (run / "choose.json").exists()


def test_lines_of_a_pipe_answer(run: Run, morl_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("u\nx\nL\nleft\nu\nr\nn\nq\n"))
    code, printed, complaint = morl_cli("choose", run.directory)
    assert code == 0, complaint
    assert "there is no answer to undo yet" in printed
    assert "'x' is none of l r e n u q" in printed
    assert "Question 4: which outcome is better?" in printed
    assert "After 3 answers, recommended so far: row" in printed
    assert "policy = morl.load(" in printed
    answers = parse_session((run.directory / "choose.json").read_bytes()).answers
    assert [one.answer for one in answers] == ["left", "right", "neither"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, printed, complaint = morl_cli("choose", run.directory)
    assert code == 2
    assert "After 3 answers, recommended so far: row" in printed
    assert "no more answers on standard input" in complaint


@pytest.fixture
def terminal(run: Run) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start `morl choose` in a terminal of its own: (process, descriptor to type into and to read from)."""
    descriptor, other_end = pty.openpty()
    command = [sys.executable, "-c", "from morl.experiment.cli import main; main()", "choose", str(run.directory)]
    process = subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end, start_new_session=True)
    os.close(other_end)
    yield process, descriptor
    process.kill()
    process.wait()
    os.close(descriptor)


def read_until(descriptor: int, text: str, seconds: float = 60.0) -> str:
    printed = ""
    deadline = time.monotonic() + seconds
    while text not in printed and time.monotonic() < deadline:
        if not select.select([descriptor], [], [], 1.0)[0]:
            continue
        try:
            printed += os.read(descriptor, 4096).decode(errors="replace")
        except OSError:  # the process has ended
            break
    assert text in printed
    return printed


def test_single_keys_answer_in_a_terminal(terminal: tuple[subprocess.Popen[bytes], int], run: Run) -> None:
    process, descriptor = terminal
    read_until(descriptor, "q stop here: ", seconds=200.0)
    for number, key in enumerate("lr", start=2):
        os.write(descriptor, key.encode())
        read_until(descriptor, f"Question {number}")
    os.write(descriptor, b"q")  # typed before it is asked for, and not lost
    read_until(descriptor, "policy = morl.load(")
    assert process.wait(60) == 0
    answers = parse_session((run.directory / "choose.json").read_bytes()).answers
    assert [one.answer for one in answers] == ["left", "right"]
