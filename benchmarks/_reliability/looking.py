"""Looking at run folders in every way a user can, and what is wrong with the answers: used on damage and on hostility.

All of it happens in a child process: `look` returns complaints, and says on standard error what it is about to try, so
that a child that hangs has said where.
"""

import contextlib
import io
import json
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import toys

from _reliability.children import RAISED, Said, morl_command
from _reliability.runs import STEPS

MORE_STEPS = STEPS + 30
LOOKING = 45.0
"""Seconds after which looking at a run folder hangs: ten times what it takes."""
GOOD = "good"
BAD = "bad"
"""Names of the run folders that lie side by side: one that nothing happened to, and the one that is looked at."""


def said(*args: object) -> Said:
    """Run a command of morl in this process and return what it answered; a traceback is in its standard error."""
    out = io.StringIO()
    err = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = morl_command(args)
        except BaseException:
            err.write(traceback.format_exc())
            code = RAISED
    return Said(code, out.getvalue(), err.getvalue())


def complaint_about(answer: Said, what: str) -> list[str]:
    """Return what is wrong with an answer: only success, or one sentence and exit code 2, is right."""
    if answer.code == 0:
        return []
    if answer.code == RAISED:
        return [f"{what}: traceback, {answer.err.strip().splitlines()[-1][:200]}"]
    sentences = [line for line in answer.err.splitlines() if line.startswith("morl: ")]
    if answer.code != 2 or len(sentences) != 1:
        return [f"{what}: exit code {answer.code} with {len(sentences)} sentences, {answer.err[-200:]!r}"]
    return []


@dataclass(frozen=True)
class Views:
    """What looking at an undamaged run answers: the standard, for a run that lies at the same place."""

    front: str
    evaluation: str
    resumed: dict[str, Any]
    """JSON: front.json and the two record files after the run went on for some steps."""
    good: dict[str, Any]
    """JSON: what the board answers about the run beside it."""


def records_of(run: Path) -> dict[str, Any]:
    """Return the records of a run as JSON would carry them, clocks left out."""
    records = {
        "front.json": toys.front(run),
        "fronts.jsonl": toys.lines(run / "fronts.jsonl"),
        "metrics.jsonl": toys.lines(run / "metrics.jsonl"),
    }
    return dict(json.loads(json.dumps(records)))


def views_of(folder: Path) -> dict[str, Any]:
    """Return the `Views` of an undamaged pair of runs, as JSON; its bad run goes on for some steps."""
    run = folder / BAD
    front = said("front", run)
    evaluation = said("evaluate", run, "--episodes", 1)
    good = board_of(folder, [])[GOOD]
    resumed = said("resume", run, "--total-steps", MORE_STEPS)
    for answer in (front, evaluation, resumed):
        if answer.code != 0:
            raise RuntimeError(f"an undamaged run cannot be looked at: {answer.err}")
    return {"front": front.out, "evaluation": evaluation.out, "resumed": records_of(run), "good": good}


def look(folder: Path, views: Views, damaged: str = "", extra: Callable[[Said], list[str]] | None = None) -> list[str]:
    """Look at the bad run of a pair in every way, and return what is wrong.

    Args:
        folder: holds the runs `GOOD` and `BAD`.
        views: what an undamaged pair answers.
        damaged: the file of the bad run that was damaged; where its content has a hash, other answers than the
            standard are wrong, unless the file is named.
        extra: what else must hold for every answer.
    """
    import morl

    run = folder / BAD
    complaints = []
    also = extra or (lambda _: [])

    def ask(what: str, *args: object) -> Said:
        print(f"trying {what}", file=sys.__stderr__, flush=True)
        answer = said(*args)
        complaints.extend(complaint_about(answer, what))
        complaints.extend(f"{what}: {complaint}" for complaint in also(answer))
        return answer

    ask("front", "front", run)
    ask("front --plot", "front", run, "--plot", folder / "picture.png")
    evaluation = ask("evaluate", "evaluate", run, "--episodes", 1)
    if damaged.startswith("policies") and evaluation.code == 0 and evaluation.out != views.evaluation:
        complaints.append("evaluate: other policies than those published, silently")
    print("trying load", file=sys.__stderr__, flush=True)
    try:
        morl.load(run)
    except (ValueError, OSError):
        pass
    except Exception as error:
        complaints.append(f"load: {type(error).__name__}: {error}"[:300])
    print("trying board", file=sys.__stderr__, flush=True)
    complaints.extend(difference_of_boards(folder, views))
    page = folder / "page.html"
    ask("front --html", "front", folder / GOOD, run, "--html", page)
    if not page.exists() or GOOD not in page.read_text():
        complaints.append("front --html: the damaged run hides the other")
    complaints.extend(resumed(ask("resume", "resume", run, "--total-steps", MORE_STEPS), run, views, damaged))
    return complaints


def resumed(answer: Said, run: Path, views: Views, damaged: str) -> list[str]:
    """Return what is wrong with how a run went on: it is as if undamaged, or the damaged file was named."""
    hashed = damaged.startswith(("checkpoints", "policies", "fronts.jsonl", "metrics.jsonl", "front.json"))
    if answer.code != 0 or not hashed or Path(damaged).name in answer.out + answer.err:
        return []
    try:
        where = toys.difference(views.resumed, records_of(run))
    except Exception as error:  # records that are no records
        where = f"{type(error).__name__}: {error}"
    return [f"resume: goes on without a word, but {where[:150]}"] if where else []


def difference_of_boards(folder: Path, views: Views) -> list[str]:
    """Return what is wrong with the board's answers: errors, and other answers about the good run than alone."""
    try:
        answers = board_of(folder, complaints := [])
    except Exception as error:
        return [f"board: {type(error).__name__}: {error}"[:300]]
    if not complaints and toys.difference(views.good, answers.get(GOOD)):
        complaints.append(f"board: the good run is shown differently: {toys.difference(views.good, answers[GOOD])}")
    return complaints


def board_of(folder: Path, complaints: list[str]) -> dict[str, dict[str, Any]]:
    """Return what the board answers about each run of a folder, by address; `complaints` gets what is wrong.

    Args:
        folder: as TensorBoard's --logdir.
        complaints: is appended to.
    """
    from werkzeug.test import Client

    from morl.board.plugin import ParetoPlugin

    applications = ParetoPlugin(SimpleNamespace(logdir=str(folder))).get_plugin_apps()
    names = [GOOD, BAD]
    answers: dict[str, dict[str, Any]] = {name: {} for name in names}
    for address in ("/runs", "/fronts", "/histories", "/curves", "/folds"):
        client = Client(applications[address])
        response = client.get("/") if address == "/runs" else client.post("/", json={"runs": names})
        if response.status_code != 200:
            complaints.append(f"board {address}: status {response.status_code}, {response.get_data()[:150]!r}")
            continue
        content = toys.strict_json(response.get_data().decode())
        if address == "/runs":
            found = {entry["name"]: entry for entry in content["runs"]}
        else:
            found = content["runs"] if address == "/curves" else content
        for name in names:
            if name in found:
                answers[name][address] = stable(found[name])
        if address != "/folds" and GOOD not in found:
            complaints.append(f"board {address}: the good run is not there")
    return answers


def stable(answer: Any) -> Any:
    """Return an answer of the board without what differs from copy to copy of a run, such as versions."""
    if not isinstance(answer, dict):
        return answer
    unstable = ("version", "history_version", "directory", "indicators", "setting", "problem")
    return {key: value for key, value in answer.items() if key not in unstable}


def paired(base: Path, folder: Path) -> Path:
    """Make a folder with two copies of a run; return the one that may be damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder / GOOD)
    shutil.copytree(base, folder / BAD)
    return folder / BAD
